"""Pictures as files of which something more is known, for datasets to inherit from."""

from collections.abc import Mapping, Sequence
from posixpath import splitext

from PIL import Image

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.folder import SHARD, sizes_of_shards
from corekit.data.fields import find_fields
from corekit.data.shards.members import RawSample, decode_sample
from corekit.data.storage import Storage
from corekit.files import leaves_folder

Handle = tuple[RawSample, int]  # the files of a sample, and its number
PROBED = 20  # pictures looked for in each folder they may lie in


class Pictures:
    """A dataset of files, one or more a sample, whose names are known beforehand.

    Attributes:
        files: of each sample, field -> the name of its file under the root; the first is the
            picture.
        stored: the fields that files hold.
    """

    stored: tuple[str, ...] = ("image", )

    def __init__(self, root: str | None, fields: Sequence[str], name: str) -> None:
        self.fields, self.name = tuple(fields), name
        self.decoders = find_fields(self.stored)
        self.class_names: list[str] = []
        self.fingerprint = ""
        self.files: Sequence[Mapping[str, str]] = []
        self.shard_sizes = sizes_of_shards(0)
        self.storage = Storage(root or ".")

    def number(self, files: Sequence[Mapping[str, str]], fingerprint: str) -> None:
        """Set the samples."""
        self.files, self.fingerprint = files, fingerprint
        self.shard_sizes = sizes_of_shards(len(files))

    def folder_of(self, names: Sequence[str], folders: Sequence[str]) -> str:
        """The one of several folders in which the first of some pictures that is there lies."""
        return next((folder for name in names[:PROBED] for folder in folders
                     if self.storage.is_file(folder + name)), folders[0])

    def read(self, shard: int, first: int, count: int) -> list[Handle]:
        """(the files of a sample, its number) of neighbouring samples."""
        begin = shard * SHARD + first
        return [(self._read_files(self.key(number), self.files[number]), number)
                for number in range(begin, begin + count)]

    def key(self, number: int) -> str:
        """The key of a sample: the name of its picture, without the extension."""
        return splitext(self.files[number]["image"])[0]

    def _read_files(self, key: str, names: Mapping[str, str]) -> RawSample:
        if any(leaves_folder(name) for name in names.values()):
            return RawSample(self.storage.root, key, {}, ("path", "its name leaves the folder"))
        contents = {}
        for field, name in names.items():
            content = self.storage.read_if_there(name)
            if content is None:
                return RawSample(self.storage.root, key, {},
                                 ("missing_file", f"{name} does not exist"))
            contents[field] = content
        return RawSample(self.storage.root, key, contents)

    def key_of(self, handle: Handle) -> str:
        """The key of a sample that was read."""
        return handle[0].key

    def decode(self, handle: Handle) -> Sample:
        """One picture with all that is known of it."""
        raw, number = handle
        sample = decode_sample(raw, {name: [name] for name in self.decoders}, self.decoders)
        annotation = self.annotation(number, sample, raw)  # it may take a field out of the sample
        return {**sample, **annotation}

    def annotation(self, number: int, sample: Sample, raw: RawSample) -> Sample:
        """The fields that no file of the sample holds by itself."""
        return {}


def check_size(image: Image.Image, width: int, height: int, where: str) -> None:
    """Raise a BadSampleError where a picture has not the size that its annotation was made for."""
    if image.size != (width, height):
        raise BadSampleError("picture_size", f"{where} has {image.width} x {image.height} pixels, "
                             f"and its annotation was made for {width} x {height}")
