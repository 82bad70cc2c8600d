"""Where does training begin?  A start from which attention to neighbours need not be discovered first.

From the paper's start (normal weights of standard deviation 0.02) a masked LM first learns the unigram distribution and
then stays there, for millions of tokens, until some head finds the tokens beside it: in a short run, all of it. The
local start gives each head of the first layer one neighbour to look at. It is only a start: the architecture, the
weights' names and what is learnt are BERT's.
"""

import math
from typing import cast

import torch
from torch import Tensor
from transformers import BertModel
from transformers.models.bert.modeling_bert import BertLayer

# In positions. The waves a head reads are so short that a word, which these dimensions hold too, does not match itself.
SHORTEST_WAVE, LONGEST_WAVE = 2.25, 225.0
SHARPNESS = 1.7  # a neighbour head then gives its neighbour about two thirds of its attention


def start_locally(bert: BertModel) -> None:
    """Make the learnt positions sinusoids, and point the first layer's heads at the offsets -1, +1, -2, +2, ...

    The product of a sinusoid at i, turned by an offset d, with one at j is largest at j = i + d (Vaswani et al. 2017,
    section 3.5); so a head that reads 32 such waves looks d to the right.
    """
    config, attention = bert.config, cast(BertLayer, bert.encoder.layer[0]).attention.self
    size = config.hidden_size // config.num_attention_heads
    waves = frequencies(config.hidden_size)  # (H / 2,)
    with torch.no_grad():
        place_sinusoids(bert.embeddings.position_embeddings.weight, waves, config.initializer_range)
        for head in range(config.num_attention_heads):
            offset = (head // 2 + 1) * (-1 if head % 2 == 0 else 1)
            rows = slice(head * size, (head + 1) * size)
            attention.query.weight[rows] = SHARPNESS * turned(waves[: size // 2], offset, config.hidden_size)
            attention.key.weight[rows] = SHARPNESS * turned(waves[: size // 2], 0, config.hidden_size)


def frequencies(hidden_size: int) -> Tensor:
    """Radians a position of each pair of dimensions: geometric, the shortest wave first. (H / 2,)"""
    return torch.logspace(
        math.log10(2 * math.pi / SHORTEST_WAVE), math.log10(2 * math.pi / LONGEST_WAVE), hidden_size // 2
    )


def place_sinusoids(weight: Tensor, waves: Tensor, std: float) -> None:
    """Fill position embeddings (T, H) with sine and cosine pairs of standard deviation `std`."""
    angle = torch.arange(len(weight))[:, None] * waves  # (T, H / 2)
    weight.copy_(torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1) * std * math.sqrt(2))


def turned(waves: Tensor, offset: int, hidden_size: int) -> Tensor:
    """A projection (2 W, H) onto the first W pairs, each turned by `offset` positions."""
    angle, pair = waves * offset, 2 * torch.arange(len(waves))
    projection = torch.zeros(2 * len(waves), hidden_size)
    projection[pair, pair], projection[pair, pair + 1] = angle.cos(), angle.sin()  # sin(i + d)
    projection[pair + 1, pair], projection[pair + 1, pair + 1] = -angle.sin(), angle.cos()  # cos(i + d)
    return projection
