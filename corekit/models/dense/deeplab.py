"""DeepLabv3 (Chen et al., 2017) over any encoder: a class for every pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from corekit.models.dense.aspp import ASPP
from corekit.models.dense.encoder import DenseEncoder, Size, maps_of, upsampled


class DeepLabV3(nn.Module):
    """Pictures [B, 3, H, W] to ``logits`` [B, K, H, W].

    The encoder's coarsest map goes through ``ASPP`` and a 1x1 classifier. Logits are stretched to
    the picture once, bilinearly, corners on corners.

    Args:
        encoder: a ``DenseEncoder``.
        num_classes: K.
        channels, dilations, dropout: of the ASPP.
    """

    towers = ("encoder",)

    def __init__(self, encoder: nn.Module, num_classes: int, channels: int,
                 dilations: Sequence[int], dropout: float = 0.1) -> None:
        super().__init__()
        assert isinstance(encoder, DenseEncoder)
        self.encoder = encoder
        self.aspp = ASPP(encoder.widths[-1], channels, dilations, dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self._stretched(image, (image.shape[2], image.shape[3]))}

    @torch.no_grad()
    def segment(self, image: Tensor, size: Size) -> Tensor:
        """Logits [B, K, *size] of pictures that were of another size, stretched once."""
        return self._stretched(image, size)

    def _stretched(self, image: Tensor, size: Size) -> Tensor:
        logits: Tensor = self.classifier(self.aspp(maps_of(self.encoder, image)[-1]))
        return upsampled(logits, size, align_corners=True)
