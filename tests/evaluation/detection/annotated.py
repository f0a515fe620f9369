"""Pictures with random objects: crowds, nothing at all, more detections than count."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from tests.evaluation.known import eval_model

SIDE, CLASSES, PICTURES = 160, 3, 11
MANY = 4  # the picture with more than 100 detections
PREPROCESS = Preprocess(SIDE, "bilinear", (0, 0, 0), (1, 1, 1))


class Annotated:
    """Pictures whose colour is their number; every third one is empty."""

    def __init__(self) -> None:
        self.fields = ("image", "boxes", "box_labels", "iscrowd", "areas", "masks")
        self.shard_sizes = np.array([PICTURES])
        self.fingerprint, self.name = "", "annotated"
        self.class_names = [f"class {number}" for number in range(CLASSES)]

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def decode(self, handle: int) -> dict[str, Any]:
        random = np.random.default_rng(handle)
        size = (SIDE, SIDE - 8 * handle)
        count = 0 if handle % 3 == 0 else int(random.integers(1, 9))
        boxes = random_boxes(random, count, size)
        masks = np.zeros((count, *size), dtype=np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int)):
            mask[top:bottom, left:right] = 1
        return {"key": f"{handle:03d}", "image": Image.new("RGB", size[::-1], (handle, 0, 0)),
                "boxes": boxes, "masks": masks,
                "box_labels": random.integers(0, CLASSES, count),
                "iscrowd": (random.random(count) < 0.3).astype(np.uint8),
                "areas": random.choice([500.0, 5000.0, 50000.0], count)}


class Guesses(nn.Module):
    """Random detections near the true boxes and elsewhere."""

    def detect(self, image: Tensor) -> list[dict[str, Tensor]]:
        return [self._of(round(float(each[0, 0, 0]) * 255)) for each in image]

    def _of(self, number: int) -> dict[str, Tensor]:
        random, truth = np.random.default_rng(1000 + number), Annotated().decode(number)
        copies = 60 if number == MANY else 3
        near = np.repeat(truth["boxes"], copies, 0)
        near = near + random.normal(0, 3, near.shape)
        boxes = np.concatenate([near, random_boxes(random, 5, (SIDE, SIDE))])
        labels = np.concatenate([np.repeat(truth["box_labels"], copies),
                                 random.integers(0, CLASSES, 5)])
        scores = random.choice(np.linspace(0, 1, 50), len(boxes))  # many are alike
        return {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels),
                "scores": torch.tensor(scores, dtype=torch.float32),
                "masks": torch.tensor(random.random((len(boxes), 28, 28)) ** 0.3)}


def random_boxes(random: np.random.Generator, count: int, size: tuple[int, int]
                 ) -> NDArray[np.float64]:
    corner = random.uniform(0, 0.6, (count, 2)) * size[::-1]
    return np.concatenate([corner, corner + random.uniform(0.1, 0.4, (count, 2)) * size[::-1]], 1)


def guesses_model() -> EvalModel:
    return EvalModel(**{**vars(eval_model(Guesses())), "preprocess": PREPROCESS})
