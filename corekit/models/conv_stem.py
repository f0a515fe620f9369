"""The convolutional stem of CoreNet's vision transformers, in place of a projection of patches."""

from torch import Tensor, nn

from corekit.models.fusion import convolution, exact, norm_as_scale


class ConvStemLayer(nn.Module):
    """A convolution, then batch norm and GELU but after the last one; its stride is its kernel."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0,
                 last: bool = False, stride: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride or kernel_size,
                              padding, bias=last)
        self.bn = None if last else nn.BatchNorm2d(out_channels)
        self.act = None if last else nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return x if self.act is None else self.act(x)

    def folded(self) -> "ConvStemLayer":
        """Itself, with its norm in the convolution."""
        if self.bn is not None:
            scale, shift = norm_as_scale(self.bn)
            kernel = exact(self.conv.weight) * scale[:, None, None, None]
            self.conv = convolution(self.conv, kernel, shift)
            self.bn = None
        return self


class ConvStem(nn.Module):
    """Patches of 16x16 pixels in three steps (4, 2, 2): [B, 3, H, W] to [B, D, H / 16, W / 16].

    With a first stride of 2 patches overlap, 8 pixels from one to the next.
    """

    def __init__(self, width: int, padding: int, first_stride: int = 4) -> None:
        super().__init__()
        self.stride = 4 * first_stride
        hidden = width // 4
        self.backbone = nn.Sequential(ConvStemLayer(3, hidden, 4, padding, stride=first_stride),
                                      ConvStemLayer(hidden, hidden, 2),
                                      ConvStemLayer(hidden, width, 2, last=True))

    def forward(self, image: Tensor) -> Tensor:
        patches: Tensor = self.backbone(image)
        return patches
