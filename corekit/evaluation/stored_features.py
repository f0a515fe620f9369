"""Features of a data set's images, kept in a folder, so that a second evaluation sees no picture.

They are kept under a hash of all that decides them: weights, preprocessing, precision, data. Each
rank writes the features of its own chunks; the folder gets its name when all of them are done.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info, declared
from corekit.data.fields import find_fields
from corekit.data.loading.eval_loader import Chunk
from corekit.evaluation.base import EvalModel
from corekit.files import WRITING, publish, remove

FORMAT = 1  # of what is kept
log = logging.getLogger(__name__)


def identity(eval_model: EvalModel) -> dict[str, object]:
    """What decides a model's features, as JSON."""
    return {"format": FORMAT, "weights": eval_model.fingerprint,
            "preprocess": asdict(eval_model.preprocess), "precision": eval_model.precision}


def digest(values: object) -> str:
    """A hash of values that are JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


class StoredFeatures:
    """The kept features of one data set by one model; whole, or not there."""

    def __init__(self, eval_model: EvalModel, source: Source, output: str | None) -> None:
        assert eval_model.features is not None
        self.eval_model, self.total = eval_model, int(source.shard_sizes.sum())
        self.names = [name for name in declared(source.fields) if name != "image"]
        of = {"data": data_version(source), "fields": self.names, "output": output}
        self.folder = eval_model.features / digest({**identity(eval_model), **of})

    @staticmethod
    def are_kept(eval_model: EvalModel, source: Source, output: str | None) -> bool:
        """Whether there is a folder for them: tokens, and places in pictures, are not kept."""
        fields = find_fields(source.fields)
        has_places = any(field.geometry for name, field in fields.items() if name != "image")
        return eval_model.features is not None and output != "tokens" and not has_places

    def is_complete(self) -> bool:
        """Whether every rank sees them."""
        return self.eval_model.all_agree(self.folder.is_dir())

    @contextmanager
    def writing(self) -> Iterator["Writer | None"]:
        """What this rank's chunks are added to; the folder is there at the end of the block.

        None: the ranks have not one disk in common, and nothing is kept.
        """
        model, temporary = self.eval_model, self.folder.with_name(f".{self.folder.name}{WRITING}")
        if model.rank == 0:
            remove(temporary)  # left by a process that was killed
            temporary.mkdir(parents=True)
        model.all_agree(True)
        try:
            if not model.all_agree(temporary.is_dir()):
                log.warning("%s is not on a disk that all ranks share: no features are kept",
                            self.folder.parent)
                yield None
                return
            with (open(temporary / f"rank_{model.rank}.jsonl", "w", encoding="utf-8") as samples,
                  open(temporary / f"rank_{model.rank}.float32", "wb") as features):
                yield Writer(samples, features, self.names)
            model.all_agree(True)  # every rank is done
            if model.rank == 0:
                publish(temporary, self.folder)
        finally:
            if model.rank == 0:
                remove(temporary)
        model.all_agree(True)  # the folder has its name

    def read(self, batch_size: int) -> Iterator[tuple[Chunk, Tensor]]:
        """This rank's chunks, as ``chunks`` gives them but without images, with their features."""
        parts = [Part(path) for path in sorted(self.folder.glob("*.jsonl"))]
        part = np.concatenate([np.full(len(each.position), number)
                               for number, each in enumerate(parts)])
        row = np.concatenate([np.arange(len(each.position)) for each in parts])
        position = np.concatenate([each.position for each in parts])
        order = np.argsort(position, kind="stable")
        part, row, position = part[order], row[order], position[order]
        step = batch_size * self.eval_model.world
        for turn in range(-(-self.total // step)):
            first = turn * step + self.eval_model.rank * batch_size
            low, high = np.searchsorted(position, [first, first + batch_size])
            of_part, of_row = part[low:high], row[low:high]
            samples = [parts[number].samples[place] for number, place in zip(of_part, of_row)]
            chunk: Chunk = {name: [sample[name] for sample in samples]
                            for name in ["key", *self.names]}
            chunk |= {"position": position[low:high].tolist(), "left_out": 0, "problem": None,
                      "image": torch.empty(0, 3, 0, 0, dtype=torch.uint8)}
            features = np.empty((high - low, *parts[0].features.shape[1:]), dtype=np.float32)
            for number in np.unique(of_part):
                features[of_part == number] = parts[number].features[of_row[of_part == number]]
            yield chunk, torch.from_numpy(features).to(self.eval_model.device)


def are_stored(eval_model: EvalModel, source: Source, output: str | None = None) -> bool:
    """Whether all ranks find the features of a data set, so that no picture of it is read."""
    return (StoredFeatures.are_kept(eval_model, source, output)
            and StoredFeatures(eval_model, source, output).is_complete())


class Writer:
    """Writes the features of one rank's chunks as they come."""

    def __init__(self, samples: IO[str], features: IO[bytes], names: Sequence[str]) -> None:
        self.samples, self.features, self.names = samples, features, names
        self.is_empty = True

    def add(self, chunk: Chunk, features: Tensor) -> None:
        """The samples of a chunk, without their images."""
        if self.is_empty:
            self.samples.write(json.dumps({"shape": list(features.shape[1:])}) + "\n")
            self.is_empty = False
        for place, (position, key) in enumerate(zip(chunk["position"], chunk["key"])):
            values = {name: _plain(chunk[name][place]) for name in self.names}
            line = {"position": position, "key": key, **values}
            self.samples.write(json.dumps(line) + "\n")
        self.features.write(features.cpu().float().contiguous().numpy().tobytes())


class Part:
    """What one rank wrote."""

    def __init__(self, path: Path) -> None:
        with open(path, encoding="utf-8") as lines:
            shape = json.loads(lines.readline())["shape"]
            self.samples = [json.loads(line) for line in lines]
        self.position = np.array([sample["position"] for sample in self.samples], dtype=np.int64)
        self.features: NDArray[np.float32] = np.empty((0, *shape), dtype=np.float32)
        if self.samples:
            self.features = np.memmap(path.with_suffix(".float32"), np.float32, "r",
                                      shape=(len(self.samples), *shape))


def data_version(source: Source) -> str:
    """Another string wherever the samples, or when their files were written, are others."""
    return dataset_info(source).version or source.fingerprint


def _plain(value: object) -> object:
    """A field's value as JSON."""
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return value.tolist()
    return value
