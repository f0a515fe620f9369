"""Reinforced shards of every layout, whose numbers say which sample, augmentation and caption they
belong to.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from tests.data.loading.test_loader import add, jpeg

AUGMENTATIONS, CAPTIONS, WIDTH = 4, 3, 6
Members = dict[str, bytes]


def uid_of(number: int) -> str:
    """32 hexadecimal digits, as DataComp has them."""
    return hashlib.md5(str(number).encode()).hexdigest()


def rows(number: int, kind: int, count: int, width: int = WIDTH) -> np.ndarray:
    """float32 [count, width]: row i begins with (number, kind, i); all are exact in bfloat16."""
    table = np.zeros((count, width), dtype=np.float32)
    table[:, 0], table[:, 1], table[:, 2] = number, kind, np.arange(count)
    return table


def npz(arrays: dict[str, np.ndarray], save=np.savez) -> bytes:  # type: ignore[no-untyped-def]
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def pth(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return gzip.compress(buffer.getvalue())


def picture_members(number: int) -> Members:
    return {
        "jpg": jpeg(number), "txt": f"picture {number}".encode(),
        "json": json.dumps({"uid": uid_of(number)}).encode()
    }


def embeddings(number: int, version: int, width: int = WIDTH,
               captioners: tuple[str, ...] = ("syn_text",)) -> dict[str, np.ndarray]:
    """Kind 0: augmentations, 1: the real caption, 2: synthetic captions."""
    image, real, synthetic = (rows(number, kind, count, width)
                              for kind, count in enumerate((AUGMENTATIONS, 1, CAPTIONS)))
    if version == 1:
        return {"image_emb": image, "text_emb": np.concatenate([real, synthetic])}
    return {
        "image_emb": image, "text_emb": real, **{f"{name}_emb": synthetic for name in captioners}
    }


def reinforcement_members(
    number: int, version: int = 1, packed: str = "npz", as_string: bool = False, width: int = WIDTH,
    captioners: tuple[str, ...] = ("syn_text", )) -> Members:
    """What DataCompDR has of one sample; the picture is 48 x 40 pixels, and the crop's top says
    which augmentation it is.
    """
    augmentations = [[[index, 0, 20, 24], [[5, 10.0], [1, -0.3]]] for index in range(AUGMENTATIONS)]
    arrays = embeddings(number, version, width, captioners)
    captions = [f"caption {index} of {number}" for index in range(CAPTIONS)]
    contents = {
        "json": {"uid": uid_of(number), "sha256": ""},
        "syn.json": dict.fromkeys(captioners, captions),
        "paug.json": {"param_aug": json.dumps(augmentations) if as_string else augmentations},
    }
    tensors = {name: torch.from_numpy(value).bfloat16() for name, value in arrays.items()}
    return {**{name: json.dumps(content).encode() for name, content in contents.items()},
            packed: npz(arrays) if packed == "npz" else pth(tensors)}


def write_tar(path: Path, samples: Iterable[tuple[str, Members]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, members in samples:
            for extension, content in members.items():
                add(archive, f"{key}.{extension}", content)


def write_apart(folder: Path, numbers: list[list[int]], theirs: list[list[int]], keys: str = "uid",
                **layout: object) -> None:
    """Pictures in ``images``, and in ``reinforcements`` what belongs to them, each in shards of
    their own.
    """
    for shard, held in enumerate(numbers):
        uids = [uid_of(number) if keys == "uid" else f"{shard:05d}{index:04d}"
                for index, number in enumerate(held)]
        write_tar(folder / "images" / f"{shard:05d}.tar",
                  ((uid, picture_members(number)) for uid, number in zip(uids, held)))
    for shard, held in enumerate(theirs):
        write_tar(folder / "reinforcements" / f"{shard:05d}.tar",
                  ((uid_of(number), reinforcement_members(number, **layout))
                   for number in held))  # type: ignore[arg-type]


def write_together(folder: Path, numbers: list[list[int]], **layout: object) -> None:
    for shard, held in enumerate(numbers):
        write_tar(folder / f"{shard:05d}.tar", ((uid_of(number), {
            **reinforcement_members(number, **layout), **picture_members(number)
        })  # type: ignore[arg-type]
                                                for number in held))
