"""What AIM's transformers are made of: no layer but the patches' has a bias, and heads are 128 wide
in all published models.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.models.linear import after_gelu
from corekit.models.vit import PatchEmbed

Mixer = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys and values [B, H, L, d] to [B, H, L, d]
Images = Tensor | list[Tensor]  # [B, 3, H, W], or B pictures [3, H, W] each of its own size
HEAD_WIDTH = 128
PATCH_SIZE = 14
TEMPERATURE = 10_000


def bidirectional(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Every token sees all tokens."""
    return F.scaled_dot_product_attention(query, key, value)


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each token sees itself and those before it."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


class Attention(nn.Module):
    """Multi-head self-attention over [B, L, D] without biases; who sees whom is the mixer's to say."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.heads = max(1, width // head_width)
        if width % self.heads:
            raise CorekitError(f"{self.heads} attention heads cannot share a width of {width}: choose another width_divisor")
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        for part in self.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(part)
        nn.init.xavier_uniform_(self.proj.weight)

    def forward(self, x: Tensor, mixer: Mixer) -> Tensor:
        query, key, value = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2)
                             for part in self.qkv(x).chunk(3, dim=2))
        return self.proj(mixer(query, key, value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """The gated feed-forward part of AIMv2 (Shazeer, 2020): W2 (silu(Wg x) * Wx x); parameters are named as in timm.

    The hidden width is 2/3 of 4 D, rounded up to a multiple of 256.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = -(-(8 * width // 3) // 256) * 256
        self.fc1_g = nn.Linear(width, hidden, bias=False)
        self.fc1_x = nn.Linear(width, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)
        for layer in (self.fc1_g, self.fc1_x, self.fc2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.silu(self.fc1_g(x)) * self.fc1_x(x))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """The feed-forward part of AIMv1: two linear layers with a GELU between them, 4 D wide, without biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width, bias=False)
        self.fc2 = nn.Linear(4 * width, width, bias=False)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return after_gelu(self.fc2, self.fc1(x))  # type: ignore[no-any-return]


def norm(width: int, generation: int) -> nn.Module:
    """AIMv1's layer norm, or AIMv2's RMS norm (Zhang and Sennrich, 2019)."""
    return nn.LayerNorm(width, eps=1e-6) if generation == 1 else nn.RMSNorm(width, eps=1e-5)


class Block(nn.Module):
    """A pre-norm block: x + attention(norm(x)), then x + feed-forward(norm(x)), for x of [B, L, D].

    Args:
        width: D.
        generation: 1 for AIMv1's norms and feed-forward part, 2 for AIMv2's.
        head_width: of an attention head; there is one at least.
    """

    def __init__(self, width: int, generation: int = 2, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.norm1 = norm(width, generation)
        self.attn = Attention(width, head_width)
        self.norm2 = norm(width, generation)
        self.mlp = MLP(width) if generation == 1 else SwiGLU(width)

    def forward(self, x: Tensor, mixer: Mixer = bidirectional) -> Tensor:
        x = x + self.attn(self.norm1(x), mixer)
        x = x + self.mlp(self.norm2(x))
        return x


class Patches(PatchEmbed):
    """Patches of 14x14 pixels to tokens, and a norm: [B, 3, H, W] to [B, N, D] and their grid (H // 14, W // 14).

    What does not fill a patch at the right and the lower edge is left out, as a convolution leaves it out.

    Raises:
        CorekitError: an image without a whole patch.
    """

    def __init__(self, width: int, generation: int) -> None:
        super().__init__(width, PATCH_SIZE)
        self.norm = norm(width, generation)
        nn.init.xavier_uniform_(self.proj.weight.view(width, -1))
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:  # type: ignore[override]
        if min(image.shape[2:]) < PATCH_SIZE:
            raise CorekitError(f"an image of {image.shape[3]} x {image.shape[2]} pixels holds no patch of {PATCH_SIZE} x "
                               f"{PATCH_SIZE}: resize it first")
        patches = super().forward(image)
        tokens = patches.flatten(2).transpose(1, 2).to(self.proj.weight.dtype)  # torch's fused norm wants one dtype
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
    """Positions of a grid without parameters, [height · width, D], in at least float32, on the device of ``like`` [..., D].

    The first half of the channels says the column and the second the row, half sines and half cosines each: the order of
    masked autoencoders' code (He et al., 2022), which AIM's weights were trained with.
    """
    dtype, quarter = torch.promote_types(like.dtype, torch.float32), like.shape[-1] // 4
    frequency = TEMPERATURE ** -(torch.arange(quarter, dtype=dtype, device=like.device) / quarter)
    row, column = (torch.arange(side, dtype=dtype, device=like.device)[:, None] * frequency for side in (height, width))
    of_column, of_row = (torch.cat([angle.sin(), angle.cos()], 1) for angle in (column, row))
    return torch.cat([of_column[None].expand(height, -1, -1), of_row[:, None].expand(-1, width, -1)], 2).flatten(0, 1)
