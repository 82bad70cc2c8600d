"""What did the masks hide, and does B follow A?  BERT's two tasks.

Devlin et al. 2019, section 3.1 and appendix A.2. The masked positions are gathered *before* the projection onto the
vocabulary: of a mini model's step that projection is the larger part, and six of seven positions have no judgement.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import BertForPreTraining, PreTrainedModel, PreTrainedTokenizerFast

from corpus.store import Store
from corpus.units import SegmentPairs, Segments
from engine import draws
from engine.batch import Batch
from pretrain.initialisation import start_locally
from pretrain.objective import Objective, configuration, correct_sum, cross_entropy_sum
from pretrain.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Bert(Objective):
    """Masked LM with next-sentence prediction."""

    mask_rate: float = 0.15  # share of the real tokens that are hidden; special tokens never are
    short_seq_rate: float = 0.1  # share of the pairs that aim at a random shorter length
    start: Literal["paper", "local"] = "paper"  # local: the first layer looks at neighbours (pretrain.initialisation)

    panels = (
        (
            "Masked LM, nats",
            {"training": "masked_lm_loss", "held out": "eval_masked_lm_loss", "unigram": "baseline_masked_lm_loss"},
        ),
        (
            "Next sentence, accuracy",
            {"held out": "eval_next_sentence_accuracy", "majority": "baseline_next_sentence_accuracy"},
        ),
    )

    def __post_init__(self) -> None:
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"mask_rate is {self.mask_rate}; it is a share between 0 and 1, such as 0.15")
        if not 0 <= self.short_seq_rate <= 1:
            raise ValueError(f"short_seq_rate is {self.short_seq_rate}; it is a share from 0 to 1, such as 0.1")

    def units(self, store: Store, length: int, seed: int, epoch: int) -> SegmentPairs:
        return SegmentPairs(store, length, self.short_seq_rate, seed, epoch)

    def split(self, t: Segments, vocabulary: Vocabulary, seed: int, epoch: int) -> Batch:
        ids, segment, real, maskable = joined(t, vocabulary)
        hidden = chosen(maskable, self.mask_rate, draws.stream("mask", seed, epoch), t.index)
        x = {
            "input_ids": torch.from_numpy(corrupted(ids, hidden, t.index, vocabulary, seed, epoch)),  # (B, T)
            "token_type_ids": torch.from_numpy(segment),  # (B, T) 0 for [CLS] A [SEP], 1 for B [SEP]
            "attention_mask": torch.from_numpy(real.astype(np.int64)),  # (B, T)
        }
        y = {
            "positions": torch.from_numpy(np.flatnonzero(hidden)),  # (M,) places in the flattened (B * T)
            "tokens": torch.from_numpy(ids[hidden]),  # (M,)
            "is_stranger": torch.from_numpy(t.is_stranger),  # (B,)
        }
        return Batch(x, y, {"masked_lm": len(y["tokens"]), "next_sentence": len(y["is_stranger"])})

    def build(self, model: dict[str, Any], vocabulary: Vocabulary) -> PreTrainedModel:
        settings = {"model_type": "bert", "vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad, **model}
        if settings["model_type"] != "bert":
            raise ValueError(f"model.model_type is {settings['model_type']!r}; the bert objective trains a `bert`")
        if settings["vocab_size"] < vocabulary.size:
            raise ValueError(
                f"model.vocab_size is {settings['vocab_size']}, smaller than the tokenizer's {vocabulary.size} "
                "entries; leave it out to take the tokenizer's"
            )
        bert = BertForPreTraining(configuration(settings))
        if self.start == "local":
            start_locally(bert.bert)
        return bert

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        encoded = model.bert(**batch.x)
        states, pooled = encoded.last_hidden_state, encoded.pooler_output  # (B, T, H) (B, H)
        masked = states.flatten(0, 1)[batch.y["positions"]]  # (M, H): only what is judged meets the vocabulary
        words = model.cls.predictions(masked)  # (M, V)
        relation = model.cls.seq_relationship(pooled)  # (B, 2)
        sums = {
            "masked_lm": cross_entropy_sum(words, batch.y["tokens"]),
            "next_sentence": cross_entropy_sum(relation, batch.y["is_stranger"]),
        }
        if not model.training:
            sums["masked_lm_correct"] = correct_sum(words, batch.y["tokens"])
            sums["next_sentence_correct"] = correct_sum(relation, batch.y["is_stranger"])
        return sums

    def metrics(self, sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
        masked_lm = sums["masked_lm"] / counts["masked_lm"]
        return {
            "masked_lm_loss": masked_lm,
            "masked_lm_perplexity": math.exp(masked_lm),
            "masked_lm_accuracy": sums["masked_lm_correct"] / counts["masked_lm"],
            "next_sentence_loss": sums["next_sentence"] / counts["next_sentence"],
            "next_sentence_accuracy": sums["next_sentence_correct"] / counts["next_sentence"],
        }

    def baselines(self, batches: list[Batch]) -> dict[str, float]:
        """The unigram distribution of the very words asked for (the best any x-blind guesser can do), and majority."""
        tokens = torch.cat([batch.y["tokens"] for batch in batches])
        share = torch.bincount(tokens).double() / len(tokens)
        entropy = -torch.special.xlogy(share, share).sum().item()
        stranger = torch.cat([batch.y["is_stranger"] for batch in batches]).double().mean().item()
        return {
            "masked_lm_loss": entropy,
            "masked_lm_perplexity": math.exp(entropy),
            "masked_lm_accuracy": share.max().item(),
            "next_sentence_loss": math.log(2),
            "next_sentence_accuracy": max(stranger, 1 - stranger),
        }

    def in_words(self, batch: Batch, tokenizer: PreTrainedTokenizerFast) -> list[str]:
        """Each hidden token stands as `shown<hidden>`, as in `the [MASK]<cat> sat`."""
        shown = batch.x["input_ids"].clone()
        asked = dict(zip(batch.y["positions"].tolist(), batch.y["tokens"].tolist(), strict=True))
        lines = []
        for row, ids in enumerate(shown.tolist()):
            length = int(batch.x["attention_mask"][row].sum())
            words = list(tokenizer.convert_ids_to_tokens(ids[:length]))
            answers = {place - row * len(ids): token for place, token in asked.items() if place // len(ids) == row}
            for place, token in answers.items():
                words[place] += f"<{tokenizer.convert_ids_to_tokens(token)}>"
            kind = "a stranger" if batch.y["is_stranger"][row] else "what follows"
            lines.append(f"- B is {kind}: `{' '.join(words).replace('`', '')}`")
        return lines


def joined(t: Segments, vocabulary: Vocabulary) -> tuple[npt.NDArray[Any], ...]:
    """Lay out [CLS] A [SEP] B [SEP] and padding: ids, segment ids, real (not padding), maskable; all (B, T)."""
    column = np.arange(t.ids.shape[1])
    first_separator = t.a_length[:, None] + 1
    second_separator = first_separator + t.b_length[:, None] + 1
    ids = np.where(column > second_separator, vocabulary.pad, t.ids)
    ids[:, 0] = vocabulary.cls
    is_separator = (column == first_separator) | (column == second_separator)
    ids[is_separator] = vocabulary.sep
    real = column <= second_separator
    segment = (real & (column > first_separator)).astype(np.int64)
    return ids, segment, real, real & ~is_separator & (column > 0)


def chosen(
    maskable: npt.NDArray[np.bool_], rate: float, key: np.uint64, index: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Choose `rate` of each row's maskable places, to the nearest whole number and at least one: hidden (B, T)."""
    size = maskable.sum(1)
    wanted = np.maximum(1, np.rint(rate * size).astype(np.int64))
    lot = np.where(maskable, draws.uniform(key, index[:, None], np.arange(maskable.shape[1])), np.inf)
    most = int(wanted.max())
    smallest = np.sort(np.partition(lot, most - 1, axis=1)[:, :most], axis=1)  # (B, most)
    threshold = np.take_along_axis(smallest, wanted[:, None] - 1, axis=1)  # (B, 1)
    return (lot <= threshold) & maskable


def corrupted(
    ids: npt.NDArray[np.int64],
    hidden: npt.NDArray[np.bool_],
    index: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    seed: int,
    epoch: int,
) -> npt.NDArray[np.int64]:
    """80 % become [MASK], 10 % a random ordinary token, 10 % stay: the model never knows which tokens it can trust."""
    row, column = np.nonzero(hidden)
    fate = draws.uniform(draws.stream("fate", seed, epoch), index[row], column)  # (M,)
    lot = draws.integers(draws.stream("word", seed, epoch), len(vocabulary.ordinary), index[row], column)
    word = vocabulary.ordinary[lot]
    shown = ids.copy()
    shown[row, column] = np.where(fate < 0.8, vocabulary.mask, np.where(fate < 0.9, word, ids[row, column]))
    return shown
