"""Do AdaGrad and powered SGD step as they should, on whole tables as on some rows, and leave out what they must?"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.run.runtime import make_accelerator, program
from engine.train.loop import clip, total_norm
from engine.train.optimizer import Optimizer, build_optimizers, step_unless
from engine.train.row_gradients import OPTIMIZERS, choose_gradients, merge_rows
from engine.train.sharding import accumulating, parallel
from networks.word_vectors import take_rows


class Table(nn.Module):
    """A loss on a few rows of a table, as two micro-batches may find them."""

    def __init__(self, sparse: bool):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 4, sparse=sparse)

    def backward(self, rows: list[int], scale: float) -> None:
        found = take_rows(self.table, torch.tensor(rows))
        (scale * found.pow(2).sum() + found.sum()).backward()


def trained(sparse: bool, clipped: float = 1e9, name: Any = "adagrad") -> Table:
    model = Table(sparse)
    optimizers = build_optimizers(model, Optimizer(name, 0.1))
    for step in range(4):
        model.backward([1, 5, 7 + step], 1.0)
        model.backward([5, 9], 3.0)
        merge_rows(model)
        gradient = model.table.weight.grad
        assert gradient is not None
        assert gradient.is_sparse == sparse
        clip(model, total_norm(model), clipped)
        step_unless(torch.tensor(float(step == 2)), optimizers)
        optimizers[0].zero_grad()
    return model


def test_rows_are_changed_as_torchs_adagrad_changes_them():
    found, expected = trained(sparse=True), Table(sparse=False)
    theirs = torch.optim.Adagrad(expected.parameters(), lr=0.1)
    for step in (0, 1, 3):  # step 2 was left out
        expected.backward([1, 5, 7 + step], 1.0)
        expected.backward([5, 9], 3.0)
        theirs.step()
        theirs.zero_grad()
    assert torch.allclose(found.table.weight, expected.table.weight, atol=1e-6)
    untouched = torch.tensor([row for row in range(50) if row not in (1, 5, 7, 8, 9, 10)])
    assert torch.equal(found.table.weight[untouched], Table(True).table.weight[untouched])


def test_a_row_with_a_gradient_sixteen_times_as_long_goes_eight_times_as_far():
    model = Table(sparse=True)
    before = model.table.weight.detach().clone()
    optimizers = build_optimizers(model, Optimizer("powered_sgd", 0.1))
    gradient = torch.zeros(50, 4)
    gradient[1], gradient[5], gradient[9] = torch.tensor([[1.0], [16.0], [4.0]]) * torch.tensor([0.6, -0.8, 0.0, 0.0])
    for scale in (1.0, 1e-6):  # of the loss, which does not matter
        model.table.weight.grad = (scale * gradient).to_sparse(1)
        step_unless(torch.zeros(()), optimizers)
    moved = before - model.table.weight.detach()
    usual = 2 * 0.1 * 4**0.5  # two steps of 0.1 in the root mean square, by the row whose gradient has a length of 4
    used = torch.tensor([1, 5, 9])
    assert torch.allclose(moved[used].norm(dim=1), usual * torch.tensor([8**-0.5, 8**0.5, 1]))
    assert torch.allclose(torch.cosine_similarity(moved[used], gradient[used]), torch.ones(3))
    moved[used] = 0
    assert not moved.any()


def test_what_is_no_matrix_has_no_rows():
    with pytest.raises(ValueError, match=r"the rows of matrices, and bias of Linear is none; take adamw"):
        build_optimizers(nn.Linear(2, 2), Optimizer("powered_sgd", 0.1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_some_rows_or_the_whole_table_come_to_the_same(name):
    for clipped in (1e9, 0.5):
        some, whole = (trained(sparse, clipped, name).table.weight for sparse in (True, False))
        assert torch.allclose(some, whole, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_left_out_changes_nothing_even_where_the_gradient_is_none(name):
    for sparse in (True, False):
        model = Table(sparse)
        before = model.table.weight.detach().clone()
        optimizers = build_optimizers(model, Optimizer(name, 0.1))
        model.backward([3], float("nan"))
        merge_rows(model)
        step_unless(torch.ones(()), optimizers)
        assert torch.equal(model.table.weight, before)
        assert not any(values.any() for values in optimizers[0].state[model.table.weight].values())


@pytest.mark.parametrize(
    ("optimizer", "is_sharded", "stays"),
    [("adagrad", False, True), ("powered_sgd", False, True), ("adamw", False, False), ("adagrad", True, False)],
)
def test_gradients_are_of_rows_only_where_the_optimizer_takes_them(optimizer, is_sharded, stays):
    model = Table(sparse=True)
    choose_gradients(model, optimizer, torch.device("cpu"), is_sharded)
    assert model.table.sparse == stays
    model.backward([3], 1.0)
    assert model.table.weight.grad.is_sparse == stays


class Read(nn.Module):
    """A loss on rows of one or two tables, and on a matrix if there `is_dense` one."""

    def __init__(self, is_dense: bool):
        super().__init__()
        torch.manual_seed(0)
        self.tables: Any = nn.ModuleList([nn.Embedding(50, 4, sparse=True) for _ in range(2)])
        self.matrix = nn.Linear(4, 1) if is_dense else None

    def forward(self, rows: list[Tensor]) -> Tensor:
        found = [take_rows(table, own) for table, own in zip(self.tables, rows, strict=False)]
        scores = [each.sum(1) if self.matrix is None else self.matrix(each) for each in found]
        return torch.stack([score.square().sum() for score in scores]).sum()


def rows_of(step: int, share: int) -> list[Tensor]:
    """Those of two tables. In one step half of the data uses the first one alone, in another a share uses no row."""
    if step == 1 and share % 2 == 0:
        return [torch.tensor([7 + share])]
    if (step, share) == (2, 3):
        return [torch.empty(0, dtype=torch.int64)] * 2
    g = torch.Generator().manual_seed(4 * step + share)
    return [torch.randperm(50, generator=g)[: 5 + share + 3 * table].sort().values for table in range(2)]


@program
def main(argv: list[str]) -> None:
    """Three steps on four shares of data, which the processes divide."""
    accelerator = make_accelerator(0)
    model: Any = Read(is_dense=argv[0] == "dense")
    wrapped = parallel(model, accelerator)
    optimizers = build_optimizers(model, Optimizer("adagrad", learning_rate=0.1))
    shares = range(4)[accelerator.process_index :: accelerator.num_processes]
    for step in range(3):
        for share in shares:
            with accumulating(wrapped, accelerator) if share != shares[-1] else nullcontext():
                accelerator.backward(wrapped(rows_of(step, share)) / len(shares))
        merge_rows(model)
        assert all(table.weight.grad.is_sparse and table.weight.grad.is_coalesced() for table in model.tables)
        optimizers[0].step()
        optimizers[0].zero_grad()
    torch.save(model.state_dict(), Path(f"of-{accelerator.process_index}-of-{accelerator.num_processes}.pt"))


@pytest.mark.parametrize("kind", ["dense", "alone"])
def test_processes_average_their_rows_even_where_one_used_none(kind, tmp_path, launch_program, launch_together):
    alone = launch_program(main, tmp_path, kind)
    assert alone.status == 0, alone.said
    ranks = launch_together(main, tmp_path, kind)
    assert [rank.status for rank in ranks] == [0, 0], "\n".join(rank.said for rank in ranks)
    one, first, second = (torch.load(tmp_path / f"of-{name}.pt") for name in ("0-of-1", "0-of-2", "1-of-2"))
    for name, expected in one.items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], expected, atol=1e-6)
