"""How far does each step go, and in which direction?  AdamW, LAMB, Muon, SGD, or what suits tables of words.

Each with its parameter groups: matrices, which are decayed, and biases and LayerNorm, which are not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.train.adagrad import Adagrad
from engine.train.lamb import Lamb
from engine.train.muon import Muon
from engine.train.powered_sgd import PoweredSgd
from engine.train.sgd import Sgd

ROW_BY_ROW = ("betas", "eps", "momentum", "weight_decay")
UNUSED = {"sgd": ("betas", "eps"), "adagrad": ROW_BY_ROW, "powered_sgd": ROW_BY_ROW}  # keys, by optimizer


@dataclass(frozen=True)
class Optimizer:
    """The recipe's `optimizer:` section.

    adamw: Loshchilov & Hutter 2019, as BERT uses it: biases and LayerNorm are not decayed.

    lamb: You et al. 2020, for batches of thousands; its rates are larger, near 1e-3.

    muon: Jordan et al. 2024, for the matrices of the layers; AdamW, with `betas` and `eps`, for everything else. The
    update is scaled to AdamW's size (Liu et al. 2025, arXiv 2502.16982), so `learning_rate` and `weight_decay` suit
    both.

    sgd: Robbins & Monro 1951, with momentum (Sutskever et al. 2013); its rates are larger, near 0.1, and `weight_decay`
    is added to the gradient.

    adagrad: Duchi et al. 2011, for word vectors: what is seldom met is moved further. Its rates are near 0.05 to 0.3.
    Of a table of which a step has used some rows, it changes these alone.

    powered_sgd: Yuan et al. 2016, row by row, for word vectors: each row that a step has used moves along its gradient,
    by its length to the power 0.75. Its rates are near 0.02 to 0.03.
    """

    name: Literal["adamw", "lamb", "muon", "sgd", "adagrad", "powered_sgd"] = "adamw"  # which way a step goes
    learning_rate: float = 1e-4  # the largest, after the warm-up; the schedule says how it falls
    weight_decay: float = 0.01  # of matrices and embeddings (adamw, lamb, muon, sgd), not of biases and LayerNorm
    betas: tuple[float, ...] = (0.9, 0.999)  # decays of the two moments; not for sgd, adagrad and powered_sgd
    eps: float = 1e-6  # added to the root of the second moment; not for sgd, adagrad and powered_sgd
    momentum: float = 0.9  # for sgd alone
    ema: float = 0.0  # decay of the average of the weights that is evaluated and exported, such as 0.999; 0: none

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it is above 0, such as 1e-4")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; it is 0 or more, such as 0.01")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {self.betas}; two numbers from 0 to below 1, such as [0.9, 0.999]")
        if not self.eps > 0:
            raise ValueError(f"eps is {self.eps}; it is above 0, such as 1e-6")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; it is a number from 0 to below 1, such as 0.9")
        for name in UNUSED.get(self.name, ("momentum",)):
            if getattr(self, name) != getattr(Optimizer, name):
                raise ValueError(f"{name} is {getattr(self, name)}, but {self.name} has no {name}: leave it out")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; a decay from 0 (no average) to below 1, such as 0.999")


def build_optimizers(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    """Return what to step after each gradient, in any order; no parameter is in two of them.

    The parameters may be sharded already (DTensor). Errors: ValueError if `muon` finds no matrix to work on.
    """
    return BUILDERS[settings.name](model, settings)


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Give every group the learning rate `rate`. It is computed from the position, so nothing counts calls."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def step_unless(skipped: Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    """Step with all of them, unless `skipped` (0-d fp32, on the device) is 1: then nothing of theirs changes.

    Which of the two it is, nobody waits for: their kernels look themselves, as they do for a `GradScaler`.
    """
    for optimizer in optimizers:
        optimizer.found_inf = skipped  # type: ignore[attr-defined]
        optimizer.step()


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The trainable matrices inside the model's stacks of layers (`nn.ModuleList`): from features to features.

    Not the embeddings, the heads, or what else stands outside the layers (Jordan et al. 2024 leave them to AdamW), nor
    a matrix that is tied to an embedding.
    """
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    inside = {module for stack in stacks for layer in stack for module in layer.modules()}
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    tables = {id(table) for module in embeddings for table in module.parameters(recurse=False)}
    return [
        parameter
        for module in model.modules()
        if module in inside
        for name, parameter in module.named_parameters(recurse=False)
        if name.endswith("weight") and parameter.ndim == 2 and parameter.requires_grad and id(parameter) not in tables
    ]


def _adamw(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    return [_adamw_of(_trainable(model), settings)]


def _lamb(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    matrices, vectors = _decay_groups(_trainable(model), settings.weight_decay)
    return [
        Lamb([matrices, {**vectors, "rescale": False}], settings.learning_rate, _pair(settings.betas), settings.eps)
    ]


def _muon(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    """torch's Muon, which can leave a step out, and AdamW for the rest.

    That GPT-2 keeps its matrices transposed (Conv1D) changes nothing: a transposed gradient gives the transposed
    update, and the scale, 0.2 sqrt(max(rows, columns)), has no orientation. torch itself gathers what it needs of
    sharded matrices; the result is the same up to the rounding of its bfloat16.
    """
    matrices = hidden_matrices(model)
    if not matrices:
        raise ValueError(
            f"optimizer.name is muon, but {type(model).__name__} has no trainable matrix in a stack of layers "
            "(nn.ModuleList); take adamw or lamb"
        )
    taken = {id(matrix) for matrix in matrices}
    muon = Muon(matrices, lr=settings.learning_rate, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, _adamw_of([p for p in _trainable(model) if id(p) not in taken], settings)]


def _sgd(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    groups = _decay_groups(_trainable(model), settings.weight_decay)
    return [Sgd(groups, lr=settings.learning_rate, momentum=settings.momentum)]


def _adagrad(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    return [Adagrad(_trainable(model), lr=settings.learning_rate)]


def _powered_sgd(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.ndim != 2:
            raise ValueError(
                f"optimizer.name is powered_sgd, which moves the rows of matrices, and {name} of "
                f"{type(model).__name__} is none; take adamw"
            )
    return [PoweredSgd(_trainable(model), lr=settings.learning_rate)]


BUILDERS: dict[str, Callable[[nn.Module, Optimizer], list[torch.optim.Optimizer]]] = {
    "adamw": _adamw,
    "lamb": _lamb,
    "muon": _muon,
    "sgd": _sgd,
    "adagrad": _adagrad,
    "powered_sgd": _powered_sgd,
}


def _adamw_of(parameters: list[nn.Parameter], settings: Optimizer) -> torch.optim.AdamW:
    groups = _decay_groups(parameters, settings.weight_decay)
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=_pair(settings.betas), eps=settings.eps, fused=True
    )


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]  # a tied one comes once


def _decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """What is decayed (matrices) and what is not (vectors: biases, LayerNorm)."""
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _pair(betas: tuple[float, ...]) -> tuple[float, float]:
    first, second = betas
    return first, second
