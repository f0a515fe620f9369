"""The contract of a transform, Sample -> Sample, and adapters for other callables."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, overload

from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.tv_tensors import TVTensor

from corekit.data.datasets.base import Sample
from corekit.data.fields import Field
from corekit.data.transforms.moving import draw, drop_emptied, place
from corekit.data.transforms.preprocess import to_tensor
from corekit.errors import CorekitError

ALL = frozenset({"image", "mask", "boxes", "points"})
NONE: frozenset[str] = frozenset()
# an entry of kind transform, of whichever form
TransformFunction = Callable[..., Any]


class SampleTransform:
    """A transform that moves all fields with a place in the picture, for others to inherit from.

    It is called as torchvision's ``transforms.v2`` are: with a sample, or with a picture alone.

    Attributes:
        moves: the geometries that are right after it, of ``corekit.data.fields.Geometry``.
        reads: the fields it reads beside the image.
        sized: whether it follows the ``size`` of the step.
        moves_outlines: whether masks come as ``Outlines`` where they are stored so; else drawn.
    """

    moves = ALL
    reads: tuple[str, ...] = ()
    sized = True
    moves_outlines = False

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, H, W], ``size`` pixels a side in steps with one."""
        raise NotImplementedError

    @overload
    def __call__(self, sample: Image.Image, size: int | None = None) -> Tensor: ...

    @overload
    def __call__(self, sample: Sample, size: int | None = None) -> Sample: ...

    def __call__(self, sample: Image.Image | Sample, size: int | None = None) -> Tensor | Sample:
        if isinstance(sample, dict):
            return self.transform(sample, size)
        image: Tensor = self.transform({"image": sample}, size)["image"]
        return image


@dataclass(frozen=True)
class Transform:
    """Any entry of kind ``transform`` as corekit calls it.

    ``function`` is a ``SampleTransform`` or another callable whose first parameter is called
    ``sample``; one of torchvision's ``transforms.v2``; or a callable of the image and of fields it
    has parameters for.
    """

    function: TransformFunction
    moves: frozenset[str]  # the geometries that are right after it
    reads: tuple[str, ...]  # the fields it reads beside the image
    required: tuple[str, ...]  # those of them it cannot do without
    sized: bool  # whether it takes the size of the step
    of_sample: bool  # whether it takes and gives a sample

    @classmethod
    def of(cls, function: TransformFunction) -> "Transform":
        """The transform with its own attributes, or defaults of those it lacks.

        One of torchvision's moves everything; another callable of the image is taken to move
        nothing else unless its attribute ``moves`` says what is right after it.
        """
        if isinstance(function, v2.Transform):
            return cls(function, ALL, (), (), False, True)
        call = function if inspect.isroutine(function) else type(function).__call__
        defaults = {name: parameter.default for name, parameter
                    in inspect.signature(call).parameters.items() if name != "self"}
        first, *others = defaults
        moves = frozenset(getattr(function, "moves", NONE))
        if first == "sample":
            reads = tuple(getattr(function, "reads", ()))
            sized = bool(getattr(function, "sized", "size" in others))
            return cls(function, moves, reads, reads, sized, True)
        reads = tuple(name for name in others if name != "size")
        required = tuple(name for name in reads if defaults[name] is inspect.Parameter.empty)
        return cls(function, moves, reads, required, "size" in others, False)

    def __call__(self, sample: Sample, fields: Mapping[str, Field],
                 size: int | None = None) -> Sample:
        """The transformed sample, in which every field moved with the picture.

        ``image`` of the sample is a PIL image, and ``pictures``, which may stand in its place, are
        a list of them; ``size`` is pixels of a side, if the step has its own.
        """
        more = {"size": size} if self.sized and size is not None else {}
        if "image" not in sample:
            prepared: Sample = self.function(sample, **more)
            return prepared
        image: Image.Image = sample["image"]
        if not self.of_sample:
            values = {name: sample[name] for name in self.reads if name in sample}
            return {**sample, "image": self.function(image, **values, **more)}
        movable = {name: place(sample[name], fields[name], image, str(sample.get("key", "")))
                   for name in moved_fields(fields) if name in sample}
        if not getattr(self.function, "moves_outlines", False):
            movable = {name: draw(value) for name, value in movable.items()}
        output: Sample = self.function({**sample, **movable}, **more)
        output = drop_emptied(output, fields) if movable else output
        output = {name: _plain(value) for name, value in output.items()}
        for name in movable:
            if fields[name].outside:
                output[name] = output[name] ^ fields[name].outside
        return output

    def check(self, label: str, fields: Mapping[str, Field]) -> None:
        """Raise a CorekitError where it would not move a field with the picture."""
        for name, field in fields.items():
            if field.geometry == "pictures" and "pictures" not in self.moves:
                raise CorekitError(f"{label} does not prepare `{name}`, of which a sample may have "
                                   "several: leave data.transform out, or set "
                                   "data.transform.name=center_crop")
        for name in moved_fields(fields):
            geometry = fields[name].geometry
            if geometry not in self.moves:
                raise CorekitError(f"{label} does not move `{name}` ({geometry}) with the picture: "
                                   "choose another transform, such as random_resized_crop, or "
                                   f"leave `{name}` out of the dataset's fields")


def moved_fields(fields: Mapping[str, Field]) -> list[str]:
    """The fields that have a place in the picture, beside the picture itself and others."""
    return [name for name, field in fields.items()
            if field.geometry not in (None, "pictures") and name != "image"]


def _plain(value: object) -> object:
    if isinstance(value, TVTensor):
        return value.as_subclass(Tensor)
    return to_tensor(value.convert("RGB")) if isinstance(value, Image.Image) else value
