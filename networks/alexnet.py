"""The trunk of the first papers on pictures: AlexNet's five convolutions.

Krizhevsky et al. 2012, as CaffeNet has it (stride 4 in the first convolution, two poolings by 2, and one at the end).
The papers of pretext tasks trained it with batch normalisation without scale and shift, so that no unit could fall
silent. Here mean and variance are those of groups of an example's own channels, also without scale and shift: see
`networks.resnet_gn` for the reason. It takes the place of AlexNet's local response normalisation as well.
"""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput, BaseModelOutputWithPoolingAndNoAttention

KERNELS = ((11, 4), (5, 1), (3, 1), (3, 1), (3, 1))  # size and stride of each convolution
POOLED = (0, 1, 4)  # the convolutions that a pooling over 3 x 3, stride 2, follows


class AlexNetConfig(BackboneConfigMixin, PreTrainedConfig):
    """Sizes of the five convolutions. Errors: ValueError for channels that cannot be put in groups."""

    model_type = "alexnet"

    num_channels: int = 3
    hidden_sizes: list[int] | tuple[int, ...] = (96, 256, 384, 384, 256)
    channels_per_group: int = 16  # that are normalised together; an example's own mean and variance

    def __post_init__(self, **kwargs: Any) -> None:
        self.hidden_sizes = list(self.hidden_sizes)
        self.stage_names = [f"stage{number}" for number in range(1, len(KERNELS) + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)
        if len(self.hidden_sizes) != len(KERNELS):
            raise ValueError(f"hidden_sizes has {len(self.hidden_sizes)} numbers; AlexNet has {len(KERNELS)} layers")
        group = self.channels_per_group
        if odd := [size for size in self.hidden_sizes if group < 1 or size % group]:
            raise ValueError(f"channels_per_group is {group}, which does not divide {odd[0]} channels")


class Layers(nn.ModuleList):
    """Five convolutions, each normalised, cut off at zero, and some pooled."""

    def __init__(self, config: AlexNetConfig):
        layers, before = [], config.num_channels
        for number, (channels, (kernel, stride)) in enumerate(zip(config.hidden_sizes, KERNELS, strict=True)):
            padding = 0 if stride > 1 else kernel // 2
            parts: list[nn.Module] = [
                nn.Conv2d(before, channels, kernel, stride, padding, bias=False),
                nn.GroupNorm(channels // config.channels_per_group, channels, affine=False),
                nn.ReLU(),
            ]
            parts += [nn.MaxPool2d(3, 2, ceil_mode=True)] if number in POOLED else []
            layers.append(nn.Sequential(*parts))
            before = channels
        super().__init__(layers)

    def maps(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The map that each layer makes of pixels (B, 3, H, W)."""
        found, state = [], pixel_values
        for layer in self:
            state = layer(state)
            found.append(state)
        return tuple(found)


class _AlexNet(PreTrainedModel):
    config: AlexNetConfig
    config_class = AlexNetConfig
    base_model_prefix = "alexnet"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")


class AlexNetModel(_AlexNet):
    """(B, 3, H, W) to the map of the last layer, its mean, and the maps of all layers."""

    def __init__(self, config: AlexNetConfig):
        super().__init__(config)
        self.layers = Layers(config)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | None = None, **_: Any
    ) -> BaseModelOutputWithPoolingAndNoAttention:
        maps = self.layers.maps(pixel_values)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=maps[-1],
            pooler_output=maps[-1].mean((2, 3), keepdim=True),
            hidden_states=maps if output_hidden_states else None,
        )


class AlexNetBackbone(BackboneMixin, _AlexNet):
    """The same network as a backbone: its outputs are the maps of the layers that `out_features` names."""

    has_attentions = False

    def __init__(self, config: AlexNetConfig):
        super().__init__(config)
        self.num_features: Any = config.hidden_sizes
        self.layers = Layers(config)
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: Any) -> BackboneOutput:  # type: ignore[override]
        maps = self.layers.maps(pixel_values)
        return BackboneOutput(feature_maps=tuple(maps[number] for number in self.out_indices))
