"""What is compared?  The models, and how they are trained, in both ways alike."""

from dataclasses import dataclass
from typing import Any

from benchmarks.plain import Family


@dataclass(frozen=True)
class Setting:
    """`model` goes to transformers' AutoConfig.for_model in both ways; dropout is the library's, and the papers'.

    `family` says which vocabulary and objective: GPT-2's are an LSTM's too.

    `batch` examples of `length` tokens a step. The masked LM is trained without next-sentence prediction, since
    BertForMaskedLM has none.
    """

    family: Family
    model: dict[str, Any]
    length: int
    batch: int
    lr: float = 5e-4

    @property
    def objective(self) -> dict[str, Any]:
        if self.family == "bert":
            return {"name": "bert", "max_seq_length": self.length, "next_sentence": False}
        return {"name": "causal_lm", "block_size": self.length}


def bert(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "bert", "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }  # fmt: skip


def gpt2(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {"model_type": "gpt2", "n_layer": layers, "n_embd": hidden, "n_head": heads}


def lstm(layers: int, embedding: int, hidden: int) -> dict[str, Any]:
    return {
        "model_type": "lstm", "num_hidden_layers": layers, "embedding_size": embedding, "hidden_size": hidden,
    }  # fmt: skip


CPU = {
    "bert_mini": Setting("bert", bert(4, 256, 4), length=128, batch=32),
    "gpt2_mini": Setting("gpt2", gpt2(4, 256, 4), length=256, batch=16),
    "lstm_mini": Setting("gpt2", lstm(2, 256, 640), length=128, batch=16),
}
GPU = {
    "bert_base_128": Setting("bert", bert(12, 768, 12), length=128, batch=256, lr=1e-4),
    "bert_base_512": Setting("bert", bert(12, 768, 12), length=512, batch=64, lr=1e-4),
    "gpt2_small_1024": Setting("gpt2", gpt2(12, 768, 12), length=1024, batch=16, lr=3e-4),
}
TINY = {
    "bert_mini": Setting("bert", bert(1, 32, 2), length=32, batch=4),
    "gpt2_mini": Setting("gpt2", gpt2(1, 32, 2), length=32, batch=4),
    "lstm_mini": Setting("gpt2", lstm(2, 16, 32), length=32, batch=4),
}
