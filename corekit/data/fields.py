"""Fields: the values that a sample holds under a name, and all that corekit knows of them.

A field is an entry of kind ``field``: how its member of a shard is decoded and encoded, how a batch
is made of it, cut and joined again, what an example of it looks like, and where it lies in the
picture. A dataset declares its fields by name; loader, shard writer, checks and pictures loop over
them.
"""

import io
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal

from PIL import Image as PilImage

from corekit import registry
from corekit.data.datasets.base import BadSampleError, Batch, Fields, Sample, declared
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.decode import decode_image
from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:  # jobs that read captions alone do without torch
    from torch import Tensor

    from corekit.data.transforms.preprocess import Preprocess

MOST_TEXT = 1_000_000  # bytes of a caption; more is no caption, and would be tokenized for minutes
Geometry = Literal["image", "pictures", "mask", "boxes", "points"]


class Field:
    """The contract of entries of kind ``field``, which inherit from it what they do not change.

    Attributes:
        name: what the dataset calls it; set when the dataset's fields are looked up.
        extensions: of the members of a shard that may hold it, the one to write first.
        geometry: what of the picture it is, so that transforms move it: ``boxes`` are float
            [n, 4], x1 y1 x2 y2 in pixels; ``points`` float [n, 2]; ``mask`` [..., H, W];
            ``pictures`` a list of pictures of their own.
        outside: what a ``mask`` of the field holds outside the picture.
        offsets: of a ragged field, the batch entry that says where each sample's rows begin. Fields
            with the same offsets have a row for the same things: what one loses, all lose.
        several: a sample may have any number of its members: none, ``KEY.jpg``, or ``KEY.0.jpg``,
            ``KEY.1.jpg``, ...; its value is then a list of what ``decode`` gives.
        noun: what messages call its values; '' where these may well be alike in all samples.
        is_class: its values are classes, which many samples share.
    """

    name: str = ""
    extensions: tuple[str, ...] = ()
    geometry: Geometry | None = None
    outside: int = 0
    offsets: str | None = None
    several: bool = False
    noun: str = ""
    is_class: bool = False

    @property
    def entries(self) -> tuple[str, ...]:
        """The entries of a batch that the field fills, with a value or row for each sample."""
        return (self.name, )

    def decode(self, content: bytes, where: str) -> object:
        """Its value from its member of a shard ``where`` (shard and key); or a BadSampleError."""
        raise CorekitError(f"field '{self.name}' cannot be read from a member of a shard: it has "
                           "no decode")

    def encode(self, value: object, extension: str) -> bytes | None:
        """Its member of a shard, for one of ``extensions``; None: it is not written."""
        return None

    def tokenize(self, sample: Sample, tokenizer: Tokenizer | None) -> object:
        """What ``collate`` gets of a transformed sample; or a BadSampleError."""
        return sample[self.name]

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        """The entries of a batch.

        Tensors are stacked, or listed where shapes differ; numbers become a tensor, and anything
        else a list.
        """
        from corekit.data.loading.collate import stack

        return {self.name: stack(values)}

    def join(self, parts: Sequence[Batch]) -> Batch:
        """Its entries of several batches, one after the other."""
        from corekit.data.loading.collate import concatenate

        return {entry: concatenate([part[entry] for part in parts])
                for entry in self.entries if entry in parts[0]}

    def cut(self, batch: Batch, first: int, last: int) -> Batch:
        """Its entries of the samples from ``first`` up to ``last``."""
        return {entry: batch[entry][first:last] for entry in self.entries if entry in batch}

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        """Something of each sample's value that is equal where the values are."""
        return list(batch[self.name])

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        """Its entries with shapes and dtypes alone; an empty list where these are not known."""
        return {self.name: []}

    def normalize(self, value: object, preprocess: "Preprocess") -> object:
        """The model's input, from an entry that is on the device already."""
        return value


@register("field", "image")
class Image(Field):
    """A picture, in RGB: uint8 [3, H, W] after the transform, float after the preprocessing."""

    extensions = ("jpg", "jpeg", "png", "webp")
    geometry: Geometry | None = "image"
    noun = "picture"

    def decode(self, content: bytes, where: str) -> PilImage.Image:
        return decode_image(content, where)

    def encode(self, value: object, extension: str) -> bytes:
        assert isinstance(value, PilImage.Image)
        if extension in ("jpg", "jpeg") and hasattr(value, "jpeg"):
            return bytes(value.jpeg)
        content, picture = io.BytesIO(), value.convert("RGB")
        if extension == "png":
            picture.save(content, "PNG")
        elif extension == "webp":
            picture.save(content, "WEBP", quality=95)
        else:  # small pictures would lose their colours
            picture.save(content, "JPEG", quality=95, subsampling=0)
        return content.getvalue()

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        return [thumbnail(picture) for picture in batch[self.name]]

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        shape = (samples, 3, preprocess.size, preprocess.size)
        return {self.name: torch.zeros(shape, device=device)}

    def normalize(self, value: object, preprocess: "Preprocess") -> object:
        import torch

        if isinstance(value, torch.Tensor):
            return preprocess.normalize(value)
        assert isinstance(value, list)
        images = [preprocess.normalize(image[None])[0] for image in value]
        # whichever micro-batches they were read with
        alike = all(image.shape == images[0].shape for image in images)
        return torch.stack(images) if alike else images


