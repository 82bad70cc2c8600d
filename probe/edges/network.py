"""How is a span's label read off frozen layers?  Many edge probes side by side, as one batched network.

Each probe is that of Tenney et al. 2019: a scalar mix of the layers that it sees, a projection to 256, one for each
span of a pair, self-attentive pooling of each span, and an MLP (tanh, LayerNorm, dropout) with a sigmoid a label. All P
of them have their own weights; they read one batch, and each step is one matrix product for all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm

OUTSIDE = -1e9  # a score that leaves nothing of a piece; finite, so that a span that is only padding has no NaN


@dataclass(frozen=True)
class Batch:
    """B sentences of at most T pieces, with M examples of up to U different spans a side (one, or two for pairs)."""

    states: Tensor  # (L + 1, B * T, D)
    spans: list[Tensor]  # of each side (B, U, 2): its first piece, and the one after its last; (0, 0) is padding
    places: Tensor  # (sides, M) where the examples' spans are in B * U
    labels: Tensor  # (2, M, K): those of the task, and those of its control
    blocks: Tensor  # (M,) the group of documents that an example is of

    @property
    def shape(self) -> tuple[int, int]:
        num_sentences = self.spans[0].shape[0]
        return num_sentences, self.states.shape[1] // num_sentences


class Probes(nn.Module):
    """P probes of one kind; `sees` (P, L + 1) says which layers each may mix. All begin with equal weights, so that
    they differ by what they see. Each parameter's first dimension is P."""

    def __init__(self, sees: Tensor, size: int, sides: int, labels: int, hidden: int, drop: float, seed: int):
        super().__init__()
        number = len(sees)
        drawn = torch.Generator().manual_seed(seed)

        def uniform(rows: int, *shape: int) -> nn.Parameter:
            """As `nn.Linear` begins, for `rows` inputs."""
            one = (torch.rand(shape, generator=drawn) * 2 - 1) / rows**0.5
            return nn.Parameter(one.expand(number, *shape).clone())

        self.drop, self.sides = drop, sides
        self.register_buffer("unseen", ~sees)
        self.mix = nn.Parameter(torch.zeros(sees.shape))
        self.scale = nn.Parameter(torch.ones(number, 1))
        self.project = nn.ParameterList(uniform(size, size, hidden) for _ in range(sides))
        self.project_bias = nn.ParameterList(uniform(size, 1, hidden) for _ in range(sides))
        self.attend = nn.ParameterList(uniform(hidden, hidden, 1) for _ in range(sides))
        self.first = nn.ParameterList(uniform(sides * hidden, hidden, hidden) for _ in range(sides))
        self.first_bias = uniform(sides * hidden, 1, hidden)
        self.norm = nn.Parameter(torch.ones(number, 1, hidden))
        self.norm_bias = nn.Parameter(torch.zeros(number, 1, hidden))
        self.last = uniform(hidden, hidden, labels)
        self.last_bias = uniform(hidden, 1, labels)

    @property
    def shares(self) -> Tensor:
        """(P, L + 1) what each layer has of a probe's mix."""
        unseen: Tensor = self.get_buffer("unseen")
        return self.mix.masked_fill(unseen, -torch.inf).softmax(1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (P, M, K)."""
        layers, rows, size = batch.states.shape
        mixed = (self.shares * self.scale) @ batch.states.view(layers, rows * size)
        mixed = mixed.view(-1, rows, size)  # (P, B * T, D)
        sides = [self.read_side(mixed, batch, side) for side in range(self.sides)]
        found = (sum(sides[1:], sides[0]) + self.first_bias).tanh()  # that is the first layer of both, side by side
        found = layer_norm(found, found.shape[2:]) * self.norm + self.norm_bias
        return torch.baddbmm(self.last_bias, dropout(found, self.drop, self.training), self.last)

    def read_side(self, mixed: Tensor, batch: Batch, side: int) -> Tensor:
        """What the examples' spans of one side add to the MLP's first layer, (P, M, H).

        The pieces of a span are weighed by attention. To project a weighed mean is to weigh projections, so spans are
        pooled first, and each is projected once, in however many examples it stands.
        """
        (sentences, width), spans = batch.shape, batch.spans[side]
        scores = mixed @ (self.project[side] @ self.attend[side])  # (P, B * T, 1)
        place = torch.arange(width, device=spans.device)
        inside = (place >= spans[..., :1]) & (place < spans[..., 1:])  # (B, U, T)
        weights = scores.view(-1, sentences, 1, width).where(inside, OUTSIDE).softmax(3)  # (P, B, U, T)
        pooled = weights @ mixed.view(-1, sentences, width, mixed.shape[2])  # (P, B, U, D)
        projected = torch.baddbmm(self.project_bias[side], pooled.flatten(1, 2), self.project[side])
        return (projected @ self.first[side]).index_select(1, batch.places[side])
