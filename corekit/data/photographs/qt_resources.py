"""Qt's binary resource files (.rcc): a tree of names, and the files that hang on it.

All numbers are big-endian. A header has the offsets of three parts: the tree, whose nodes are 14
bytes long (22 from version 2 on, with a time at the end), the data, each behind its length, and
the names, each behind its length and a hash, in UTF-16.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from corekit.errors import CorekitError

MAGIC = b"qres"
COMPRESSED, FOLDER, ZSTANDARD = 1, 2, 4  # flags of a node
MOST_BYTES = 1 << 28  # of a file that is kept compressed
DEEPEST = 64  # folders in folders


@dataclass(frozen=True)
class Resources:
    """The files of a resource file: path -> (flags, where its data lie)."""

    content: bytes
    where: str
    files: dict[str, tuple[int, int]]

    def read(self, path: str) -> bytes:
        """The bytes of a file.

        Raises:
            CorekitError: there is no such file, it is damaged, or kept in a way Python cannot read.
        """
        if path not in self.files:
            raise CorekitError(f"{self.where} holds no {path}")
        flags, offset = self.files[path]
        (length,) = self._numbers(">I", offset)
        data = self.content[offset + 4:offset + 4 + length]
        if len(data) < length:
            raise CorekitError(f"{self.where} is cut off inside {path}")
        if flags & ZSTANDARD:
            raise CorekitError(f"{self.where}: {path} is compressed by Zstandard")
        if not flags & COMPRESSED:
            return data
        unpacker = zlib.decompressobj()
        try:
            unpacked = unpacker.decompress(data[4:], MOST_BYTES)  # behind its length
        except zlib.error as error:
            raise CorekitError(f"{self.where}: {path} cannot be unpacked: {error}") from None
        if not unpacker.eof:
            raise CorekitError(f"{self.where}: {path} is cut off, or larger than {MOST_BYTES:,} "
                               "bytes")
        return unpacked

    def _numbers(self, layout: str, offset: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(layout, self.content, offset)
        except struct.error:
            raise CorekitError(f"{self.where} is cut off, or no resource file of Qt") from None

    def _name(self, offset: int) -> str:
        length, _ = self._numbers(">HI", offset)
        return self.content[offset + 6:offset + 6 + 2 * length].decode("utf-16-be", "replace")


def read_resources(content: bytes, where: str) -> Resources:
    """The tree of a resource file.

    Raises:
        CorekitError: it is none, cut off, or leads round in circles.
    """
    resources = Resources(content, where, {})
    if content[:4] != MAGIC:
        raise CorekitError(f"{where} is no resource file of Qt")
    version, tree, data, names = resources._numbers(">IIII", 4)
    if not 1 <= version <= 3:
        raise CorekitError(f"{where} is a resource file of version {version}, and 1 to 3 are known")
    node = 14 if version == 1 else 22
    for path, number in _walk(resources, tree, names, node):
        _, flags, _, offset = resources._numbers(">IHII", tree + number * node)
        resources.files[path] = flags, data + offset
    return resources


def _walk(resources: Resources, tree: int, names: int, node: int) -> Iterator[tuple[str, int]]:
    """(path, number of its node) of every file."""
    seen, folders = {0}, [(0, "", 0)]
    while folders:
        number, prefix, depth = folders.pop()
        _, _, count, first = resources._numbers(">IHII", tree + number * node)
        for child in range(first, first + count):
            name, flags = resources._numbers(">IH", tree + child * node)
            if child in seen or depth > DEEPEST:
                raise CorekitError(f"{resources.where} is damaged: its folders lead round in "
                                   "circles")
            seen.add(child)
            path = f"{prefix}/{resources._name(names + name)}"
            if flags & FOLDER:
                folders.append((child, path, depth + 1))
            else:
                yield path, child
