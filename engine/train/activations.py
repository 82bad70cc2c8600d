"""Which activations does transformers spell out in Python?  GPT-2's GELU, of eight operations where torch has one."""

from torch import nn
from transformers.activations import NewGELUActivation


def fuse_gelu(model: nn.Module) -> None:
    """Give torch's own kernel the place of `gelu_new` (Hendrycks & Gimpel 2016, with tanh): the same to rounding."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is NewGELUActivation:
                setattr(module, name, nn.GELU(approximate="tanh"))
