"""Samples damaged in every way that shards are found damaged, and the kind that each must be
counted as.
"""

import io
import struct
import tarfile
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path

from tests.data.loading.test_loader import add, jpeg


def png_bomb(side: int = 30_000) -> bytes:
    """A PNG of a few bytes whose header promises ``side`` x ``side`` pixels."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(
            ">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(
        bytes(1000))) + chunk(b"IEND", b"")


def jpeg_bomb(side: int = 30_000) -> bytes:
    """A JPEG whose frame header promises ``side`` x ``side`` pixels."""
    content = bytearray(jpeg(0))
    start = content.index(b"\xff\xc0")
    content[start + 5:start + 9] = struct.pack(">HH", side, side)
    return bytes(content)


# way -> (members, by the end of their names; the kind it is counted as); {} stands for the key
WAYS = {
    "half a JPEG": ({"{}.jpg": jpeg(1)[:len(jpeg(1)) // 2], "{}.txt": b"fine"}, "image"),
    "a PNG bomb": ({"{}.png": png_bomb(), "{}.txt": b"fine"}, "bomb"),
    "a JPEG bomb": ({"{}.jpg": jpeg_bomb(), "{}.txt": b"fine"}, "bomb"),
    "an empty caption": ({"{}.jpg": jpeg(2), "{}.txt": b" \n"}, "empty_text"),
    "a caption of zero bytes": ({"{}.jpg": jpeg(2), "{}.txt": b""}, "empty_text"),
    "a wrong extension": ({"{}.jpgg": jpeg(3), "{}.txt": b"fine"}, "missing_field"),
    "a caption that is not UTF-8": ({"{}.jpg": jpeg(4), "{}.txt": b"caf\xe9"}, "encoding"),
    "a name that is not UTF-8": ({"{}\udce9.jpg": jpeg(4), "{}\udce9.txt": b"fine"}, "encoding"),
    "a missing field": ({"{}.jpg": jpeg(5)}, "missing_field"),
    "a path that climbs out": ({"../../{}.jpg": jpeg(6), "../../{}.txt": b"fine"}, "path"),
    "an absolute path": ({"/tmp/{}.jpg": jpeg(6), "/tmp/{}.txt": b"fine"}, "path"),
    "an image of zero bytes": ({"{}.jpg": b"", "{}.txt": b"fine"}, "image"),
    "a web page for an image": ({"{}.jpg": b"<html>404</html>", "{}.txt": b"fine"}, "image"),
    "a key that comes twice": ({"{}.jpg": jpeg(7), "{}.txt": b"fine",
                                "{}.JPG": jpeg(8)}, "duplicate"),
}


@lru_cache
def _picture(seed: int) -> bytes:
    return jpeg(seed)


def write_tar(path: Path, number: int, good: int, ways: list[str]) -> Counter[str]:
    """A shard of ``good`` samples with the damaged ones spread among them; counts by kind of
    those.
    """
    counts: Counter[str] = Counter()
    total = good + len(ways)
    places = {(2 * index + 1) * total // (2 * len(ways)): way for index, way in enumerate(ways)}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="utf-8",
                      errors="surrogateescape") as archive:
        for index in range(total):
            key = f"{number:02d}{index:04d}"
            if index in places:
                members, kind = WAYS[places[index]]
                counts[kind] += 1
                for name, content in members.items():
                    add(archive, name.format(f"bad{key}"), content)
            else:
                add(archive, f"{key}.jpg", _picture(index % 20))
                add(archive, f"{key}.txt", f"picture {index} of shard {number}".encode())
    return counts


def cut(path: Path, sample: int) -> int:
    """Cut a shard inside the picture of one sample; how many samples are lost."""
    content = path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        pictures = [member for member in archive if member.name.endswith(".jpg")]
    path.write_bytes(content[:pictures[sample].offset_data + 100])
    return len(pictures) - sample


def damaged_shards(root: Path, good: int, ways: dict[int, list[str]]) -> Counter[str]:
    """Shards ``00000.tar``, ... damaged in these ways, one more cut before it is indexed, another
    one after that.

    Gives how often a whole pass must count each kind.
    """
    from corekit.data.shards.indexing import build_index

    root.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    for number, shard_ways in ways.items():
        counts += write_tar(root / f"{number:05d}.tar", number, good, shard_ways)
    write_tar(root / "90000.tar", 90, 24, [])
    cut(root / "90000.tar", 17)  # 17 good ones, and the one that the cut went through
    counts["truncated"] += 1
    write_tar(root / "90001.tar", 91, 24, [])
    build_index(root, beside=True)
    counts["truncated"] += cut(root / "90001.tar", 18)
    return counts
