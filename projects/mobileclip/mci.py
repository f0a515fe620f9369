"""The MCi image towers of MobileCLIP (Vasu et al., 2024, section 3.1), and of MobileCLIP2."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn

from corekit.models.layers.drop_path import drop_path_rates
from corekit.models.layers.linear import init_weights

from .blocks import AttentionBlock, MobileOneBlock, PatchEmbed, RepCPE, RepMixerBlock


class Stage(nn.Module):
    """Blocks of one width, with what comes before them."""

    def __init__(self, downsample: nn.Module | None, pos_emb: nn.Module | None,
                 blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample, self.pos_emb = downsample, pos_emb
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            x = self.downsample(x)
        if self.pos_emb is not None:
            x = self.pos_emb(x)
        for block in self.blocks:
            x = block(x)
        return x


class Head(nn.Module):
    """The mean over H and W, projected: [B, C, H, W] to [B, embed_dim]."""

    def __init__(self, channels: int, embed_dim: int, bias: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, embed_dim, bias=bias)
        nn.init.normal_(self.fc.weight, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


class MCi(nn.Module):
    """A stem of stride 4, and stages that halve the resolution: [B, 3, H, W] to features.

    The last stages attend. Any H and W do. Attributes are named as in timm's FastViT. Weights of
    convolutions and linear layers start as a normal of std 0.02 cut at ±2 (batch norms set the
    scale), the head's with std C^-½, biases at 0.

    Args:
        widths: channels of each stage; each divides the next, and 32 those of attention stages.
        attention_stages: how many of the last stages attend, after conditional positions.
        squeeze_excite: for each stage, whether the downsampling before it has squeeze-excite.
        downsample_strides: of the downsampling before each stage (the first has none); None: 2.
        mlp_ratio: hidden channels of the blocks' feed-forward parts over their channels.
        layer_norm: layer norm instead of batch norm before attention.
        drop_path_rate: stochastic depth of the last block; the others' grows linearly from 0.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int], embed_dim: int, *,
                 attention_stages: int = 1, squeeze_excite: Sequence[bool],
                 downsample_strides: Sequence[int] | None = None, mlp_ratio: float = 3.0,
                 layer_norm: bool = False, stem_scale_branch: bool = True, head_bias: bool = False,
                 drop_path_rate: float = 0.0, layer_scale_init: float = 1e-5) -> None:
        super().__init__()
        strides = downsample_strides or [2] * len(depths)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        first, last = widths[0], widths[-1]
        scale = stem_scale_branch
        self.stem = nn.Sequential(
            MobileOneBlock(3, first, (3, 3), stride=2, scale_branch=scale),
            MobileOneBlock(first, first, (3, 3), stride=2, groups=first, scale_branch=scale),
            MobileOneBlock(first, first, (1, 1)))
        stages = []
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            attends = index >= len(depths) - attention_stages
            block: Callable[..., nn.Module] = RepMixerBlock
            if attends:
                block = partial(AttentionBlock, layer_norm=layer_norm)
            blocks = [block(width, mlp_ratio, next(rates), layer_scale_init) for _ in range(depth)]
            downsample = None if index == 0 else PatchEmbed(widths[index - 1], width,
                                                            strides[index], squeeze_excite[index])
            stages.append(Stage(downsample, RepCPE(width) if attends else None, blocks))
        self.stages = nn.ModuleList(stages)
        self.final_conv = MobileOneBlock(last, 2 * last, (3, 3), groups=last, squeeze_ratio=1 / 16)
        self.apply(init_weights)
        self.head = Head(2 * last, embed_dim, head_bias)
        self.widths = tuple(widths)
        self.strides = tuple(accumulate([4, *strides[1:]], mul))

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.head(self.final_conv(self.feature_map(image)[-1]))
        return features

    def dense(self) -> "MCi":
        """Itself without the last convolution and the head, for ``feature_map`` alone."""
        self.final_conv = self.head = None  # type: ignore[assignment]
        return self

    def feature_map(self, image: Tensor) -> list[Tensor]:
        """The map of each stage, from stride 4 on."""
        if image.device.type == "cpu":  # twice as fast or more; on a GPU, the caller's choice
            image = image.contiguous(memory_format=torch.channels_last)
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]
