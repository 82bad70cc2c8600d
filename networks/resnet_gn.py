"""A ResNet whose examples do not see each other: transformers' ResNet with group normalisation.

He et al. 2016 (arXiv 1512.03385); Wu & He 2018, "Group Normalization" (arXiv 1803.08494). Batch normalisation takes its
mean and variance over whatever examples stand together in a micro-batch: another number of processes or accumulation
steps is then another training, and an example tells something of its neighbours. Here they are an example's own.

By default the stem is one for small pictures, a 3 x 3 convolution of stride 1: that of ImageNet leaves an eighth of a
picture's side before the second stage begins.
"""

from typing import Any

from torch import nn
from transformers import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetBackbone, ResNetConvLayer, ResNetModel


class ResNetGNConfig(ResNetConfig):
    """The sizes of a ResNet. Errors: ValueError for channels that cannot be put in groups."""

    model_type = "resnet_gn"

    small_stem: bool = True  # 3 x 3, stride 1, no pooling; false: 7 x 7, stride 2, and pooling by 2
    channels_per_group: int = 16  # that are normalised together; an example's own mean and variance

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        group, outside = self.channels_per_group, list(self.hidden_sizes or ())
        inside = [size // 4 for size in outside] if self.layer_type == "bottleneck" else []
        if odd := [size for size in (self.embedding_size, *outside, *inside) if group < 1 or size % group]:
            raise ValueError(f"channels_per_group is {group}, which does not divide {odd[0]} channels")


class ResNetGNModel(ResNetModel):
    """`ResNetModel`: (B, 3, H, W) to the map of the last stage, its mean, and the maps of all stages."""

    config: ResNetGNConfig
    config_class = ResNetGNConfig

    def __init__(self, config: ResNetGNConfig):
        super().__init__(config)
        adapt(self, config)
        self.post_init()


class ResNetGNBackbone(ResNetBackbone):
    """The same network as a backbone: its outputs are the maps of the stages that `out_features` names."""

    config: ResNetGNConfig
    config_class = ResNetGNConfig

    def __init__(self, config: ResNetGNConfig):
        super().__init__(config)
        adapt(self, config)
        self.post_init()


def adapt(network: Any, config: ResNetGNConfig) -> None:
    """Give a ResNet of transformers its own stem and normalisation, in place."""
    if config.small_stem:
        network.embedder.embedder = ResNetConvLayer(
            config.num_channels, config.embedding_size, kernel_size=3, activation=config.hidden_act
        )
        network.embedder.pooler = nn.Identity()
    for module in list(network.modules()):
        found = getattr(module, "normalization", None)
        if isinstance(found, nn.BatchNorm2d):
            channels = found.num_features
            module.normalization = nn.GroupNorm(channels // config.channels_per_group, channels)
