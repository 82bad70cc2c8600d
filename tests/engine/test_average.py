"""Is the average the one that is described, and is the model afterwards the one it was?"""

import pytest
import torch
from torch import Tensor, nn

from engine.train.average import Average


class Net(nn.Module):
    """A tied pair, a frozen layer, and a buffer that training changes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.words, self.frozen = nn.Embedding(5, 3), nn.Linear(3, 5), nn.Linear(2, 2)
        self.words.weight = self.embed.weight
        self.frozen.requires_grad_(False)
        self.norm = nn.BatchNorm1d(3)


@torch.no_grad()
def take_step(model: Net, number: int) -> None:
    chance = torch.Generator().manual_seed(number)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=chance))
    model.norm(torch.randn(4, 3, generator=chance).to(model.norm.weight.dtype))


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_follows_the_formula(decay):
    model = Net().double()
    average = Average(model, decay)
    expected = model.embed.weight.detach().clone()
    for number in range(1, 21):
        take_step(model, number)
        average.update()
        rate = min(decay, (1 + number) / (10 + number))
        expected = rate * expected + (1 - rate) * model.embed.weight.detach()
    torch.testing.assert_close(average.tensors()["embed.weight"], expected, rtol=0, atol=1e-13)


def test_what_is_averaged_is_young():
    """Weights that say the step they are of: their mean lags by a tenth of the training, then by 1 / (1 - decay)."""
    clock = nn.Linear(1, 1).double()
    average, lags = Average(clock, 0.99), {}
    for step in range(1, 3001):
        nn.init.constant_(clock.weight, float(step))
        average.update()
        lags[step] = step - average.tensors()["weight"].item()
    assert lags[100] == pytest.approx(10, abs=1)
    assert lags[500] == pytest.approx(50, abs=2)
    assert lags[3000] == pytest.approx(99, abs=1)


def test_inside_is_the_average_and_afterwards_everything_is_as_it_was():
    model = Net()
    average = Average(model, 0.9)
    take_step(model, 1)
    average.update()
    own, parameter = values(model), model.embed.weight
    expected = {name: value.clone() for name, value in average.tensors().items()}
    with average.swapped():
        inside = values(model)
        assert model.embed.weight is parameter is model.words.weight
    assert_same(values(model), own)
    assert_same(average.tensors(), expected)
    trained = {name for name, value in inside.items() if not torch.equal(value, own[name])}
    assert trained == {"embed.weight", "words.weight", "words.bias", "norm.weight", "norm.bias"}
    for name in trained - {"words.weight"}:
        assert torch.equal(inside[name], expected[name])


def test_an_evaluation_that_fails_gives_the_weights_back():
    model = Net()
    average = Average(model, 0.9)
    take_step(model, 1)
    own = values(model)
    with pytest.raises(RuntimeError, match="no memory"), average.swapped():
        raise RuntimeError("no memory")
    assert_same(values(model), own)
    average.update()  # and it goes on


def test_a_tied_weight_is_kept_once_and_a_frozen_one_not_at_all():
    names = set(Average(Net(), 0.9).tensors())
    assert names == {"embed.weight", "words.bias", "norm.weight", "norm.bias", "|updates"}


def test_a_stop_changes_nothing():
    whole, rest = Net(), Net()
    uninterrupted = Average(whole, 0.999)
    for number in range(1, 4):
        take_step(whole, number)
        uninterrupted.update()
    state = {name: value.clone() for name, value in uninterrupted.tensors().items()}
    rest.load_state_dict(whole.state_dict())
    resumed = Average(rest, 0.999)
    resumed.load(state)
    for number in range(4, 7):
        for model, average in ((whole, uninterrupted), (rest, resumed)):
            take_step(model, number)
            average.update()
    assert_same(resumed.tensors(), uninterrupted.tensors())


def test_another_models_average_is_refused_by_name():
    state = Average(nn.Linear(2, 2), 0.9).tensors()
    with pytest.raises(ValueError, match=r"another model: 6 names differ, such as bias"):
        Average(Net(), 0.9).load(state)


def test_weights_too_coarse_for_an_average_are_refused():
    with pytest.raises(ValueError, match=r"weight is torch.bfloat16.*keep the weights in float32"):
        Average(nn.Linear(2, 2).bfloat16(), 0.999)
