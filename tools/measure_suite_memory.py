"""Peak memory of an evaluation beyond the model: retrieval, and classification of two sizes.

    python tools/measure_suite_memory.py [--images 5000] [--captions 25010] [--width 512]

Features are random and kept as a model's would be; pictures are numbers drawn in 2 x 2 pixels,
so that what is measured is the evaluation. Each figure is of a process of its own: its peak minus
what it holds when data and model are there.
"""

import argparse
import contextlib
import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from corekit.evaluation.classification.predictions import zero_shot_predictions
from corekit.evaluation.retrieval.ranks import retrieval_ranks
from corekit.evaluation.text_features import TextFeatures

BLOCK = 2048


class Drawn:
    """Pictures that hold their number, with a label and some captions each."""

    fields = ("image", "label", "text")
    fingerprint = "drawn"

    def __init__(self, images: int, captions: int) -> None:
        self.shard_sizes = np.full(1, images)
        self.first = np.linspace(0, captions, images + 1).astype(int)

    def read(self, shard: int, first: int, count: int) -> Sequence[int]:
        return range(first, first + count)

    def decode(self, handle: int) -> dict[str, Any]:
        number = handle % 65_536
        image = Image.new("RGB", (2, 2), (number % 256, number // 256, 0))
        captions = range(self.first[handle], self.first[handle + 1])
        return {"key": str(handle), "image": image, "label": handle % 1000,
                "text": "\n".join(map(str, captions))}


class RandomFeatures(nn.Module):
    """Features that a number decides, by one small table."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Buffer(torch.randn(997, width))

    def encode_image(self, image: Tensor) -> Tensor:
        number = (image[:, :2, 0, 0] * 255).round().long() @ torch.tensor([1, 256])
        return self.table[number % 997] + 0.01 * self.table[number % 991]

    def encode_text(self, text: Tensor) -> Tensor:
        return self.table[text[:, 0] % 983] + 0.01 * self.table[text[:, 0] % 977]


def tokenize(sentences: Sequence[str]) -> Tensor:
    return torch.tensor([[int(sentence)] for sentence in sentences])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=25_010)
    parser.add_argument("--width", type=int, default=512)
    args = parser.parse_args()
    print(f"retrieval, {args.images:,} images x {args.captions:,} captions, {args.width} wide: "
          f"{in_process(retrieve, args.images, args.captions, args.width):.0f} MiB")
    for count in (args.images, 8 * args.images):
        print(f"classification, {count:,} images, 1,000 classes: "
              f"{in_process(classify, count, count, args.width):.0f} MiB")


def in_process(measured: Callable[[Drawn, EvalModel], object], *sizes: int) -> float:
    """MiB that an evaluation needs at its peak, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (measured, *sizes))


def _peak(measured: Callable[[Drawn, EvalModel], object], images: int, captions: int,
          width: int) -> float:
    data = Drawn(images, captions)
    model = EvalModel(RandomFeatures(width).eval(), Preprocess(2, "bilinear", (0, 0, 0), (1, 1, 1)),
                      tokenize, torch.device("cpu"), contextlib.nullcontext)
    measured(Drawn(8, 8), model)  # what is loaded once
    with tempfile.TemporaryDirectory() as folder:
        kept = EvalModel(**{**vars(model), "fingerprint": "random", "features": Path(folder)})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        measured(data, kept)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def retrieve(data: Drawn, model: EvalModel) -> object:
    return retrieval_ranks(model, data, TextFeatures(model), 256, BLOCK)


def classify(data: Drawn, model: EvalModel) -> object:
    names = [str(number) for number in range(1000)]
    return zero_shot_predictions(model, data, names, ["{}", "1{}"], TextFeatures(model), 256)


if __name__ == "__main__":
    main()
