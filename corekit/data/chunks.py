"""Every sample of a source once, in chunks: what evaluations read."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from corekit.data.preprocess import Preprocess
from corekit.data.source import BadSampleError, Source

Chunk = dict[str, Any]


class _Chunks(IterableDataset[Chunk]):
    def __init__(self, source: Source, preprocess: Preprocess, size: int, rank: int, world: int) -> None:
        self.source, self.preprocess, self.size, self.rank, self.world = source, preprocess, size, rank, world
        self.starts = np.concatenate([[0], np.cumsum(source.shard_sizes)])

    def __iter__(self) -> Iterator[Chunk]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        chunks = range(self.rank, -(-int(self.starts[-1]) // self.size), self.world)
        for chunk in chunks[number::workers]:
            yield self._chunk(chunk * self.size, min(int(self.starts[-1]), (chunk + 1) * self.size))

    def _chunk(self, first: int, last: int) -> Chunk:
        samples, bad = [], 0
        while first < last:
            shard = int(np.searchsorted(self.starts, first, side="right")) - 1
            count = min(last, int(self.starts[shard + 1])) - first
            for handle in self.source.read(shard, first - int(self.starts[shard]), count):
                try:
                    sample = self.source.decode(handle)
                    sample["image"] = self.preprocess.crop(sample["image"])  # where a picture may turn out to be bad
                except BadSampleError:
                    bad += 1
                    continue
                samples.append(sample)
            first += count
        chunk: Chunk = {name: [sample[name] for sample in samples] for name in (samples[0] if samples else ())}
        if samples:
            chunk["image"] = torch.stack(chunk["image"])
        return {**chunk, "bad": bad}


def chunks(source: Source, preprocess: Preprocess, size: int, rank: int = 0, world: int = 1,
           workers: int = 0) -> Iterator[Chunk]:
    """This rank's chunks: ``image`` uint8 [n, 3, H, W], other fields as lists, ``bad`` the undecodable ones left out.

    What a chunk holds depends on ``size`` alone, so figures are the same for any number of ranks and workers.
    """
    return iter(DataLoader(_Chunks(source, preprocess, size, rank, world), batch_size=None, num_workers=workers))
