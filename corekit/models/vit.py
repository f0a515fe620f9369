"""The vision transformer (Dosovitskiy et al., 2021) as an image tower, and CLIP's ViT-B/16."""

from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from corekit.models.clip import CLIP
from corekit.models.layers.attention import Attention
from corekit.models.layers.block import Block
from corekit.models.layers.drop_path import drop_path_rates
from corekit.models.layers.linear import init_weights
from corekit.models.layers.mlp import MLP
from corekit.models.layers.patch_embed import PatchEmbed, stride_of
from corekit.models.layers.positions import (
    Interpolation,
    is_position_table,
    resample_along_tokens,
    resample_positions,
)
from corekit.models.text_tower import TextTransformer
from corekit.registry import register

Own = TypeVar("Own", bound="ViT")


class ViT(nn.Module):
    """A vision transformer whose class token gives the features: [B, 3, H, W] to [B, embed_dim].

    Parameters are named as in timm. Weights of linear layers and convolutions start as a normal of
    std 0.02 cut at ±2, the head's with std D^-½, biases at 0.

    Args:
        patch_embed: [B, 3, H, W] to [B, D, h, w], with its ``stride`` in pixels.
        grid_size: h = w for which the position table is made.
        width, layers, heads: D, transformer blocks, and attention heads, which divide D.
        mlp_ratio: hidden width of the feed-forward parts over D.
        norm_pre: a layer norm before the first block, as CLIP has it.
        class_position: whether the class token has a row in the position table.
        pos_embed_interp: how the position table is stretched to other grids: ``grid2d``, bilinearly
            over the grid; or ``flat1d``, linearly along the row of all tokens, as Apple's code has
            it.
        norm_eps: epsilon of every layer norm.
        head_bias, head_layer: of the projection to features.
        drop_path_rate: stochastic depth of the last block; the others' grows linearly from 0.
    """

    def __init__(self, patch_embed: nn.Module, grid_size: int, width: int = 768, layers: int = 12,
                 heads: int = 12, embed_dim: int = 512, *, mlp_ratio: float = 4.0,
                 norm_pre: bool = False, class_position: bool = True,
                 pos_embed_interp: Interpolation = "grid2d", norm_eps: float = 1e-5,
                 head_bias: bool = False, drop_path_rate: float = 0.0,
                 head_layer: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.class_position = class_position
        self.pos_embed_interp = pos_embed_interp
        self.patch_embed = patch_embed
        self.strides, self.widths = (stride_of(patch_embed),), (width,)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, grid_size**2 + class_position, width))
        norm_layer, hidden = partial(nn.LayerNorm, eps=norm_eps), int(width * mlp_ratio)
        self.norm_pre = norm_layer(width) if norm_pre else None
        self.blocks = nn.ModuleList(
            Block(width, Attention(width, heads), MLP(width, hidden), norm_layer, rate)
            for rate in drop_path_rates(drop_path_rate, layers))
        self.norm = norm_layer(width)
        self.head = head_layer(width, embed_dim, bias=head_bias)
        self.apply(init_weights)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)
        nn.init.normal_(self.head.weight, std=width**-0.5)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.head(self.norm(self.trunk(image, class_only=True)[:, 0]))
        return features

    def dense(self: Own) -> Own:
        """Itself without class token and head, for ``feature_map`` alone."""
        self.cls_token = self.head = None  # type: ignore[assignment]
        return self

    def feature_map(self, image: Tensor) -> Tensor:
        """The patches after the last norm, [B, D, h, w]."""
        patches = self.patch_embed(image)
        tokens = self.norm(self.blocks_of(patches))[:, -patches[0, 0].numel():]
        return tokens.transpose(1, 2).unflatten(2, patches.shape[2:])  # type: ignore[no-any-return]

    def trunk(self, image: Tensor, class_only: bool = False) -> Tensor:
        """What comes before the last norm: [B, 1 + patches, D], the class token first.

        With ``class_only`` the last block computes that token alone, [B, 1, D].
        """
        return self.blocks_of(self.patch_embed(image), class_only)

    def blocks_of(self, patches: Tensor, class_only: bool = False) -> Tensor:
        """The same for embedded patches [B, D, h, w]; without a class token it is left out."""
        class_position, patch_positions = self.positions(*patches.shape[2:])
        tokens = patches.flatten(2).transpose(1, 2) + patch_positions
        x = tokens
        if self.cls_token is not None:
            first = self.cls_token if class_position is None else self.cls_token + class_position
            x = torch.cat([first.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], dim=1)
        if self.norm_pre is not None:
            x = self.norm_pre(x)
        *others, last = self.blocks
        for block in others:
            x = block(x)
        return last(x, index=0) if class_only else last(x)  # type: ignore[no-any-return]

    def positions(self, height: int, width: int) -> tuple[Tensor | None, Tensor]:
        """Positions of the class token, [1, 1, D] or None, and of the patches, [1, h · w, D]."""
        first = self.pos_embed[:, :1] if self.class_position else None
        patches = self.pos_embed[:, int(self.class_position):]
        return first, self.resample_positions(patches, (height, width))

    def resample_positions(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        """The patches' positions, [1, n · n, D], for another grid (rows, columns)."""
        if self.pos_embed_interp == "flat1d":
            return resample_along_tokens(table, grid)
        return resample_positions(table, grid, "bilinear")

    def refit(self, name: str, value: Tensor) -> Tensor | None:
        """A position table made for another grid as this one's; None for any other tensor."""
        if name != "pos_embed" or value.ndim != 3:
            return None
        first, patches = value[:, :int(self.class_position)], value[:, int(self.class_position):]
        if not is_position_table(patches, self.pos_embed):
            return None
        resampled = self.resample_positions(patches, (self.grid_size, self.grid_size))
        return torch.cat([first, resampled], 1)


@register("model", "clip_vit_b16")
def clip_vit_b16(embed_dim: int = 512, image_size: int = 224, context_length: int = 77,
                 vocab_size: int = 49408, drop_path_rate: float = 0.0, width_divisor: int = 1,
                 depth_divisor: int = 1) -> CLIP:
    """OpenAI's CLIP ViT-B/16 (Radford et al., 2021, table 20), with GELU.

    86.2 M + 63.4 M parameters. Gives image_features, text_features, logit_scale;
    synthetic_text_features where there is synthetic_text.

    Args:
        embed_dim: width of the features.
        image_size: height and width of the images the position table is made for, in pixels.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        drop_path_rate: stochastic depth of the image tower's last block.
        width_divisor: divides widths and numbers of heads (one stays): above 1, a narrow copy of
            the model, for trying things.
        depth_divisor: divides the number of blocks of each tower (one stays).
    """
    width, layers = 768 // width_divisor, max(1, 12 // depth_divisor)
    image_tower = ViT(PatchEmbed(width, patch_size=16, bias=False), grid_size=image_size // 16,
                      width=width, layers=layers, heads=max(1, 12 // width_divisor),
                      embed_dim=embed_dim, norm_pre=True, drop_path_rate=drop_path_rate)
    text_tower = TextTransformer(width=512 // width_divisor, heads=max(1, 8 // width_divisor),
                                 layers=layers, embed_dim=embed_dim, causal=True,
                                 context_length=context_length, vocab_size=vocab_size)
    return CLIP(image_tower, text_tower)
