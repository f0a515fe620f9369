"""Patches of an image as tokens."""

from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Square patches to tokens: [B, 3, H, W] to [B, D, H / patch_size, W / patch_size]."""

    def __init__(self, width: int, patch_size: int, bias: bool = True) -> None:
        super().__init__()
        self.stride = patch_size
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        patches: Tensor = self.proj(image)
        return patches


def stride_of(patch_embed: nn.Module) -> int:
    """Pixels from one patch to the next, of any module of patches."""
    stride = patch_embed.stride
    assert isinstance(stride, int), f"{type(patch_embed).__name__} has a stride in pixels"
    return stride