@register("field", "text")
class Text(Field):
    """A caption: token ids int64 [B, L], and beside them the strings as ``caption``."""

    extensions: tuple[str, ...] = ("txt", "json:caption")  # the second as img2dataset writes it
    noun = "caption"

    @property
    def caption(self) -> str:
        """The name of the entry with the strings."""
        renamed = self.name.replace("text", "caption")
        return renamed if renamed != self.name else f"{self.name}_caption"

    @property
    def entries(self) -> tuple[str, ...]:
        return (self.name, self.caption)

    def decode(self, content: bytes, where: str) -> str:
        if len(content) > MOST_TEXT:
            raise BadSampleError("too_large", f"{where}: {self.name} has {len(content):,} bytes")
        text = _utf8(content, self.name, where)
        if not text.strip():
            raise BadSampleError("empty_text", f"{where}: {self.name} is empty")
        return text

    def encode(self, value: object, extension: str) -> bytes:
        return str(value).encode()

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        captions = [str(value) for value in values]
        if tokenizer is None:
            return {self.name: captions}
        return {self.name: tokenizer(captions), self.caption: captions}

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        captions = batch[self.caption if self.caption in batch else self.name]
        return list(captions)

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        length = getattr(tokenizer, "context_length", 77)
        tokens = torch.zeros(samples, length, dtype=torch.int64, device=device)
        return {self.name: tokens, **({self.caption: [""] * samples} if tokenizer else {})}


@register("field", "synthetic_text")
class SyntheticText(Text):
    """A caption that a model wrote, beside the one that came with the picture."""

    extensions = ()  # a dataset has to say which member it is


class WholeNumber(Field):
    """A whole number where it is read from a shard, else whatever the dataset gives.

    It stands for every field that no entry is called after.
    """

    def decode(self, content: bytes, where: str) -> int:
        text = _utf8(content, self.name, where)
        try:
            number = int(text)
        except ValueError:
            raise BadSampleError(self.name, f"{where}: {self.name} is not a whole number") from None
        if not -2**63 <= number < 2**63:
            raise BadSampleError(self.name, f"{where}: {self.name} is no number of 64 bits")
        return number


@register("field", "label")
class Label(WholeNumber):
    """The number of a class, int64 [B]."""

    extensions: tuple[str, ...] = ("cls", )
    noun = "label"
    is_class = True

    def encode(self, value: object, extension: str) -> bytes:
        return str(value).encode()

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        return [int(label) for label in batch[self.name]]

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        return {self.name: torch.zeros(samples, dtype=torch.int64, device=device)}


def thumbnail(picture: "PilImage.Image | Tensor") -> bytes:
    """A few of the pixels."""
    if isinstance(picture, PilImage.Image):
        return picture.convert("RGB").resize((16, 16), PilImage.Resampling.NEAREST).tobytes()
    return picture[:, ::8, ::8].numpy().tobytes()


def _utf8(content: bytes, name: str, where: str) -> str:
    try:
        return content.decode("utf-8-sig")  # editors of Windows begin files with a mark
    except UnicodeDecodeError:
        raise BadSampleError("encoding", f"{where}: {name} is not UTF-8") from None


def pictures_of(sample: Sample) -> list[PilImage.Image]:
    """All pictures of a sample that was decoded and not yet transformed."""
    return [*([sample["image"]] if "image" in sample else []), *sample.get("pictures", ())]


def find_field(name: str, entry: str | Field | None = None) -> Field:
    """The field of a name: the dataset's own, or the entry of kind ``field`` of that name.

    Raises:
        CorekitError: the dataset declares one that is not there.
    """
    if isinstance(entry, Field):
        field = entry
    elif entry not in (None, name) or name in registry.entries("field"):
        field = registry.build("field", entry or name)
    else:
        field = WholeNumber()
    field.name = name
    return field


def find_fields(fields: Fields) -> dict[str, Field]:
    """The fields that a dataset declares, by name."""
    return {name: find_field(name, entry) for name, entry in declared(fields).items()}
