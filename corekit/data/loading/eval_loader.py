"""The loader of evaluations: every sample of a source once, in chunks."""

import logging
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from corekit.data.datasets.base import LEFT_OUT, BadSampleError, Batch, Sample, Source
from corekit.data.fields import find_fields
from corekit.data.loading.collate import stack
from corekit.data.loading.data_processes import DataProcesses
from corekit.data.loading.read_ahead import ReadAhead
from corekit.data.loading.whole_picture import WholePicture
from corekit.data.transforms.base import Transform
from corekit.data.transforms.geometric import CenterCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError

Chunk = Batch
log = logging.getLogger(__name__)


class _Chunks(IterableDataset[Chunk]):
    def __init__(self, source: Source, preprocess: Preprocess, size: int, rank: int,
                 world: int, resize: WholePicture | None) -> None:
        self.resize = resize
        self.source, self.preprocess, self.size = source, preprocess, size
        self.rank, self.world = rank, world
        self.fields, self.crop = find_fields(source.fields), Transform.of(CenterCrop(preprocess))
        self.names = ["key", "position", *self.fields, *(["size"] if resize else [])]
        self.starts = np.concatenate([[0], np.cumsum(source.shard_sizes)])

    def __iter__(self) -> Iterator[Chunk]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        total = int(self.starts[-1])
        rounds = -(-total // (self.size * self.world))  # of all ranks: some may have no last chunk
        for turn in range(rounds)[number::workers]:
            first = (turn * self.world + self.rank) * self.size
            try:
                yield self._chunk(min(total, first), min(total, first + self.size))
            except (CorekitError, OSError) as error:  # the process that evaluates raises it
                yield {"error": str(error)}

    def _chunk(self, first: int, last: int) -> Chunk:
        samples: list[Batch] = []
        left_out, problem = 0, None
        while first < last:
            shard = int(np.searchsorted(self.starts, first, side="right")) - 1
            count = min(last, int(self.starts[shard + 1])) - first
            handles = self.source.read(shard, first - int(self.starts[shard]), count)
            for position, handle in enumerate(handles, first):
                try:
                    sample = self._prepared(self.source.decode(handle))
                    samples.append({**sample, "position": position})
                except BadSampleError as error:
                    if error.kind == LEFT_OUT:
                        left_out += 1
                    else:
                        problem = problem or error.message
            first += count
        chunk: Chunk = {name: [sample[name] for sample in samples]
                        for name in self.names}
        if "image" in self.fields:
            side = self.preprocess.size if self.resize is None else self.resize.size
            empty = torch.empty(0, 3, side, side, dtype=torch.uint8)
            chunk["image"] = stack(chunk["image"]) if samples else empty
        return {**chunk, "left_out": left_out, "problem": problem}

    def _prepared(self, sample: Sample) -> Sample:
        """The sample with the picture as the model sees it."""
        if self.resize is None:
            return self.crop(sample, self.fields)
        image: Image.Image = sample["image"]
        return {**sample, "image": self.resize(image), "size": (image.height, image.width)}


def chunks(source: Source, preprocess: Preprocess, size: int, rank: int = 0, world: int = 1,
           workers: int = 0, resize: WholePicture | None = None,
           ahead: ReadAhead | None = None) -> Iterator[Chunk]:
    """This rank's chunks of all samples, each once.

    A chunk has ``image`` uint8 [n, 3, H, W], other fields as lists (``pictures``, too, each
    sample's a list of uint8 [t, 3, size, size]), ``position``, where each sample stands in the
    source, ``left_out``, how many the source leaves out of its own accord, and ``problem``,
    what is wrong with the first that cannot be read, which is logged once. What it holds depends on
    ``size`` alone, so figures are the same for any number of ranks and workers. All ranks get the
    same number of chunks, some of which may hold no sample.

    With ``resize`` pictures are resized by it and not cut, and listed where their shapes differ.
    Other fields stay as the source gives them, in pixels of the picture itself, whose ``size``
    (height, width) stands beside them. With ``ahead`` the source that it names next is begun, too.

    Raises:
        CorekitError: the data cannot be read.
    """
    def begin(each: Source) -> DataProcesses[Chunk]:
        return DataProcesses(_Chunks(each, preprocess, size, rank, world, resize), workers)

    with closing(ahead.take(source, begin) if ahead and workers else begin(source)) as parts:
        problems = 0
        for chunk in parts:
            if "error" in chunk:
                raise CorekitError(chunk["error"])
            if chunk["problem"] is not None and not problems:
                log.warning("%s; other samples that cannot be read are counted", chunk["problem"])
            problems += chunk["problem"] is not None
            yield chunk
