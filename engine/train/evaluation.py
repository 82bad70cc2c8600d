"""How good is it?  Sums over all batches and processes, divided once; predictions in the order of the rows.

Each process takes every P-th batch of the same list, so nothing is padded, repeated or lost, and a figure is the same
on any number of processes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from engine.train.batch import Batch, Loss


def measure(
    model: nn.Module, loss: Loss, batches: Sequence[Batch], accelerator: Accelerator
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the sums that `loss` gives over all `batches`, and their counts. `model` must be in evaluation mode."""
    totals: dict[str, float] = {}
    with torch.inference_mode(), accelerator.autocast():
        for batch in batches[accelerator.process_index :: accelerator.num_processes]:
            for name, value in loss(model, batch.to(accelerator.device)).items():
                totals[name] = totals.get(name, 0.0) + float(value)
    counts: dict[str, int] = {}
    for batch in batches:
        for name, count in batch.counts.items():
            counts[name] = counts.get(name, 0) + count
    parts = gather_object([totals])
    return {name: sum(part.get(name, 0.0) for part in parts) for name in parts[0]}, counts


def predict(
    model: nn.Module, read: Callable[[nn.Module, Batch], list[Any]], batches: Sequence[Batch], accelerator: Accelerator
) -> list[Any]:
    """Return what `read(model, batch)` gives for each example of all `batches`, in order: numbers, and nests of them.

    Errors: FloatingPointError on all processes if some are NaN or infinite.
    """
    own = []
    with torch.inference_mode(), accelerator.autocast():
        for number in range(accelerator.process_index, len(batches), accelerator.num_processes):
            own.append((number, read(model, batches[number].to(accelerator.device))))
    found = sorted(gather_object(own), key=lambda pair: pair[0])
    answers = [answer for _, some in found for answer in some]
    if lost := sum(not _is_an_answer(answer) for answer in answers):
        raise FloatingPointError(
            f"the model's answers to {lost} of {len(answers)} examples are no numbers (NaN or infinity): it is lost; "
            "train it again with a lower optimizer.learning_rate"
        )
    return answers


def _is_an_answer(found: Any) -> bool:
    """Minus infinity is one: it says never."""
    if isinstance(found, list | tuple):
        return all(map(_is_an_answer, found))
    values = np.asarray(found)
    return values.dtype.kind != "f" or not (np.isnan(values) | np.isposinf(values)).any()
