"""Which activations does transformers write in Python?  GPT-2's GELU (`gelu_new`), eight operations for torch's one.

A GPT-2 that we start has torch's in its config (pretrain.objectives.causal_lm); this is for checkpoints of others.
"""

from torch import nn
from transformers.activations import NewGELUActivation


def fuse_gelu(model: nn.Module) -> None:
    """Replace `gelu_new` by torch's own kernel (Hendrycks & Gimpel 2016, with tanh): the same to rounding."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is NewGELUActivation:
                setattr(module, name, nn.GELU(approximate="tanh"))
