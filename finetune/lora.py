"""How is a model fine-tuned by few weights?  LoRA (Hu et al. 2021): a change of low rank beside each linear layer.

`peft` puts it there. Before a model is saved the change is added to the weights (merged), so its folder opens without
peft.
"""

import copy
import importlib.util
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

SCALE = 2  # alpha / rank: by how much the change counts


def check_peft() -> None:
    """Errors: ValueError if peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise ValueError("lora_rank needs peft, which is not installed: say  pip install peft,  or leave it out")


def add_adapters(model: PreTrainedModel, rank: int, fresh: list[str]) -> None:
    """Put a change of this rank beside each linear layer of the encoder, but for those that are `fresh`, in place."""
    from peft import LoraConfig, inject_adapter_in_model

    base = f"{model.base_model_prefix}."
    layers = {
        name: module
        for name, module in model.named_modules()
        if name.startswith(base) and isinstance(module, nn.Linear | Conv1D) and f"{name}.weight" not in fresh
    }
    is_transposed = any(isinstance(module, Conv1D) for module in layers.values())  # GPT-2's weights
    settings = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=list(layers), fan_in_fan_out=is_transposed)
    inject_adapter_in_model(settings, model)


def merge_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model with its changes added to its weights."""
    from peft.tuners.lora import LoraLayer

    merged = copy.deepcopy(model)
    parts: list[tuple[str, Any]] = list(merged.named_modules())
    for name, part in parts:
        if not isinstance(part, LoraLayer):
            continue
        part.merge()
        outer, _, own = name.rpartition(".")
        setattr(merged.get_submodule(outer), own, part.get_base_layer())
    vars(merged).pop("peft_config", None)
    return merged.requires_grad_()
