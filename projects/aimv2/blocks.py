"""AIM's transformer blocks: heads 128 wide as published, and no bias but that of the patches."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.models.layers.attention import Attention
from corekit.models.layers.block import Block
from corekit.models.layers.mlp import MLP, SwiGLU
from corekit.models.layers.patch_embed import PatchEmbed

Images = Tensor | list[Tensor]  # [B, 3, H, W], or B pictures [3, H, W] each of its own size
HEAD_WIDTH = 128
PATCH_SIZE = 14
TEMPERATURE = 10_000


def norm(width: int, generation: int) -> nn.Module:
    """AIMv1's layer norm, or AIMv2's RMS norm (Zhang and Sennrich, 2019)."""
    return nn.LayerNorm(width, eps=1e-6) if generation == 1 else nn.RMSNorm(width, eps=1e-5)


def mlp(width: int, generation: int) -> MLP | SwiGLU:
    """AIMv1's feed-forward part, 4 D wide, or AIMv2's gated one."""
    gated_width = -(-(8 * width // 3) // 256) * 256  # 2/3 of 4 D, up to a multiple of 256
    part = (MLP(width, 4 * width, bias=False) if generation == 1
            else SwiGLU(width, gated_width, bias=False))
    for layer in part.children():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return part


def block(width: int, generation: int = 2, head_width: int = HEAD_WIDTH) -> Block:
    """A block of AIMv1 or AIMv2; a CorekitError where heads of that width do not fit its width."""
    heads = max(1, width // head_width)
    if width % heads:
        raise CorekitError(f"{heads} attention heads cannot share a width of {width}: choose "
                           "another width_divisor")
    attn = Attention(width, heads, qkv_bias=False, proj_bias=False)
    for part in (*attn.qkv.weight.chunk(3), attn.proj.weight):
        nn.init.xavier_uniform_(part)
    return Block(width, attn, mlp(width, generation), partial(norm, generation=generation))


class ResampledConv2d(nn.Conv2d):
    """A convolution whose kernel may come from one of another size."""

    def refit(self, name: str, value: Tensor) -> Tensor | None:
        """A square kernel of another size at this one's, with the same sum; else None."""
        side = self.kernel_size[0]
        if name != "weight" or value.ndim != 4 or value.shape[2] != value.shape[3]:
            return None
        resized = F.interpolate(value, (side, side), mode="bicubic", antialias=True)
        return resized * (value.shape[2] / side) ** 2


class Patches(PatchEmbed):
    """Patches of 14x14 pixels and a norm: [B, 3, H, W] to [B, N, D], and the grid of patches.

    The grid is (H // 14, W // 14): a rest at the right and the lower edge is left out. With another
    ``patch_size`` weights for 14x14 pixels are resampled to it where ``init.path`` names them.

    Raises:
        CorekitError: an image without a whole patch.
    """

    def __init__(self, width: int, generation: int, patch_size: int = PATCH_SIZE) -> None:
        super().__init__(width, patch_size)
        if patch_size != PATCH_SIZE:
            self.proj = ResampledConv2d(3, width, patch_size, patch_size)
        self.norm = norm(width, generation)
        nn.init.xavier_uniform_(self.proj.weight.view(width, -1))
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:  # type: ignore[override]
        if min(image.shape[2:]) < self.stride:
            raise CorekitError(f"an image of {image.shape[3]} x {image.shape[2]} pixels holds no "
                               f"patch of {self.stride} x {self.stride}: resize it first")
        patches = super().forward(image)
        # torch's fused norm wants one dtype
        tokens = patches.flatten(2).transpose(1, 2).to(self.proj.weight.dtype)
        return self.norm(tokens), (patches.shape[2], patches.shape[3])


def grids_of(image: Images) -> list[tuple[int, int]]:
    """Rows and columns of each picture's patches."""
    if isinstance(image, Tensor):
        return [(image.shape[2] // PATCH_SIZE, image.shape[3] // PATCH_SIZE)] * len(image)
    return [(each.shape[1] // PATCH_SIZE, each.shape[2] // PATCH_SIZE) for each in image]


def patch_counts(image: Images, device: torch.device) -> Tensor:
    """How many patches each picture has, int64 [B] on a device."""
    counts = [math.prod(grid) for grid in grids_of(image)]
    if isinstance(image, Tensor):
        return torch.full((len(counts),), counts[0], device=device)  # nothing is copied there
    return torch.tensor(counts, device=device)


def sine_positions(height: int, width: int, like: Tensor) -> Tensor:
    """Positions of a grid without parameters: [height · width, D], in at least float32.

    The first half of the channels encodes the column and the second the row, each in half sines and
    half cosines. Masked autoencoders' code (He et al., 2022) has this order, and AIM's weights were
    trained with it. D and the device are those of ``like`` [..., D].
    """
    dtype, quarter = torch.promote_types(like.dtype, torch.float32), like.shape[-1] // 4
    frequency = TEMPERATURE ** -(torch.arange(quarter, dtype=dtype, device=like.device) / quarter)
    row, column = (torch.arange(side, dtype=dtype, device=like.device)[:, None] * frequency
                   for side in (height, width))
    of_column, of_row = (torch.cat([angle.sin(), angle.cos()], 1) for angle in (column, row))
    return torch.cat([of_column[None].expand(height, -1, -1),
                      of_row[:, None].expand(-1, width, -1)], 2).flatten(0, 1)
