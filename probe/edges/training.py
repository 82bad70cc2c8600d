"""How are the probes trained?  By Adam, each with its own rate, which is halved when its validation score stands still.

Tenney et al. 2019: batches of 32 sentences; the rate is halved after five evaluations without a better score, and
training ends after twenty. Each probe keeps the weights that scored best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from probe.edges.batches import Rows
from probe.edges.examples import f1
from probe.edges.layers import Layers
from probe.edges.network import Batch, Probes

BETAS, EPSILON = (0.9, 0.999), 1e-8
Counts = npt.NDArray[np.int64]  # (P, blocks, 3): hits, false labels, missed ones


@dataclass(frozen=True)
class Schedule:
    learning_rate: float
    batch_size: int  # sentences
    eval_steps: int
    lr_patience: int  # evaluations without a better score, after which the rate is halved
    patience: int  # evaluations without a better score, after which training ends
    max_steps: int


class Adam:
    """Adam (Kingma and Ba 2015) with a rate for each of P probes, the first dimension of every parameter."""

    def __init__(self, parameters: Sequence[Tensor]):
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(one) for one in self.parameters]
        self.squares = [torch.zeros_like(one) for one in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, rates: Tensor) -> None:
        """Change the parameters by their gradients, and forget these; `rates` (P,)."""
        self.steps += 1
        gradients = [one.grad for one in self.parameters if one.grad is not None]
        torch._foreach_lerp_(self.means, gradients, 1 - BETAS[0])
        torch._foreach_mul_(self.squares, BETAS[1])
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - BETAS[1])
        roots = torch._foreach_sqrt(self.squares)
        torch._foreach_div_(roots, (1 - BETAS[1] ** self.steps) ** 0.5)
        torch._foreach_add_(roots, EPSILON)
        changes = torch._foreach_div(self.means, roots)
        for parameter, change in zip(self.parameters, changes, strict=True):
            rate = rates.view(-1, *[1] * (parameter.dim() - 1)) / (1 - BETAS[0] ** self.steps)
            parameter.sub_(rate * change)
            parameter.grad = None


def train(probes: Probes, kinds: Tensor, train: Rows, validation: Rows, layers: Layers, schedule: Schedule,
          seed: int) -> int:  # fmt: skip
    """Train P probes until none gets better, or `max_steps` are made; `kinds` (P,): 0 learns the task, 1 its control.
    Return the steps."""
    device, number = str(kinds.device), len(kinds)
    torch.manual_seed(seed)
    drawn = torch.Generator().manual_seed(seed)
    adam = Adam(list(probes.parameters()))
    rates = torch.full((number,), schedule.learning_rate, device=device)
    best, since = torch.full((number,), -1.0, device=device), torch.zeros(number, dtype=torch.int64, device=device)
    kept = [one.detach().clone() for one in adam.parameters]
    step = 0
    while True:
        for batch in train.batches(layers, schedule.batch_size, device, drawn):
            probes.train()
            loss_of(probes, kinds, batch).backward()
            adam.step(rates)
            step += 1
            if step % schedule.eval_steps and step < schedule.max_steps:
                continue
            counts = count(probes, kinds, validation, layers, schedule.batch_size).sum(1)
            scores = torch.tensor([f1(*row) for row in counts.tolist()], device=device)
            better = scores > best
            best, since = torch.where(better, scores, best), torch.where(better, 0, since + 1)
            for saved, one in zip(kept, adam.parameters, strict=True):
                saved[better] = one.detach()[better]
            rates = torch.where((since > 0) & (since % schedule.lr_patience == 0), rates / 2, rates)
            rates = torch.where(since >= schedule.patience, 0.0, rates)  # it has ended
            if step >= schedule.max_steps or not rates.any():
                with torch.no_grad():
                    torch._foreach_copy_(adam.parameters, kept)
                return step


def loss_of(probes: Probes, kinds: Tensor, batch: Batch) -> Tensor:
    """The sum over probes of their mean cross entropy an example: no probe's gradient depends on another."""
    logits, right = probes(batch), batch.labels[kinds]
    return binary_cross_entropy_with_logits(logits, right, reduction="sum") / logits.shape[1]


@torch.inference_mode()
def count(probes: Probes, kinds: Tensor, rows: Rows, layers: Layers, batch_size: int) -> Counts:
    """Hits, false and missed labels of each probe, by group of documents."""
    probes.eval()
    found = np.zeros((len(kinds), rows.lost.shape[1], 3), np.int64)
    found[:, :, 2] = rows.lost[kinds.cpu().numpy()]
    for batch in rows.batches(layers, batch_size, str(kinds.device)):
        answers, right = probes(batch) > 0, batch.labels[kinds] > 0.5  # (P, M, K)
        outcomes = (answers & right).sum(2), (answers & ~right).sum(2), (~answers & right).sum(2)
        table = torch.stack(outcomes, 2)  # (P, M, 3)
        sums = torch.zeros(found.shape, dtype=torch.int64, device=table.device).index_add_(1, batch.blocks, table)
        found += sums.cpu().numpy()
    return found
