"""Shards beside drawn scenes: what two teachers say of every scene, and its labels."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

import numpy as np

from tests.data.loading.test_loader import add

SAMPLES = 48
KEYS = [f"train_0_{number:08d}" for number in range(SAMPLES)]  # as openmoji names its scenes
SCENES = ["corekit", "data", "openmoji", "scenes", "--samples", str(SAMPLES), "--size", "72",
          "--objects", "1", "2"]
SHARD = "000000.tar"
AUGMENTATIONS, CAPTIONS, WIDTH, CLASSES = 4, 3, 12, 10
VOCABULARY = Path(__file__).parents[2] / "projects" / "catlip" / "vocabularies" / "openmoji.tsv"
Members = Mapping[str, bytes]


def write_beside(folder: Path) -> None:
    """Write ``reinforcements`` and ``labels`` of the scenes, beside these: always the same."""
    write(folder / "reinforcements", ((key, reinforcement(key)) for key in KEYS))
    write(folder / "labels", ((key, {"rows.npy": npy(label_rows(key))}) for key in KEYS))
    synsets = [line.split("\t")[0] for line in VOCABULARY.read_text().splitlines()[1:1 + CLASSES]]
    fingerprint = hashlib.sha256("\n".join(synsets).encode()).hexdigest()
    (folder / "labels" / "manifest.json").write_text(json.dumps(
        {"fingerprint": "", "samples": SAMPLES, "shards": [],
         "made_by": {"vocabulary": fingerprint}}))


def write(folder: Path, samples: Iterable[tuple[str, Members]]) -> None:
    folder.mkdir()
    with tarfile.open(folder / SHARD, "w") as archive:
        for key, members in samples:
            for extension, content in members.items():
                add(archive, f"{key}.{extension}", content)


def reinforcement(key: str) -> dict[str, bytes]:
    """Stored as DataCompDR has it: crops, brightness and contrast, captions, rows of numbers."""
    draw = Random(key)
    crops = [[draw.randrange(20), draw.randrange(20), 40, 50] for _ in range(AUGMENTATIONS)]
    augmentations = [[crop, [[6, draw.uniform(-0.5, 0.5)], [8, 0.3]]] for crop in crops]
    captions = [f"scene {key} again, {number}" for number in range(CAPTIONS)]
    buffer = io.BytesIO()
    np.savez(buffer, image_emb=rows(draw, AUGMENTATIONS), text_emb=rows(draw, 1 + CAPTIONS))
    return {"paug.json": json.dumps({"param_aug": augmentations}).encode(),
            "syn.json": json.dumps({"syn_text": captions}).encode(), "npz": buffer.getvalue()}


def rows(draw: Random, count: int) -> np.ndarray:
    """float32 [count, WIDTH], in eighths, which every format holds exactly."""
    eighths = [[draw.randrange(-16, 17) / 8 for _ in range(WIDTH)] for _ in range(count)]
    return np.array(eighths, dtype=np.float32)


def label_rows(key: str) -> np.ndarray:
    """int32 [n], ascending: none, one or several."""
    draw = Random(f"labels of {key}")
    return np.array(sorted(draw.sample(range(CLASSES), draw.randrange(4))), dtype=np.int32)


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
