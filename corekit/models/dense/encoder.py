"""What an encoder is to a dense head: a map of features, or a pyramid of maps."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

from corekit.errors import CorekitError

Images = Tensor | list[Tensor]  # float [B, 3, H, W], or [3, H, W] of each picture
Size = tuple[int, int]  # height and width


@runtime_checkable
class DenseEncoder(Protocol):
    """An encoder of pictures that dense heads stand on.

    Attributes:
        strides: pixels between the cells of each of its maps, smallest first.
        widths: channels of each of its maps.
    """

    strides: tuple[int, ...]
    widths: tuple[int, ...]

    def feature_map(self, image: Tensor) -> Tensor | list[Tensor]:
        """[B, D, h, w] of [B, 3, H, W]; of a pyramid a list, one for each stride."""
        ...


@runtime_checkable
class HasDense(Protocol):
    """A model that a dense head can stand on."""

    def dense(self) -> nn.Module:
        """Its ``DenseEncoder``, without what only its own outputs need; the model is used up."""
        ...


def dense_encoder(model: nn.Module) -> nn.Module:
    """The encoder of a model, for a dense head.

    Raises:
        CorekitError: the model has none.
    """
    encoder = model.dense() if isinstance(model, HasDense) else model
    if not isinstance(encoder, DenseEncoder):
        raise CorekitError(f"a {type(model).__name__} gives no map of features: name a model of "
                           "images, such as catlip_vit_b16, as model.encoder_model")
    return encoder


def maps_of(encoder: nn.Module, image: Tensor) -> list[Tensor]:
    """The encoder's maps, one for each of its strides."""
    assert isinstance(encoder, DenseEncoder)
    maps = encoder.feature_map(image)
    return [maps] if isinstance(maps, Tensor) else maps


def padded(image: Images, divisor: int) -> tuple[Tensor, list[Size]]:
    """Pictures as one tensor with zeros at the right and below, and the size of each of them.

    Its sides are multiples of ``divisor``.
    """
    sizes = [(each.shape[-2], each.shape[-1]) for each in image]
    height, width = (_multiple(max(sides), divisor) for sides in zip(*sizes))
    if isinstance(image, Tensor) and (height, width) == sizes[0]:
        return image, sizes
    pictures: Sequence[Tensor] = image.unbind() if isinstance(image, Tensor) else image
    batch = pictures[0].new_zeros(len(pictures), 3, height, width)
    for row, picture in zip(batch, pictures):
        row[:, :picture.shape[1], :picture.shape[2]] = picture
    return batch, sizes


def _multiple(length: int, divisor: int) -> int:
    return -(-length // divisor) * divisor


def upsampled(x: Tensor, size: Size, align_corners: bool) -> Tensor:
    """A map at another size, bilinearly, in float32."""
    return F.interpolate(x.float(), size, mode="bilinear", align_corners=align_corners)
