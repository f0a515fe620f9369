"""The ``webdataset`` dataset: tar shards read by index, one ranged read a window."""

import io
import tarfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from corekit.data.index import fingerprint, load_index, member_key
from corekit.data.source import BadSampleError, Sample
from corekit.errors import CorekitError
from corekit.registry import register

MAX_PIXELS = 100_000_000  # a larger picture is taken for a decompression bomb


@dataclass(frozen=True)
class RawSample:
    """The members of one sample as they stand in its shard: field -> bytes."""

    shard: str
    position: int
    members: dict[str, bytes]
    key: str | None


@register("dataset", "webdataset")
class WebDataset:
    """Image-text samples in WebDataset tar shards under one folder.

    Args:
        root: the folder; ``data.root`` where the recipe gives none. None: no samples, as a dry run needs it.
        shards: pattern of the shards' names under it; of several, separated by ``;``, the first that any shard matches.
        fields: field -> the extensions that may hold it, separated by ``;``, the first one there is taken.

    Raises:
        CorekitError: no folder, no shards, no samples.
    """

    def __init__(self, root: str | None, shards: str = "**/*.tar", fields: dict[str, str] | None = None) -> None:
        self.extensions = {field: extensions.split(";") for field, extensions in
                           (fields or {"image": "jpg;jpeg;png;webp", "text": "txt"}).items()}
        self.fields = tuple(self.extensions)
        folder = Path(root) if root is not None else None
        self._shards = load_index(folder, shards) if folder else []
        self.shard_sizes = np.array([shard.samples for shard in self._shards], dtype=np.int64)
        self.fingerprint = fingerprint(folder, self._shards) if folder else ""
        if folder and not self.shard_sizes.sum():
            raise CorekitError(f"the shards under {root} hold no samples")
        self.class_names = _lines(folder, "classnames.txt") if folder else []
        self.templates = _lines(folder, "zeroshot_classification_templates.txt") if folder else []

    def read(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The bytes of neighbouring samples, by one ranged read."""
        entry = self._shards[shard]
        begin, end = int(entry.offsets[first]), int(entry.offsets[first + count])
        with open(entry.path, "rb") as file:
            file.seek(begin)
            content = file.read(end - begin)
        found = []
        for position in range(first, first + count):
            low, high = int(entry.offsets[position]) - begin, int(entry.offsets[position + 1]) - begin
            found.append(_parse(str(entry.path), position, content[low:high]))
        return found

    def decode(self, handle: RawSample) -> Sample:
        """The fields of one sample, decoded by their canonical names."""
        where = f"{handle.shard}: {handle.key or f'sample {handle.position}'}"
        if handle.key is None:
            raise BadSampleError("truncated", f"{where}: its members cannot be read")
        sample: Sample = {"key": handle.key}
        for field, extensions in self.extensions.items():
            content = next((handle.members[name] for name in extensions if name in handle.members), None)
            if content is None:
                raise BadSampleError("missing_field", f"{where}: no {' or '.join(extensions)} for {field}")
            sample[field] = _decode_field(field, content, where)
        return sample


def _parse(shard: str, position: int, content: bytes) -> RawSample:
    members: dict[str, bytes] = {}
    key = None
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    key, extension = member_key(member.name)
                    members[extension] = file.read()
                    if len(members[extension]) < member.size:
                        return RawSample(shard, position, {}, None)
    except (tarfile.TarError, EOFError, OSError):
        return RawSample(shard, position, {}, None)
    return RawSample(shard, position, members, key)


def _decode_field(field: str, content: bytes, where: str) -> object:
    if field == "image":
        return decode_image(content, where)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSampleError("encoding", f"{where}: {field} is not UTF-8") from None
    if field in ("text", "synthetic_text"):
        if not text.strip():
            raise BadSampleError("empty_text", f"{where}: {field} is empty")
        return text
    try:
        return int(text)
    except ValueError:
        raise BadSampleError(field, f"{where}: {field} is not a whole number") from None


def decode_image(content: bytes, where: str) -> Image.Image:
    """An RGB picture of encoded bytes.

    Raises:
        BadSampleError: not an image, cut off, or of more than ``MAX_PIXELS`` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata and of sizes that the next lines judge
            image: Image.Image = Image.open(io.BytesIO(content))
            if image.width * image.height > MAX_PIXELS:
                raise BadSampleError("bomb", f"{where}: {image.width} x {image.height} pixels")
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")
            return image.convert("RGB")
    except Image.DecompressionBombError:
        raise BadSampleError("bomb", f"{where}: a picture too large to decode") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadSampleError("image", f"{where}: {error}") from None


def _lines(folder: Path, name: str) -> list[str]:
    """A text file's lines: in the folder, or above it where it is a part such as CLIP_benchmark's ``test``."""
    path = next((path for path in (folder / name, folder.absolute().parent / name) if path.is_file()), None)
    return path.read_text(encoding="utf-8").splitlines() if path else []
