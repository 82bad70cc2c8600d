"""Which network looks at pictures?  The trunk under every objective on images, and its maps of features.

Trunks are networks of transformers, and two of ours: `resnet` (He et al. 2016), `resnet_gn` (the same with group
normalisation, for small pictures), `alexnet` (of the first papers) and `dinov2` (a ViT). What an example's features are
never depends on the examples beside it, whether a network trains or not: there is no state that a batch would move, so
two processes do what one does. transformers' `resnet` has batch normalisation; it keeps the mean and variance of its
checkpoint (0 and 1 where it has none), and only their scale and shift are trained.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.resnet.modeling_resnet import ResNetBasicLayer, ResNetBottleNeckLayer

KINDS = ("resnet_gn", "resnet", "alexnet", "dinov2")


def make_trunk(settings: dict[str, Any], image_size: int) -> tuple[PreTrainedConfig, PreTrainedModel]:
    """The trunk of a recipe's `model:` section with random weights, for pictures of image_size x image_size pixels.

    `model_type` is one of KINDS, by default the first; the other keys are its config's. Errors: ValueError for another
    kind, for a key that its config does not have, and for sizes that do not do, or leave nothing of the picture.
    """
    kind = settings.get("model_type", KINDS[0])
    if kind not in KINDS:
        raise ValueError(
            f"model.model_type is {kind!r}{_nearest(str(kind), KINDS)}; pictures are for {', '.join(KINDS)}"
        )
    check_trunk_keys(settings, kind)
    own = {"image_size": image_size, "use_mask_token": False} if kind == "dinov2" else {}
    try:
        config = AutoConfig.for_model(**{"model_type": kind, **own, **settings})
    except Exception as error:  # transformers' checks of its settings raise kinds of their own
        raise ValueError(f"model: {' '.join(str(error).split())}") from error
    return config, trunk_of(config, image_size)


def check_trunk_keys(settings: Iterable[str], kind: str) -> None:
    """Refuse keys that a trunk's config does not have, or that are not for recipes. Errors: ValueError."""
    hidden = {*PreTrainedConfig().to_dict(), "image_size", "out_features", "out_indices", "stage_names"} - {
        "model_type"
    }
    known = [name for name in AutoConfig.for_model(kind).to_dict() if name not in hidden]
    for key in settings:
        if key not in known:
            raise ValueError(f"unknown key 'model.{key}'{_nearest(key, known)} (keys of {kind}: {', '.join(known)})")


def trunk_of(config: PreTrainedConfig, image_size: int) -> PreTrainedModel:
    """The trunk of a config with random weights. Errors: ValueError for sizes that do not do, or leave nothing of
    pictures of image_size x image_size pixels."""
    try:
        trunk: PreTrainedModel = AutoModel.from_config(config)
        map_shapes(trunk, image_size)
    except Exception as error:  # transformers' checks of its settings raise kinds of their own
        raise ValueError(f"model: {' '.join(str(error).split())} (pictures of {image_size} pixels)") from error
    start_as_identity(trunk)
    return trunk


class PretextModel(PreTrainedModel):
    """A trunk under the head of a pretext task.

    It is saved with the trunk's config, and its trunk has the name that transformers gives it: so AutoModel and
    AutoBackbone open the folder as the trunk alone. Subclasses add their head, and may keep its sizes in the config.
    """

    config_class: Any = AutoConfig  # of whatever trunk
    main_input_name = "pixel_values"

    def __init__(self, config: PreTrainedConfig, trunk: PreTrainedModel | None = None):
        trunk = trunk or AutoModel.from_config(config)
        self._supports_sdpa = trunk._supports_sdpa
        super().__init__(trunk.config)
        keep_statistics(trunk)
        self.base_model_prefix = trunk.base_model_prefix
        self.supports_gradient_checkpointing = trunk.supports_gradient_checkpointing
        self.add_module(trunk.base_model_prefix, trunk)

    @property
    def trunk(self) -> PreTrainedModel:
        found: PreTrainedModel = getattr(self, self.base_model_prefix)
        return found

    def asks_as(self, other: Any) -> bool:
        """Whether the head has the same meaning as that of another model of its class, whatever the sizes of both."""
        return True


def open_backbone(folder: str, **options: Any) -> PreTrainedModel:
    """The trunk of a saved model as a backbone; `options` are transformers', such as out_indices=(1, 2, 3).

    It is what AutoBackbone.from_pretrained gives for a repository of the Hub; a folder it does not open (5.24), but
    asks the Hub for a repository of that name.
    """
    config = AutoConfig.from_pretrained(folder, **options)
    classes: Any = MODEL_FOR_BACKBONE_MAPPING
    backbone: PreTrainedModel = classes[type(config)].from_pretrained(folder, config=config)
    return backbone


def feature_maps(trunk: nn.Module, pixel_values: Tensor) -> tuple[Tensor, ...]:
    """What each stage of a trunk makes of pixels (B, 3, H, W): maps (B, C, h, w), the first stage first.

    A ResNet's first one is its stem; those of a ViT are its embeddings and its layers, without the class token.
    """
    if trunk.config.model_type != "dinov2":  # type: ignore[union-attr]
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
    found = trunk(pixel_values=pixel_values, output_hidden_states=True)
    states = (*found.hidden_states[:-1], found.last_hidden_state)  # a ViT normalises its last layer
    return tuple(_as_map(state, pixel_values) for state in states)


def map_shapes(trunk: PreTrainedModel, image_size: int) -> list[tuple[int, int, int]]:
    """Channels, height and width of each stage's map, for pictures of image_size x image_size pixels."""
    training = trunk.training
    pixels = torch.zeros(1, 3, image_size, image_size, device=trunk.device, dtype=trunk.dtype)
    with torch.no_grad():
        maps = feature_maps(trunk.eval(), pixels)
    trunk.train(training)
    return [(found.shape[1], found.shape[2], found.shape[3]) for found in maps]


class FixedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the mean and variance that it has: no batch changes them, and none is measured."""

    def forward(self, x: Tensor) -> Tensor:
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def keep_statistics(network: nn.Module) -> None:
    """Keep the mean and variance of all batch normalisation, in place. What is saved stays as it was."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = FixedBatchNorm


@torch.no_grad()
def start_as_identity(network: nn.Module) -> None:
    """Let each residual layer begin as what it adds to (De & Smith 2020, arXiv 2002.10444): without a mean and a
    variance that are measured, a deep ResNet's signal would else grow twice as large with each layer."""
    for module in network.modules():
        if isinstance(module, ResNetBasicLayer | ResNetBottleNeckLayer):
            module.layer.get_parameter(f"{len(module.layer) - 1}.normalization.weight").zero_()


def _as_map(state: Tensor, pixel_values: Tensor) -> Tensor:
    """A map, of one or of the places of a ViT (B, 1 + h w, C)."""
    if state.ndim == 4:
        return state
    places = state[:, 1:]
    height = round((places.shape[1] * pixel_values.shape[2] / pixel_values.shape[3]) ** 0.5)
    return places.transpose(1, 2).unflatten(2, (height, -1))


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
