"""Over how many answers is a step's loss a mean?  What all processes know together before they compute.

An all-reduce of counts, clock and stop signals. They are numbers that a CPU knows, so they go from CPU to CPU: on their
way over a GPU they would wait for all that is queued there, and the step with them.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist

from engine.run.processes import between_hosts, is_distributed
from engine.train.batch import Batch


@dataclass(frozen=True)
class Agreed:
    """The same on all processes: sums over all of them and over a step's micro-batches."""

    counts: dict[str, float]  # answers asked, by loss term
    units: float  # that the examples hold
    room: float  # for units, padding included
    seconds: float  # the main process's clock
    stop: bool  # whether one of them was asked to stop


def agree_on_counts(micro_batches: list[Batch], seconds: float, asked_to_stop: bool, is_main: bool) -> Agreed:
    """Add up what each process brings. `seconds` is the clock of this one, of which the main process's counts."""
    terms = list(micro_batches[0].counts)
    real = [batch for batch in micro_batches if not batch.is_filler]
    own = [float(sum(batch.counts[term] for batch in micro_batches)) for term in terms]
    own += [float(sum(batch.num_units for batch in real)), float(sum(batch.room for batch in real))]
    own += [seconds if is_main else 0.0, float(asked_to_stop)]
    total = torch.tensor(own, dtype=torch.float64)
    if is_distributed():
        dist.all_reduce(total, group=between_hosts())
    *counts, units, room, clock, stop = total.tolist()
    return Agreed(dict(zip(terms, counts, strict=True)), units, room, clock, bool(stop))
