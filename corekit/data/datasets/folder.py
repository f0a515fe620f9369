"""The ``folder`` dataset: pictures as files, captions beside them, classes as folders."""

import hashlib
import itertools
import os

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Sample, last_part
from corekit.data.fields import find_fields
from corekit.data.shards.members import (
    RawSample,
    decode_sample,
    default_fields,
    member_of,
    split_extensions,
)
from corekit.data.storage import Storage, read_lines
from corekit.errors import CorekitError
from corekit.registry import register

SHARD = 1000  # samples; files have no shards, this is what the order of a run permutes
FROM_FOLDER = "folder"


@register("dataset", "folder")
class Folder:
    """Pictures in a folder and the folders below it, local or remote.

    ``a/b.jpg`` is the sample ``a/b``; its caption is ``a/b.txt`` or in ``a/b.json``. With ``label:
    folder`` its label is the number of ``a`` among the sorted folders right under the root, which
    are the class names unless ``classnames.txt`` in the root gives better ones in that order.
    Samples are numbered in an order of their own, the same everywhere, so that neighbours, which
    are read together, are not all of one class.

    Args:
        root: the folder; ``data.root`` where the recipe gives none. None: no samples, as a dry run
            needs it.
        fields: field -> the extensions that may hold it, separated by ``;``, the first one there is
            taken, or ``folder`` for a label. A file with an extension of the first field makes a
            sample. Default: image and text.

    Raises:
        CorekitError: no folder, no pictures, or pictures outside class folders where labels are
            asked for.
    """

    def __init__(self, root: str | None, fields: dict[str, str] | None = None) -> None:
        fields = fields or default_fields("image", "text")
        self.fields = tuple(fields)
        self.extensions = split_extensions({field: value for field, value in fields.items()
                                            if value != FROM_FOLDER})
        self.decoders = find_fields(tuple(self.extensions))
        self.labelled = [field for field, value in fields.items() if value == FROM_FOLDER]
        self.names: list[str] = []
        self.class_names: list[str] = []
        self.templates: list[str] = []
        self.fingerprint = ""
        self.name = last_part(root or "folder")
        if root is not None:
            self.storage = Storage(root)
            self._list_files(root)
            self.templates = read_lines(root, "zeroshot_classification_templates.txt")
        self.shard_sizes = sizes_of_shards(len(self.names))

    def _list_files(self, root: str) -> None:
        first = next(iter(self.extensions.values()), [])
        extensions = set(itertools.chain(*self.extensions.values()))
        digest = hashlib.sha256()
        files: list[tuple[str, int, str]] = []
        for name, size, _ in self.storage.files("**/*"):
            key, extension = _split(name)
            if extension in first:
                files.append((key, first.index(extension), name))
            if extension in extensions:  # other files below the folder are no part of the data
                digest.update(f"{name} {size}\n".encode("utf-8", "surrogateescape"))
        files.sort()
        names = [name for index, (key, _, name) in enumerate(files)
                 if not index or key != files[index - 1][0]]
        if not names:
            raise CorekitError(f"data.root={root} holds no file that ends in {' or '.join(first)}")
        if self.labelled:
            self._find_classes(root, names)
        self.names = [names[index] for index in permutation(len(names))]
        self.fingerprint = digest.hexdigest()

    def _find_classes(self, root: str, names: list[str]) -> None:
        outside = next((name for name in names if "/" not in name), None)
        if outside is not None:
            raise CorekitError(f"data.root={root}: labels come from class folders, but {outside} "
                               "lies in none")
        self.class_folders = sorted({name.split("/")[0] for name in names})
        self.class_names = read_lines(root, "classnames.txt") or self.class_folders
        if len(self.class_names) != len(self.class_folders):
            raise CorekitError(f"data.root={root}: classnames.txt has {len(self.class_names)} "
                               f"lines for {len(self.class_folders)} class folders")
        self._numbers = {folder: number for number, folder in enumerate(self.class_folders)}

    def read(self, shard: int, first: int, count: int) -> list[tuple[RawSample, str]]:
        """(the files of a sample, the name of its picture) of neighbouring samples."""
        begin = shard * SHARD + first
        return [(self._read_files(name), name) for name in self.names[begin:begin + count]]

    def _read_files(self, name: str) -> RawSample:
        key, own_extension = _split(name)
        if name.encode("utf-8", "replace").decode() != name:
            printable = name.encode("utf-8", "backslashreplace").decode()
            return RawSample(self.storage.root, printable, {},
                             ("encoding", "the name of a file is not UTF-8"))
        members = {own_extension: self.storage.read(name)}
        for field, extensions in list(self.extensions.items())[1:]:
            for stored in extensions:
                extension = stored.partition(":")[0]
                content = members.get(extension, self.storage.read_if_there(f"{key}.{extension}"))
                if content is not None:
                    members[extension] = content
                if member_of(members, stored, self.decoders[field]) is not None:
                    break
        return RawSample(self.storage.root, key, members)

    def decode(self, handle: tuple[RawSample, str]) -> Sample:
        """The fields of one sample, decoded by their canonical names."""
        raw, name = handle
        sample = decode_sample(raw, self.extensions, self.decoders)
        for field in self.labelled:
            sample[field] = self._numbers[name.split("/")[0]]
        return sample


def sizes_of_shards(count: int) -> NDArray[np.int64]:
    """How many samples each stretch of ``SHARD`` files has."""
    return np.array([min(SHARD, count - first) for first in range(0, count, SHARD)], dtype=np.int64)


def permutation(count: int) -> NDArray[np.int64]:
    """An order of samples that is the same everywhere and mixes what lies side by side."""
    return np.random.Generator(np.random.Philox(key=0)).permutation(count)


def _split(name: str) -> tuple[str, str]:
    """``a/b.c.JPG`` -> ``a/b.c`` and ``jpg``."""
    key, extension = os.path.splitext(name)
    return key, extension[1:].lower()
