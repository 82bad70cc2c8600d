"""Does each head of the first layer begin by looking at its neighbour, and is the model else as it was?"""

import numpy as np
import pytest
import torch

from corpus.text.medium import Text
from corpus.text.vocabulary import Vocabulary
from pretrain.objectives.bert import Bert

VOCABULARY = Vocabulary(500, {"pad": 0, "cls": 1, "sep": 2, "mask": 3}, np.arange(4, 500))


def built(start, heads):
    torch.manual_seed(0)
    sizes = {"hidden_size": 64 * heads, "num_attention_heads": heads, "num_hidden_layers": 2, "intermediate_size": 64}
    model = {**sizes, "max_position_embeddings": 128, "initializer_range": 0.05, "attn_implementation": "eager"}
    return Bert(name="bert", start=start).build(model, Text(VOCABULARY)).eval()


@pytest.mark.parametrize("heads", [2, 4])
def test_heads_look_one_and_two_places_left_and_right(heads):
    model = built("local", heads)
    ids = torch.randint(4, 500, (4, 128))
    with torch.inference_mode():
        attention = model.bert(ids, output_attentions=True).attentions[0].mean(0)  # (heads, T, T)
    for head, offset in zip(attention, (-1, 1, -2, 2), strict=False):
        share = {there: head.diagonal(there).mean().item() for there in range(-9, 10)}
        assert max(share, key=share.__getitem__) == offset
        assert share[offset] > 0.4


def test_all_else_is_the_papers_start():
    paper, local = built("paper", 2).state_dict(), built("local", 2).state_dict()
    changed = {name for name in paper if not torch.equal(paper[name], local[name])}
    first = "bert.encoder.layer.0.attention.self"
    assert changed == {
        "bert.embeddings.position_embeddings.weight", f"{first}.query.weight", f"{first}.key.weight",
    }  # fmt: skip
    std = local["bert.embeddings.position_embeddings.weight"].std()
    assert std == pytest.approx(0.05, rel=0.05)
