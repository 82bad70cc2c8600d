"""Is the cross entropy chunk by chunk that of the whole table, and is the table never made?"""

import math

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.train import cross_entropy
from engine.train.cross_entropy import projected_cross_entropy

N, H, V = 20, 8, 50


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES_CPU", 4 * V * 7)  # 20 rows in chunks of 7, 7 and 6
    monkeypatch.setattr(cross_entropy, "TILE_CPU", 16)  # 50 columns in tiles of 16, 16, 16 and 2


def factors(dtype=torch.float32, size=(N, H, V), spread=1.0):
    chance = torch.Generator().manual_seed(0)
    rows, width, words = size
    shapes = (rows, width), (words, width), (words,)
    states, weight, bias = (torch.randn(shape, dtype=dtype, generator=chance).mul_(spread) for shape in shapes)
    target = torch.randint(words, (rows,), generator=chance)
    return states.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), target


def whole_table(states, weight, bias, target):
    return functional.cross_entropy(functional.linear(states, weight, bias).float(), target, reduction="sum")


@pytest.mark.parametrize("with_bias", [True, False])
def test_loss_and_gradients_are_those_of_the_whole_table(small_chunks, with_bias):
    states, weight, bias, target = factors()
    given = [states, weight, *([bias] if with_bias else [])]
    ours, _ = projected_cross_entropy(states, weight, bias if with_bias else None, target)
    theirs = whole_table(states, weight, bias if with_bias else None, target)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    # A factor behind the loss, as a mean puts one there, reaches the gradients.
    for found, expected in zip(*(torch.autograd.grad(0.3 * loss, given) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_the_slope_of_the_loss(small_chunks):
    *given, target = factors(torch.float64)
    assert torch.autograd.gradcheck(lambda *given: projected_cross_entropy(*given, target)[0], given, fast_mode=True)


def test_only_what_learns_gets_a_gradient(small_chunks):
    states, weight, bias, target = factors()
    weight.requires_grad_(False)
    projected_cross_entropy(states, weight, bias, target)[0].backward()
    assert weight.grad is None
    assert states.grad is not None
    assert bias.grad is not None


def test_a_hopeless_guess_costs_what_its_logits_say(small_chunks):
    states, weight, bias, target = factors(spread=40.0)  # probabilities far below the smallest number of fp32
    loss, _ = projected_cross_entropy(states, weight, bias, target)
    exact = whole_table(*(tensor.double() for tensor in (states, weight, bias)), target)
    assert loss.item() > N * 200
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_tokens_that_cannot_be_cost_nothing_though_they_fill_a_tile(small_chunks):
    """As of a vocabulary that is padded, by a bias of -inf."""
    states, weight, bias, target = factors()
    with torch.no_grad():
        bias[:32] = -math.inf
    given, target = (states, weight, bias), 32 + target % (V - 32)
    ours, theirs = projected_cross_entropy(*given, target)[0], whole_table(*given, target)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    for found, expected in zip(*(torch.autograd.grad(loss, given) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_right_guesses_are_counted_where_no_gradient_is_asked_for(small_chunks, context):
    states, weight, bias, target = factors()
    best = functional.linear(states, weight, bias).argmax(-1)
    target = torch.where(torch.arange(N) < 13, best, (best + 1) % V)
    with context():
        loss, correct = projected_cross_entropy(states, weight, bias, target)
    assert correct.item() == 13
    trained, uncounted = projected_cross_entropy(states, weight, bias, target)
    assert loss.item() == trained.item()
    assert math.isnan(uncounted.item())


def test_of_equal_logits_the_first_is_the_guess():
    states, weight = torch.ones(2, H), torch.zeros(V, H)
    assert projected_cross_entropy(states, weight, None, torch.tensor([0, 1]))[1].item() == 1


def test_autocast_rounds_the_products_and_nothing_else(small_chunks):
    states, weight, bias, target = factors(size=(64, 32, V))
    exact = torch.autograd.grad(whole_table(states, weight, bias, target), [states, weight, bias])
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (
            projected_cross_entropy(states, weight, bias, target)[0],
            whole_table(states, weight, bias, target),
        )
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-3)
    for found, usual, right in zip(
        *(torch.autograd.grad(loss, [states, weight, bias]) for loss in (ours, theirs)), exact, strict=True
    ):
        assert found.dtype == torch.float32
        assert (found - right).norm() <= 1.5 * (usual - right).norm()
        assert not torch.equal(found, right)  # it was bf16


def test_nothing_of_the_tables_size_is_ever_held(small_chunks):
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
            Largest.elements = max([Largest.elements, *sizes])
            return made

    states, weight, bias, target = factors(size=(400, H, V))
    with Largest():
        projected_cross_entropy(states, weight, bias, target)[0].backward()
    assert Largest.elements == states.numel()  # 400 × 8, where the table has 400 × 50


def test_nothing_asked_is_no_loss_and_no_gradient():
    states, weight, bias, target = factors()
    loss, _ = projected_cross_entropy(states[:0], weight, bias, target[:0])
    loss.backward()
    assert loss.item() == 0
    assert not weight.grad.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_finds_the_same(monkeypatch, dtype):
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES_GPU", 4 * 3000 * 64)
    *given, target = factors(size=(200, 64, 3000))
    expected = torch.autograd.grad(whole_table(*given, target), given)
    on_gpu = [tensor.detach().cuda().requires_grad_() for tensor in given]
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        loss, _ = projected_cross_entropy(*on_gpu, target.cuda())
    for found, right in zip(torch.autograd.grad(loss, on_gpu), expected, strict=True):
        assert (found.cpu() - right).norm() < (1e-4 if dtype == torch.float32 else 2e-2) * right.norm()
