"""Where the items of a large JSON file begin and end, without keeping what they hold."""

from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

READ = 1 << 24  # bytes at a time
_IS_SIGN, _OPENS = (np.isin(np.arange(256), [*signs]) for signs in (b'[]{}"\\', b"[{"))

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


def item_edges(file: IO[bytes]) -> Offsets:
    """int64 [n, 2]: first byte and the one after the last of each item of a list, or of each line.

    A file that begins with ``[`` is a list of objects, one with ``{`` has an object a line. What is
    between the braces of an object is not looked at.

    Raises:
        ValueError: it begins otherwise, or a list is cut off.
    """
    first = file.read(READ)
    begins = first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if begins not in (b"[", b"{"):
        raise ValueError("neither a list nor lines of JSON")
    file.seek(0)
    return _of_list(file) if begins == b"[" else _of_lines(file)


def _chunks(file: IO[bytes]) -> Iterator[tuple[int, Bytes]]:
    begin = 0
    while content := file.read(READ):
        yield begin, np.frombuffer(content, dtype=np.uint8)
        begin += len(content)


def _of_lines(file: IO[bytes]) -> Offsets:
    """The lines that hold more than white space."""
    ends, size = [np.zeros(0, dtype=np.int64)], 0
    for begin, chunk in _chunks(file):
        ends.append(np.flatnonzero(chunk == ord("\n")) + begin)
        size = begin + len(chunk)
    edges = np.concatenate([[-1], *ends, [size]])
    begins, lasts = edges[:-1] + 1, edges[1:]
    is_item = lasts - begins > 1  # `{}` has two bytes
    return np.stack([begins[is_item], lasts[is_item]], 1)


def _of_list(file: IO[bytes]) -> Offsets:
    """The objects right inside the outermost brackets."""
    begins, ends = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    depth, in_string, is_escaped = 0, False, False
    for begin, chunk in _chunks(file):
        place = np.flatnonzero(_IS_SIGN[chunk])
        place, is_escaped = _unescaped(place, chunk, is_escaped)
        is_quote = chunk[place] == ord('"')
        outside = (np.cumsum(is_quote) + in_string) % 2 == 0
        in_string ^= bool(is_quote.sum() % 2)
        place = place[outside & ~is_quote]
        opens = _OPENS[chunk[place]]
        after = np.cumsum(np.where(opens, 1, -1)) + depth
        depth = int(after[-1]) if len(after) else depth
        begins.append(place[opens & (after == 2)] + begin)
        ends.append(place[~opens & (after == 1)] + begin + 1)
    first, last = np.concatenate(begins), np.concatenate(ends)
    if depth or in_string or len(first) != len(last):
        raise ValueError("a list in JSON that is cut off or damaged")
    return np.stack([first, last], 1)


def _unescaped(place: Offsets, chunk: Bytes, is_escaped: bool) -> tuple[Offsets, bool]:
    """The signs that count, without backslashes, and whether the byte after the chunk is escaped.

    A sign is escaped behind an odd number of backslashes, and the chunk's first byte where it is
    known to be.
    """
    is_slash = chunk[place] == ord("\\")
    slashes = place[is_slash]
    if is_escaped:
        slashes = slashes[slashes > 0]
    is_last = np.diff(slashes, append=len(chunk) + 1) > 1
    is_first = np.append(True, is_last[:-1])[:len(slashes)]
    lasts = slashes[is_last]
    escaped = np.zeros(len(chunk) + 1, dtype=bool)
    escaped[lasts[(lasts - slashes[is_first]) % 2 == 0] + 1] = True
    escaped[0] = is_escaped
    signs = place[~is_slash]
    return signs[~escaped[signs]], bool(escaped[-1])
