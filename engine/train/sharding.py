"""How is a model spread over processes?  Whole on each of them (DDP), or a shard of every tensor on each (FSDP2).

The launcher's config chooses: `distributed_type: FSDP` asks for shards. Accelerate would shard on GPUs only and train
with whole copies elsewhere, without a word. Here torch's `fully_shard` does it: on GPUs, and in the same way on CPUs.

Zhao et al. 2023 (arXiv 2304.11277). With `fsdp_reshard_after_forward: false` the parameters of the layers are gathered
once a step, and gradients and moments stay sharded: ZeRO-2 (Rajbhandari et al. 2020, arXiv 1910.02054).
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from engine.train.row_gradients import find_tables

_ONLY = {  # what `fsdp_config` may say, and what else to do
    "FSDP_VERSION": ("2", "version 1 is superseded: set fsdp_version: 2"),
    "FSDP_OFFLOAD_PARAMS": ("false", "the parameters stay on their device: set fsdp_offload_params: false"),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "false",
        "the recipe says it: set fsdp_activation_checkpointing: false, and plan.gradient_checkpointing: true",
    ),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (
        "false",
        "every process begins with the whole model: set fsdp_cpu_ram_efficient_loading: false",
    ),
}


def shards_asked_for() -> bool:
    """Whether the launcher asked for shards, and more than one process is there to share the model.

    Errors: ValueError for ways that are not done here.
    """
    if _says("ACCELERATE_USE_DEEPSPEED", "true"):
        raise ValueError(
            "DeepSpeed takes the optimizer's step itself, so that no gradient can be looked at before it; "
            "accelerate_configs/zero2.yaml does the same as its ZeRO-2, and fsdp2.yaml as its ZeRO-3"
        )
    if not _says("ACCELERATE_USE_FSDP", "true"):
        return False
    for name, (allowed, instead) in _ONLY.items():
        if not _says(name, allowed, default=allowed):
            raise ValueError(f"{name} is {os.environ[name]}; {instead} in the accelerate config")
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def settings() -> dict[str, bool]:
    """What the launcher's config asks for, as plain JSON: it must be the same on all processes."""
    return {"shards": shards_asked_for(), "reshards": _reshards()}


def parallel(wrapped: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Move `wrapped` to its device and spread it over the processes, in place where it is sharded."""
    if shards_asked_for():
        return shard(wrapped, accelerator)
    tables = {id(table) for table in find_tables(wrapped)}  # whose gradients `merge_rows` averages, and DDP does not
    names = [name for name, parameter in wrapped.named_parameters() if id(parameter) in tables]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(wrapped, names)
    dense = [each for each in wrapped.parameters() if each.requires_grad and id(each) not in tables]
    return accelerator.prepare_model(wrapped, evaluation_mode=not dense)  # DDP refuses a model without dense parameters


def shard(wrapped: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Leave a shard of each of `wrapped`'s tensors on the device of each process, in place.

    A layer is moved to its device when it is sharded, so no device ever holds the whole model. Optimizers are built
    afterwards: sharding makes new parameters. Each layer of a stack (`nn.ModuleList`) is gathered
    when it is needed, everything else for the whole of a forward and backward pass, and gradients are averaged.
    """
    # What autocast would remember are copies of whole layers, of all of them at the end of a forward pass.
    in_bf16 = accelerator.mixed_precision == "bf16"
    autocast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=in_bf16, cache_enabled=False)
    wrapped.forward = autocast(wrapped.forward)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in find_layers(wrapped):
        fully_shard(layer, mesh=mesh, reshard_after_forward=_reshards())
    fully_shard(wrapped, mesh=mesh, reshard_after_forward=False)
    return wrapped


def find_layers(module: nn.Module) -> list[nn.Module]:
    """The outermost stacks' layers."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in find_layers(child)]


def refuse_unused(wrapped: nn.Module) -> None:
    """Refuse parameters that a backward pass did not reach, where whole copies average their gradients: DDP would
    average only a part of the others, and fail in the next step. Errors: ValueError that names one."""
    if not isinstance(wrapped, DistributedDataParallel):
        return
    unused = [name for name, p in wrapped.module.named_parameters() if p.requires_grad and p.grad is None]
    if unused:
        raise ValueError(
            f"the loss does not use {len(unused)} of the model's parameters, such as {unused[0].removeprefix('model.')}"
            ", and whole copies of a model need a gradient for each of them: train it with one process, or in shards, "
            "as accelerate_configs/fsdp2.yaml says"
        )


def accumulating(wrapped: nn.Module, accelerator: Accelerator) -> AbstractContextManager[object]:
    """For all micro-batches of a step but the last: whole copies wait with their gradients, shards must not grow."""
    return nullcontext() if isinstance(wrapped, FSDPModule) else accelerator.no_sync(wrapped)


@contextmanager
def whole(wrapped: nn.Module) -> Iterator[None]:
    """Inside, every process holds the whole model, and can use any part of it without the others: evaluation."""
    gather(wrapped)
    yield
    for number, part in enumerate(_parts(wrapped)):
        part.reshard()
        part.set_reshard_after_forward(_reshards() and number > 0, recurse=False)


def gather(wrapped: nn.Module) -> None:
    """Make the model whole on every process, until its `state_dict` is asked for."""
    for part in _parts(wrapped):
        part._get_fsdp_state()._lazy_init()  # what the first forward pass does, from the outermost module on
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()


def _parts(wrapped: nn.Module) -> list[FSDPModule]:
    """What was sharded on its own, the outermost first; nothing where each process has a whole copy."""
    return [module for module in wrapped.modules() if isinstance(module, FSDPModule)]


def _reshards() -> bool:
    return not _says("FSDP_RESHARD_AFTER_FORWARD", "false")


def _says(name: str, value: str, default: str = "") -> bool:
    return os.environ.get(name, default).lower() == value
