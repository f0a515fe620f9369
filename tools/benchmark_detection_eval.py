"""Time and memory of evaluating detection beyond the model, on pictures of COCO's size and number.

    python tools/benchmark_detection_eval.py [--pictures 5000] [--detections 100]

The evaluator runs as in training, with a model that gives ``--detections`` objects with masks for
each picture in no time. What it takes, from reading to COCO's 24 figures, is set against the
forward passes of ``--model`` at ``--size`` pixels, of which some are timed in the same process
between pictures. Memory is what the process grows by from the first pictures on. Exits with 0 where
the evaluation takes at most ``--limit`` times as long as the forward passes alone, and grows by at
most ``--limit-gigabytes``.
"""

import argparse
import contextlib
import sys
import time
from typing import Any

import numpy as np
import timing
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import corekit
from corekit.data.datasets.base import Sample
from corekit.data.outlines import Outlines
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from corekit.evaluation.detection.detection import Detection
from corekit.train.logger import peak_memory

SIZE, CLASSES, OBJECTS = (480, 640), 80, 7
FEW, EVERY = 16, 2500  # pictures before memory is counted; calls between two timed passes


class Pictures:
    """Grey pictures, each with some boxes and polygons."""

    fields = ("image", "boxes", "box_labels", "masks", "iscrowd")
    fingerprint = ""

    def __init__(self, count: int) -> None:
        self.shard_sizes = np.array([count])
        self.class_names = [str(number) for number in range(CLASSES)]
        self.image = Image.new("RGB", SIZE[::-1], "grey")

    def read(self, shard: int, first: int, count: int) -> list[int]:
        """The numbers of pictures."""
        return list(range(first, first + count))

    def decode(self, handle: int) -> Sample:
        """The picture of that number."""
        boxes = boxes_of(handle, OBJECTS)
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        labels = np.random.default_rng(handle).integers(0, CLASSES, OBJECTS)
        return {"key": str(handle), "image": self.image, "boxes": boxes, "box_labels": labels,
                "masks": Outlines.of([[each] for each in corners], *SIZE),
                "iscrowd": np.zeros(OBJECTS, dtype=np.uint8)}


class Detector(nn.Module):
    """Gives detections in no time, and lets another model run once in a while."""

    def __init__(self, count: int, size: int, model: nn.Module, device: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(count, 1, 5, 5, generator=generator)
        self.masks = F.interpolate(coarse, (28, 28), mode="bicubic")[:, 0].clamp(0, 1).to(device)
        self.scores = torch.rand(count, generator=generator).sort(descending=True)[0].to(device)
        self.labels = torch.randint(0, CLASSES, (count,), generator=generator).to(device)
        self.scale, self.count, self.calls = size / max(SIZE), count, 0
        self.model: Any = [model]  # no part of this one
        self.image = torch.rand(1, 3, size, size, device=device)
        self.forward_seconds: list[float] = []

    def detect(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Objects at random places, some of them nearly where there are any."""
        if self.calls % EVERY == 0:
            self.forward_seconds.append(timing.seconds_of(
                lambda: self.model[0].detect(self.image), image.device))
        first = self.calls
        self.calls += len(image)
        return [{"boxes": self._boxes(first + number).to(image.device), "scores": self.scores,
                 "labels": self.labels, "masks": self.masks} for number in range(len(image))]

    def _boxes(self, number: int) -> Tensor:
        near = boxes_of(number, OBJECTS) + np.random.default_rng(-number - 1 + 2**32).normal(
            0, 4, (OBJECTS, 4))
        others = boxes_of(number + 2**31, self.count)
        others[:len(near)] = near[:self.count]
        return torch.from_numpy(self.scale * others).float()


def boxes_of(seed: int, count: int) -> NDArray[np.float64]:
    """Boxes of all sizes in a picture, x1 y1 x2 y2."""
    random = np.random.default_rng(seed)
    height, width = SIZE
    corner = random.uniform(0, 0.8, (count, 2)) * (width, height)
    sides = 8 + random.uniform(0, 0.7, (count, 2))**2 * (width, height)
    return np.concatenate([corner, (corner + sides).clip(max=(width, height))], 1)


def evaluate(count: int, model: Detector, args: argparse.Namespace) -> tuple[float, int]:
    """Seconds of an evaluation, without the timed passes, and the peak memory after it."""
    preprocess = Preprocess(args.size, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    eval_model = EvalModel(model, preprocess, None, torch.device(args.device),
                           contextlib.nullcontext, workers=args.workers)
    model.calls, model.forward_seconds = 0, []
    began = time.perf_counter()
    result = Detection(Pictures(count), preprocess)(eval_model)
    assert len(result.metrics) == 24
    seconds = time.perf_counter() - began - sum(model.forward_seconds)
    return seconds, peak_memory(torch.device("cpu"))


def main() -> int:
    options = timing.parser(__doc__, pictures=5000, detections=100, size=1024, workers=1,
                            limit=1.2, limit_gigabytes=1.0)
    options.add_argument("--model", default="catlip_mask_rcnn_b16")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = options.parse_args()
    torch.manual_seed(0)
    forward = corekit.create_model(args.model).to(args.device).eval()
    model = Detector(args.detections, args.size, forward, args.device)
    _, before = evaluate(FEW, model, args)
    seconds, after = evaluate(args.pictures, model, args)
    passes = sorted(model.forward_seconds)[len(model.forward_seconds) // 2] * args.pictures
    ratio, grown = (passes + seconds) / passes, (after - before) / 2**30
    print(f"{args.pictures:,} pictures x {args.detections} detections with masks: {seconds:.0f} s "
          f"beyond the model ({1000 * seconds / args.pictures:.1f} ms each), {grown:.2f} GB\n"
          f"{args.model} at {args.size} px on {args.device}: {passes:.0f} s of forward passes "
          f"({1000 * passes / args.pictures:.0f} ms each, median of {len(model.forward_seconds)})\n"
          f"all in all {ratio:.2f} x the forward passes")
    return 0 if ratio <= args.limit and grown <= args.limit_gigabytes else 1


if __name__ == "__main__":
    sys.exit(main())
