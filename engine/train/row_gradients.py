"""What if a step uses a few rows of a large table?  Its gradient holds these and no others: a sparse gradient.

Of word vectors a step touches one row in twenty, and a gradient as large as the table would be most of its work. An
`nn.Embedding` with `sparse` has such gradients. They are kept where they pay and are known to work: on CPUs, with whole
copies of the model, and with an optimizer that leaves the other rows alone. Elsewhere the same gradient is dense.
"""

import torch
from torch import Tensor, nn

OPTIMIZERS = ("adagrad", "normalized_sgd")  # that take them


def choose_gradients(model: nn.Module, optimizer: str, device: torch.device, is_sharded: bool) -> None:
    """Leave a model's embeddings `sparse`, or make their gradients dense where sparse ones would not do."""
    if optimizer in OPTIMIZERS and device.type == "cpu" and not is_sharded:
        return
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.sparse = False


def merge_rows(model: nn.Module) -> None:
    """Add up what several micro-batches or processes found for the same rows, so that each stands there once."""
    for parameter in model.parameters():
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()


def numbers_of(gradient: Tensor) -> Tensor:
    """The numbers of a gradient that are not zero by default, sharing the memory."""
    return gradient._values() if gradient.is_sparse else gradient


def zero_if_skipped(gradient: Tensor, skipped: Tensor | None) -> Tensor:
    """The gradient; zero where `skipped` (0-d) is 1, since the step must change nothing then."""
    if skipped is None or (skipped.device.type == "cpu" and not skipped):
        return gradient
    return torch.where(skipped.bool(), torch.zeros_like(gradient), gradient)
