"""Is it the LSTM with projection that TensorFlow and torch have, with the clipping, and the gradient of it?"""

import pytest
import torch
from torch import nn

from networks.projected_lstm import ProjectedLSTM, read_side_by_side

ROWS, STEPS, INPUTS, CELLS, PROJECTED = 3, 5, 4, 6, 2


@pytest.fixture
def directions():
    torch.manual_seed(0)
    return [ProjectedLSTM(INPUTS, CELLS, PROJECTED).double() for _ in range(2)]


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, ROWS, STEPS, INPUTS, dtype=torch.float64, generator=generator)


def step_by_step(x, lstm, cell_clip, projection_clip):
    """One direction x (B, T, I) as its formulas have it."""
    output, cell = x.new_zeros(len(x), PROJECTED), x.new_zeros(len(x), CELLS)
    found = []
    for step in range(x.shape[1]):
        i, f, g, o = (lstm.input(x[:, step]) + lstm.recurrent(output)).chunk(4, -1)
        cell = (f.sigmoid() * cell + i.sigmoid() * g.tanh()).clamp(-cell_clip, cell_clip)
        output = lstm.projection(o.sigmoid() * cell.tanh()).clamp(-projection_clip, projection_clip)
        found.append(output)
    return torch.stack(found, 1)


def test_without_clipping_it_is_torchs(directions, x):
    found = read_side_by_side(x, directions, 1e9, 1e9)
    for given, made, lstm in zip(x, found, directions, strict=True):
        same = nn.LSTM(INPUTS, CELLS, proj_size=PROJECTED, batch_first=True).double()
        gates, output = lstm.input, lstm.projection.weight
        weights = gates.weight, lstm.recurrent.weight, gates.bias, torch.zeros(4 * CELLS), output
        same.load_state_dict(dict(zip(same.state_dict(), weights, strict=True)))
        torch.testing.assert_close(made, same(given)[0])


@pytest.mark.parametrize("clips", [(1e9, 1e9), (0.15, 1e9), (1e9, 0.05), (0.1, 0.04)])
def test_values_and_gradients_are_those_of_its_formulas(directions, x, clips):
    x.requires_grad_()
    found = read_side_by_side(x, directions, *clips)
    right = torch.stack([step_by_step(one, lstm, *clips) for one, lstm in zip(x, directions, strict=True)])
    torch.testing.assert_close(found, right)
    if min(clips) < 1:
        free = torch.stack([step_by_step(one, lstm, 1e9, 1e9) for one, lstm in zip(x, directions, strict=True)])
        assert not torch.allclose(right, free)  # something is clipped
    way = torch.randn_like(found)
    weights = [x, *(parameter for lstm in directions for parameter in lstm.parameters())]
    ours, theirs = (torch.autograd.grad((value * way).sum(), weights) for value in (found, right))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_directions_share_nothing(directions, x):
    before = read_side_by_side(x, directions, 3, 3)
    other = x.clone()
    other[1] += 1
    after = read_side_by_side(other, directions, 3, 3)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_in_bf16_it_learns_nearly_the_same(directions, x):
    lstms, x = [lstm.float() for lstm in directions], x.float()
    parameters = [parameter for lstm in lstms for parameter in lstm.parameters()]
    whole = read_side_by_side(x, lstms, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        half = read_side_by_side(x, lstms, 3, 3)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, atol=0.01, rtol=0.05)
    for one, other in zip(*(torch.autograd.grad(y.sum(), parameters) for y in (half, whole)), strict=True):
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)
