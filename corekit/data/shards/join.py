"""Two sets of shards joined by the uids of their samples, with nothing unpacked or copied.

Which samples belong together is found out once, from the members' headers, and kept in a table in
the user's cache folder; one beside the shards is read where an earlier corekit wrote it.
"""

import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from corekit.data.shards.index import Index
from corekit.data.shards.members import (
    BROKEN,
    MOST_BYTES,
    RawSample,
    member_key,
    parse_sample,
    tar_members,
)
from corekit.data.storage import Storage, retry
from corekit.errors import CorekitError
from corekit.files import cache_folder

log = logging.getLogger(__name__)

Numbers = NDArray[np.int64]
Uid = Literal["key", "json"]
Members = Mapping[str, bytes]
Merge = Callable[[Members, Members], dict[str, bytes]]
BLOCK = tarfile.BLOCKSIZE
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)  # types of headers that a file's bytes follow
GAP = 8  # samples between two wanted ones that are read along rather than by another read


def first_set_wins(image: Members, other: Members) -> dict[str, bytes]:
    """The members of both partners; of one name that of the first set."""
    return {**other, **image}


class Join:
    """Which samples of two sets belong together.

    ``counts`` has, for each shard of the first set, how many of its samples have a partner. The
    table, int64, is those counts, then for each such sample its position in its shard and its
    partner's number in the other set.

    Args:
        images: the first set.
        others: the second; of several samples with one uid, the first counts.
        uid: where the first set has its uids: in the samples' keys, or in their json member. The
            second has them as keys.
        same_shards: partners are in shards of the same name, and a key, with its folders, means
            nothing beyond its shard.
        merge: (members of a sample of the first set, its partner's) -> the joined sample's.

    Raises:
        CorekitError: not one sample has a partner.
    """

    def __init__(self, images: Index, others: Index, uid: Uid = "key", same_shards: bool = False,
                 merge: Merge = first_set_wins) -> None:
        self.images, self.others, self.merge = images, others, merge
        self.uid, self.same_shards = uid, same_shards
        decides = [images.fingerprint, others.fingerprint, uid,
                   *(["same_shards", "whole keys"] if same_shards else [])]
        digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        self._name = f"joined-{digest[:24]}.int64"
        self._kept: Numbers | None = None  # where no table could be written
        self._storage, self.counts = self._find_table() or self._make_table()
        self._starts = len(images) + 2 * np.concatenate([[0], np.cumsum(self.counts)])
        self._first_other = np.concatenate([[0], np.cumsum(others.samples)])
        self._log_counts()

    def read(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The members of both partners of neighbouring samples in one shard of the first set."""
        pairs = self._rows(int(self._starts[shard]) + 2 * first, count)
        images = _read(self.images, [(shard, position) for position in pairs[:, 0].tolist()])
        shards = np.searchsorted(self._first_other, pairs[:, 1], side="right") - 1
        positions = pairs[:, 1] - self._first_other[shards]
        others = _read(self.others, [*zip(shards.tolist(), positions.tolist())])
        return [self._together(image, other) for image, other in zip(images, others)]

    def _together(self, image: RawSample, other: RawSample) -> RawSample:
        if image.bad is not None or other.bad is not None:
            return image if image.bad is not None else other
        key, other_key = ((each.key if self.same_shards else _base(each.key))
                          for each in (image, other))
        uid = key if self.uid == "key" else _uid_in(image.members.get("json", b""))
        if uid != other_key:  # two uids with one hash, or a shard that changed behind its index
            return RawSample(image.where, image.key, {},
                             ("uid", f"its partner in {other.where} is {other.key}"))
        return RawSample(image.where, image.key, self.merge(image.members, other.members))

    def _rows(self, begin: int, count: int) -> Numbers:
        if self._storage is None:
            assert self._kept is not None
            rows = self._kept[begin:begin + 2 * count]
        else:
            rows = np.frombuffer(self._storage.read(self._name, 8 * begin, 8 * (begin + 2 * count)),
                                 dtype="<i8")
        if len(rows) < 2 * count and self._storage is not None:
            raise CorekitError(f"{self._storage.where(self._name)} is cut short: remove it, and "
                               "start again")
        return rows.reshape(count, 2)

    def _find_table(self) -> tuple[Storage, Numbers] | None:
        for storage in (self.images.storage, self.others.storage, _cache()):
            files = storage.files(self._name) if storage.is_folder() else []
            if not files:
                continue
            counts = np.frombuffer(storage.read(self._name, 0, 8 * len(self.images)), dtype="<i8")
            if files[0].size == 8 * (len(self.images) + 2 * int(counts.sum())):
                return storage, counts
        return None

    def _make_table(self) -> tuple[Storage | None, Numbers]:
        log.warning("joining the shards under %s with those under %s", self.images.storage.root,
                    self.others.storage.root)
        other_hashes, other_readable = _hashes(self.others, "key", self.same_shards)
        numbers = np.flatnonzero(other_readable)
        # of one uid, the first comes first
        numbers = numbers[np.argsort(other_hashes[numbers], kind="stable")]
        ordered = other_hashes[numbers]
        image_hashes, readable = _hashes(self.images, self.uid, self.same_shards)
        candidates = np.searchsorted(ordered, image_hashes)
        joined = np.zeros(len(image_hashes), dtype=bool)
        inside = candidates < len(ordered)
        joined[inside] = ordered[candidates[inside]] == image_hashes[inside]
        joined &= readable
        starts = np.concatenate([[0], np.cumsum(self.images.samples)])
        counts = np.array([joined[first:last].sum() for first, last in pairwise(starts)],
                          dtype=np.int64)
        positions = np.arange(len(image_hashes)) - np.repeat(starts[:-1], self.images.samples)
        pairs = np.stack([positions[joined], numbers[candidates[joined]]], 1)
        table = np.concatenate([counts, pairs.reshape(-1)]).astype("<i8")
        if not len(pairs):
            other = "json" if self.uid == "key" else "key"
            advice = "" if self.same_shards else f", or is data.dataset.uid {other}"
            raise CorekitError(f"no sample under {self.images.storage.root} has a partner of its "
                               f"uid under {self.others.storage.root}: is that the right "
                               f"folder{advice}?")
        storage = _cache()
        if storage.write(self._name, table.tobytes()):
            return storage, counts
        self._kept = table
        return None, counts

    def _log_counts(self) -> None:
        joined, images = int(self.counts.sum()), int(self.images.samples.sum())
        others = int(self.others.samples.sum())
        if joined < max(images, others):
            log.warning(f"{joined:,} samples under {self.images.storage.root} have a partner under "
                        f"{self.others.storage.root}, and are used; {images - joined:,} have none, "
                        f"and there are {others:,} partners for them all")


def _cache() -> Storage:
    return Storage(str(cache_folder() / "joins"))


def _read(index: Index, places: Sequence[tuple[int, int]]) -> list[RawSample]:
    """The samples at these (shard, position)s, in their order; neighbours by one ranged read."""
    samples = dict.fromkeys(places, RawSample("", "", {}))
    for shard, first, last in _runs(sorted(samples)):
        where = index.storage.where(index.names[shard])
        for position, (content, length) in enumerate(index.read(shard, first, last - first), first):
            if (shard, position) in samples:
                samples[shard, position] = parse_sample(where, position, content, length)
    return [samples[place] for place in places]


def _runs(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(shard, first, last + 1) of stretches of sorted places without large gaps."""
    first = 0
    for index in range(1, len(places) + 1):
        shard, last = places[index - 1]
        if index == len(places) or places[index][0] != shard or places[index][1] - last > GAP:
            yield shard, places[first][1], last + 1
            first = index


def _hashes(index: Index, uid: Uid,
            with_shard: bool) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """64 bits of every sample's uid, and whether it could be read."""
    hashes = np.zeros(int(index.samples.sum()), dtype=np.uint64)
    readable = np.zeros(len(hashes), dtype=bool)
    sample = 0
    for shard in range(len(index)):
        prefix = f"{index.names[shard]}/" if with_shard else ""
        for name in _uids(index, shard, uid, with_shard):
            if name is not None:
                full_name = (prefix + name).encode("utf-8", "surrogateescape")
                digest = hashlib.blake2b(full_name, digest_size=8).digest()
                hashes[sample], readable[sample] = int.from_bytes(digest, "little"), True
            sample += 1
    return hashes, readable


def _uids(index: Index, shard: int, uid: Uid, with_folders: bool) -> list[str | None]:
    def once() -> list[str | None]:
        with index.storage.open(index.names[shard]) as file:
            return [_uid_at(file, begin, end, uid, with_folders)
                    for begin, end in pairwise(index.offsets(shard).tolist())]

    return retry(once, index.storage.where(index.names[shard]), index.storage.failures)


def _uid_at(file: IO[bytes], begin: int, end: int, uid: Uid, with_folders: bool) -> str | None:
    """The uid of a sample, or None, read from the headers and json of its stretch of a tar file."""
    offset = begin
    try:
        while offset < end:
            file.seek(offset)
            header = tarfile.TarInfo.frombuf(file.read(BLOCK), "utf-8", "surrogateescape")
            if header.type not in PLAIN:  # long names and the like: the whole stretch
                if end - begin > MOST_BYTES:
                    return None
                file.seek(begin)
                members = [(name, io.BytesIO(data), len(data))
                           for name, data in tar_members(file.read(end - begin))]
            else:
                members = [(header.name, file, header.size)]  # type: ignore[list-item]
            for name, content, size in members:
                key, extension = member_key(name)
                if uid == "key":
                    return key if with_folders else _base(key)
                if extension == "json":
                    return _uid_in(content.read(min(size, MOST_BYTES, end - offset)))
            if header.type not in PLAIN or header.size < 0:
                return None
            offset += BLOCK + header.size + -header.size % BLOCK
    except BROKEN:
        return None
    return None


def _uid_in(content: bytes) -> str | None:
    try:
        value = json.loads(content)["uid"]
        value.encode()  # half a character is none
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _base(key: str) -> str:
    return key.rpartition("/")[2]
