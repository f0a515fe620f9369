"""AIM's image encoders (El-Nouby et al., 2024; Fini et al., 2024): ViTs without a class token."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from corekit.errors import CorekitError
from corekit.models.layers.attention import AttentionFunction, bidirectional
from corekit.models.layers.positions import is_position_table, resample_positions

from .blocks import (
    HEAD_WIDTH,
    PATCH_SIZE,
    Images,
    Patches,
    block,
    grids_of,
    norm,
    patch_counts,
    sine_positions,
)


class Features(TypedDict):
    """An encoder's output: tokens [B, N, D], their mean [B, D], and [B, N, D] of chosen layers."""

    tokens: Tensor
    pooled: Tensor
    layers: tuple[Tensor, ...]


class Encoder(nn.Module):
    """Images [B, 3, H, W] to ``tokens`` [B, H // 14 · W // 14, D] and their mean ``pooled`` [B, D].

    ``forward`` gives both after the last norm, tokens line after line. Parameters are named as in
    timm. A position table is stretched over the grid of other sizes (bicubic, antialiased, as in
    timm); nothing is cut. Pictures of different sizes come as a list: their tokens are followed by
    zeros up to the longest, which no token sees.

    Args:
        grid_size: side of the position table in patches; None: sines and cosines, for any grid.
        generation: 1 for AIMv1, 2 for AIMv2.
        most_patches: more than these are refused; None: any number.
        patch_size: pixels of a patch's side; 14 as published.
    """

    def __init__(self, width: int, layers: int, grid_size: int | None, *, generation: int = 2,
                 most_patches: int | None = None, head_width: int = HEAD_WIDTH,
                 patch_size: int = PATCH_SIZE) -> None:
        super().__init__()
        self.width, self.head_width = width, head_width
        self.grid_size, self.most_patches = grid_size, most_patches
        self.patch_embed = Patches(width, generation, patch_size)
        self.strides, self.widths = (self.patch_embed.stride,), (width,)
        if grid_size is None and width % 4:
            raise CorekitError("sines and cosines of two directions need a width that 4 divides, "
                               f"not {width}: choose another width_divisor")
        self.pos_embed: nn.Parameter | None = None
        if grid_size is not None:
            table = self.patch_embed.proj.weight.new_empty(1, grid_size**2, width)
            self.pos_embed = nn.Parameter(nn.init.normal_(table, std=0.02))
        self.blocks = nn.ModuleList(block(width, generation, head_width) for _ in range(layers))
        self.norm = norm(width, generation)

    def forward(self, image: Images) -> dict[str, Tensor]:
        features = self.features(image, norm=True)
        return {"tokens": features["tokens"], "pooled": features["pooled"]}

    def encode_image(self, image: Images, normalize: bool = False) -> Tensor:
        """Features [B, D], ``pooled``; of unit length and float32 if ``normalize``."""
        pooled = self.features(image, norm=True)["pooled"]
        return F.normalize(pooled.float(), dim=-1) if normalize else pooled

    def features(self, image: Images, *, norm: bool, layers: Sequence[int] = (),
                 attention: AttentionFunction = bidirectional) -> Features:
        """Everything that one pass through the encoder gives.

        Args:
            image: [B, 3, H, W], or a list of [3, H, W].
            norm: True: all after the encoder's last norm, as in ``forward``; False: all before.
            layers: blocks whose tokens are wanted too, counted from 0, or from the last as -1.
            attention: which patches attend to which.

        Raises:
            CorekitError: no such layer, an image without a whole patch, or too many patches.
        """
        depth = len(self.blocks)
        for number in layers:
            if not -depth <= number < depth:
                raise CorekitError(f"the encoder has layers 0 to {depth - 1}, counted from the "
                                   f"last one as -1 to -{depth}; {number} is none of them")
        numbers = [number % depth for number in layers]
        x, intermediate, is_patch = self.embed(image), {}, _patch_mask(image)
        if is_patch is not None and attention is bidirectional:
            attention = partial(F.scaled_dot_product_attention, attn_mask=is_patch[:, None, None])
        for number, layer in enumerate(self.blocks):
            x = layer(x, attention)
            if number in numbers:
                intermediate[number] = self.norm(x) if norm else x
        tokens = self.norm(x) if norm else x
        others = [intermediate[number] for number in numbers]
        if is_patch is None:
            return {"tokens": tokens, "pooled": tokens.mean(1), "layers": tuple(others)}
        tokens, *others = (each * is_patch[:, :, None] for each in (tokens, *others))
        return {"tokens": tokens, "pooled": tokens.sum(1) / is_patch.sum(1, keepdim=True),
                "layers": tuple(others)}

    def dense(self) -> "Encoder":
        """Itself, an encoder of maps."""
        return self

    def feature_map(self, image: Tensor) -> Tensor:
        """The tokens after the last norm as a map, [B, D, H // 14, W // 14]."""
        tokens = self.features(image, norm=True)["tokens"]
        side = self.patch_embed.stride
        return tokens.transpose(1, 2).reshape(len(tokens), self.width, image.shape[2] // side,
                                              image.shape[3] // side)

    def embed(self, image: Images) -> Tensor:
        """What the first block is given, [B, N, D]: patches and where they are."""
        if isinstance(image, list):
            return pad_sequence([self.embed(each[None])[0] for each in image], batch_first=True)
        patches, grid = self.patch_embed(image)
        if self.most_patches is not None and patches.shape[1] > self.most_patches:
            raise CorekitError(f"an image of {image.shape[3]} x {image.shape[2]} pixels has "
                               f"{patches.shape[1]} patches of {PATCH_SIZE} x {PATCH_SIZE}, and "
                               f"the model was trained with {self.most_patches} at most: resize it "
                               "first")
        return patches + self.positions(grid, patches)  # type: ignore[no-any-return]

    def positions(self, grid: tuple[int, int], like: Tensor) -> Tensor:
        """Positions [1, N, D] of the patches of a grid (rows, columns)."""
        if self.pos_embed is None:
            return sine_positions(*grid, like)[None]
        return resample_positions(self.pos_embed, grid, "bicubic", antialias=True)

    def refit(self, name: str, value: Tensor) -> Tensor | None:
        """A position table for another image size as this encoder's; None for any other tensor."""
        if name != "pos_embed" or self.pos_embed is None or self.grid_size is None:
            return None
        if not is_position_table(value, self.pos_embed):
            return None
        grid = self.grid_size, self.grid_size
        return resample_positions(value, grid, "bicubic", antialias=True)


class EncoderWrapper(nn.Module):
    """A model that trains an encoder, and encodes images with it: every patch sees all patches."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """The encoder's ``encode_image``."""
        return self.encoder.encode_image(image, normalize)

    def dense(self) -> Encoder:
        """The encoder as one of maps."""
        return self.encoder.dense()

    def encode_tokens(self, image: Tensor) -> Tensor:
        """The encoder's tokens after its last norm, [B, N, D]."""
        return self.encoder.features(image, norm=True)["tokens"]


def _patch_mask(image: Images) -> Tensor | None:
    """Which tokens are patches and which only fill up, bool [B, N]; None where all are patches."""
    if isinstance(image, Tensor):
        return None
    counts = patch_counts(image, image[0].device)
    longest = max(math.prod(grid) for grid in grids_of(image))
    return torch.arange(longest, device=counts.device) < counts[:, None]
