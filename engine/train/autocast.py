"""What does a function need that makes its products itself, forward and backward, under autocast?"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def product_precision(x: Tensor) -> torch.dtype:
    """The precision in which autocast would make the products of `x`: its own, where autocast is off."""
    device = x.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else x.dtype


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Shapes without values (device `meta`) have no autocast."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
