"""Blocks of MobileCLIP's convolutional towers (Vasu et al., 2024a).

They follow MobileOne (2023a) and FastViT (2023b). Every block is in its training form: several
branches, which ``folded`` makes one convolution of for a deployed model. Attributes are named as in
timm's FastViT, in both forms, so that its weights load by prefix.
"""

from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn

from corekit.models.fusion import convolution, diagonal_kernel, exact
from corekit.models.layers.attention import Attention
from corekit.models.layers.drop_path import DropPath
from corekit.models.layers.gelu import GELU, after_gelu
from corekit.models.layers.layer_scale import LayerScale
from corekit.models.layers.linear import FusedPointwiseConv2d, PointwiseConv2d
from corekit.models.layers.norm import LayerNorm2d

from .branches import ConvNorm, FusedConv, SqueezeExcite, merge
from .norms import Norm, in_training, sum_of_norms

HEAD_WIDTH = 32  # of the attention blocks


class MobileOneBlock(nn.Module):
    """Parallel linear branches, then squeeze-excite and GELU where asked for (MobileOne, figure 3).

    Branches: the convolution; a 1x1 convolution with the same stride and groups where the kernel is
    larger (``scale``); a batch norm of the input itself where shapes allow (``identity``).

    Args:
        squeeze_ratio: hidden width of squeeze-excite over ``out_channels``; None for none.
        activation: whether a GELU follows.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int],
                 stride: int = 1, groups: int = 1, *, conv_branch: bool = True,
                 scale_branch: bool = True, squeeze_ratio: float | None = None,
                 activation: bool = True) -> None:
        super().__init__()
        has_scale = scale_branch and kernel_size != (1, 1)
        has_identity = in_channels == out_channels and stride == 1
        self.conv_kxk = nn.ModuleList()
        if conv_branch:
            self.conv_kxk.append(ConvNorm(in_channels, out_channels, kernel_size, stride, groups))
        self.conv_scale = (ConvNorm(in_channels, out_channels, (1, 1), stride, groups)
                           if has_scale else None)
        self.identity = nn.BatchNorm2d(in_channels) if has_identity else None
        self.se = None if squeeze_ratio is None else SqueezeExcite(out_channels, squeeze_ratio)
        self.act = GELU() if activation else None

    @property
    def branches(self) -> list[ConvNorm | nn.BatchNorm2d]:
        """The branches that the block has."""
        branches = (*self.conv_kxk, self.conv_scale, self.identity)
        return [branch for branch in branches if branch is not None]

    @property
    def channelwise(self) -> list[Norm]:
        """The branches that are a batch norm of the input times one number a channel."""
        norms = [] if self.identity is None else [Norm(self.identity)]
        if self.conv_scale is not None:
            conv = self.conv_scale.conv
            if conv.in_channels == conv.out_channels == conv.groups and conv.stride == (1, 1):
                norms.append(Norm(self.conv_scale.bn, conv.weight.flatten()))
        return norms

    def forward(self, x: Tensor) -> Tensor:
        terms = self.channelwise
        if len(terms) > 1 and in_training(terms):
            out = sum_of_norms(x, terms)
            for conv in self.conv_kxk:
                out = out + conv(x)
        else:
            first, *others = self.branches
            out = first(x)
            for branch in others:
                out = out + branch(x)
        if self.se is not None:
            out = self.se(out)
        return out if self.act is None else self.act(out)

    def folded(self) -> FusedConv:
        """One convolution, then what followed."""
        conv = self.conv_kxk[0].conv
        assert isinstance(conv, nn.Conv2d)
        return FusedConv(convolution(conv, *merge(self.branches, conv.weight.shape)), self.se,
                         self.act)


class RepMixer(nn.Module):
    """Token mixing by a depthwise convolution: x + gamma · (mixer(x) - norm(x)) (FastViT, (3))."""

    def __init__(self, channels: int, kernel_size: tuple[int, int], scale_branch: bool,
                 layer_scale_init: float) -> None:
        super().__init__()
        self.mixer = MobileOneBlock(channels, channels, kernel_size, groups=channels,
                                    scale_branch=scale_branch, activation=False)
        self.norm = MobileOneBlock(channels, channels, kernel_size, groups=channels,
                                   conv_branch=False, scale_branch=False, activation=False)
        self.layer_scale = LayerScale(channels, layer_scale_init)

    def forward(self, x: Tensor) -> Tensor:
        negative = [replace(term, sign=-1) for term in self.norm.channelwise]
        terms = [*self.mixer.channelwise, *negative]
        update = (sum_of_norms(x, terms) + self.mixer.conv_kxk[0](x) if in_training(terms)
                  else self.mixer(x) - self.norm(x))
        mixed: Tensor = self.layer_scale(x, update)
        return mixed

    def folded(self) -> FusedConv:
        """One depthwise convolution, with the residual in the middle of its kernel."""
        conv = self.mixer.conv_kxk[0].conv
        assert isinstance(conv, nn.Conv2d)
        shape = conv.weight.shape
        gamma = exact(self.layer_scale.gamma)
        mixer, mixer_bias = merge(self.mixer.branches, shape)
        norm, norm_bias = merge(self.norm.branches, shape)
        residual = diagonal_kernel(torch.ones_like(norm_bias), shape)
        return FusedConv(convolution(conv, residual + gamma[..., None] * (mixer - norm),
                                     gamma.flatten() * (mixer_bias - norm_bias)))


class ConvFFN(nn.Module):
    """A block's feed-forward part: a depthwise convolution, and two 1x1 ones around a GELU."""

    def __init__(self, channels: int, hidden: int, kernel_size: tuple[int, int] = (7, 7)) -> None:
        super().__init__()
        self.conv = ConvNorm(channels, channels, kernel_size, groups=channels)
        self.fc1 = PointwiseConv2d(channels, hidden)
        self.fc2 = PointwiseConv2d(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return after_gelu(self.fc2, self.fc1(self.conv(x)))

    def folded(self) -> nn.Module:
        """The norm is part of the convolution, the GELU of the first 1x1 convolution."""
        return nn.Sequential(OrderedDict(conv=self.conv.folded(),
                                         fc1=FusedPointwiseConv2d(self.fc1), fc2=self.fc2))


class RepMixerBlock(nn.Module):
    """A block of the stages without attention: RepMixer, then ConvFFN with a residual."""

    def __init__(self, channels: int, mlp_ratio: float, drop_path_rate: float,
                 layer_scale_init: float) -> None:
        super().__init__()
        self.token_mixer = RepMixer(channels, (3, 3), scale_branch=True,
                                    layer_scale_init=layer_scale_init)
        self.mlp = ConvFFN(channels, int(channels * mlp_ratio))
        self.layer_scale = LayerScale(channels, layer_scale_init)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        out: Tensor = self.layer_scale(x, self.drop_path(self.mlp(x)))
        return out


class AttentionBlock(nn.Module):
    """Self-attention over all H·W tokens, then ConvFFN, each with a residual.

    With ``layer_norm`` (MCi3, MCi4) a layer norm comes before attention, else a batch norm.
    """

    def __init__(self, channels: int, mlp_ratio: float, drop_path_rate: float,
                 layer_scale_init: float, layer_norm: bool) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels) if layer_norm else nn.BatchNorm2d(channels)
        self.token_mixer = Attention(channels, channels // HEAD_WIDTH, qkv_bias=False)
        self.layer_scale_1 = LayerScale(channels, layer_scale_init)
        self.mlp = ConvFFN(channels, int(channels * mlp_ratio))
        self.layer_scale_2 = LayerScale(channels, layer_scale_init)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        mixed = self.token_mixer(tokens).transpose(1, 2).unflatten(2, x.shape[2:])
        x = self.layer_scale_1(x, self.drop_path(mixed))
        x = self.layer_scale_2(x, self.drop_path(self.mlp(x)))
        return x


class ReparamLargeKernelConv(nn.Module):
    """Parallel 7x7 and 3x3 convolutions, a group an input channel, then squeeze-excite and GELU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int,
                 squeeze_excite: bool) -> None:
        super().__init__()
        self.large_conv = ConvNorm(in_channels, out_channels, (7, 7), stride, groups=in_channels)
        self.small_conv = ConvNorm(in_channels, out_channels, (3, 3), stride, groups=in_channels)
        self.se = SqueezeExcite(out_channels, 0.25) if squeeze_excite else None
        self.act = GELU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.large_conv(x) + self.small_conv(x)
        if self.se is not None:
            out = self.se(out)
        activated: Tensor = self.act(out)
        return activated

    def folded(self) -> FusedConv:
        """One 7x7 convolution, then what followed."""
        conv = self.large_conv.conv
        kernel, bias = merge([self.large_conv, self.small_conv], conv.weight.shape)
        return FusedConv(convolution(conv, kernel, bias), self.se, self.act)


class PatchEmbed(nn.Module):
    """Between two stages: [B, C, H, W] to [B, C', H / stride, W / stride]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int,
                 squeeze_excite: bool) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            ReparamLargeKernelConv(in_channels, out_channels, stride, squeeze_excite),
            MobileOneBlock(out_channels, out_channels, (1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


class RepCPE(nn.Module):
    """Conditional positions (Chu et al., 2023): x plus a 7x7 depthwise convolution of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pos_enc = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.pos_enc(x)
        return out

    def folded(self) -> FusedConv:
        """The convolution, with the residual in the middle of its kernel."""
        assert self.pos_enc.bias is not None
        kernel, bias = exact(self.pos_enc.weight), exact(self.pos_enc.bias)
        residual = diagonal_kernel(torch.ones_like(bias), kernel.shape)
        return FusedConv(convolution(self.pos_enc, residual + kernel, bias))
