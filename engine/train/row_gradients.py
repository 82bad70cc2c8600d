"""What if a step uses a few rows of a large table?  Its gradient holds these and no others: a sparse gradient.

Of word vectors a step touches one row in twenty, and a gradient as large as the table would be most of its work. An
`nn.Embedding` with `sparse` has such gradients. They are kept where they pay and are known to work: on CPUs, with whole
copies of the model, and with an optimizer that leaves the other rows alone. Elsewhere the same gradient is dense.

Several processes average their rows here and not in DDP: its own all-reduce of sparse gradients (gloo, torch 2.13)
corrupts the heap about once in 20,000 steps, and the process aborts ("malloc(): unaligned tcache chunk detected").
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.run.processes import is_distributed
from engine.train.shards import local
from engine.train.together import rows_of_all

OPTIMIZERS = ("adagrad", "powered_sgd")  # that take them


def choose_gradients(model: nn.Module, optimizer: str, device: torch.device, is_sharded: bool) -> None:
    """Leave a model's embeddings `sparse`, or make their gradients dense where sparse ones would not do."""
    if optimizer in OPTIMIZERS and device.type == "cpu" and not is_sharded:
        return
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.sparse = False


def find_tables(module: nn.Module) -> list[Tensor]:
    """The parameters whose gradients are sparse, in the same order on all processes."""
    return [each.weight for each in module.modules() if isinstance(each, nn.Embedding) and each.sparse]


def merge_rows(model: nn.Module) -> None:
    """Add up what several micro-batches found for the same rows, and average it over the processes, as DDP does with
    dense gradients: each row stands there once. All processes must call it."""
    for table in find_tables(model):
        if table.grad is not None:
            table.grad = table.grad.coalesce()
        if is_distributed():
            table.grad = _average_over_processes(table, table.grad)


def _average_over_processes(table: Tensor, own: Tensor | None) -> Tensor:
    """The mean gradient of a table. A process whose batch used no row of it has none of its `own`."""
    used = torch.empty(0, dtype=torch.int64) if own is None else own.indices()[0]
    found = table.new_empty(0, *table.shape[1:]) if own is None else own.values()
    rows, values = rows_of_all(used), rows_of_all(found / dist.get_world_size())
    return torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=False).coalesce()


def numbers_of(gradient: Tensor) -> Tensor:
    """The numbers of a gradient that are not zero by default, sharing the memory."""
    return gradient._values() if gradient.is_sparse else gradient


class RowOptimizer(torch.optim.Optimizer):
    """An optimizer that takes such gradients. Where `found_inf` (0-d) is 1, a step changes nothing. Parameters may be
    sharded. A sparse gradient holds some rows of its parameter, each once, and no other row is looked at."""

    found_inf: Tensor | None = None

    def __init__(self, parameters: list[nn.Parameter], lr: float):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients there are; a parameter without one stays."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                rows = parameter.grad._indices()[0] if parameter.grad.is_sparse else None
                self.move(parameter, rows, self._unless_skipped(numbers_of(local(parameter.grad))), group["lr"])

    def move(self, parameter: Tensor, rows: Tensor | None, gradient: Tensor, rate: float) -> None:
        """Change the rows `rows` of a parameter, or all of it (None), by their gradient."""
        raise NotImplementedError

    def _unless_skipped(self, gradient: Tensor) -> Tensor:
        """The gradient; zero where the step must change nothing."""
        if self.found_inf is None or (self.found_inf.device.type == "cpu" and not self.found_inf):
            return gradient
        return torch.where(self.found_inf.bool(), torch.zeros_like(gradient), gradient)
