"""The detection evaluator on drawn scenes, and on sets with crowds, empty pictures, many boxes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from corekit.evaluation.detection.detection import Detection
from tests.evaluation.known import eval_model, on_ranks

PREPROCESS = Preprocess(64, "bilinear", (0, 0, 0), (1, 1, 1))
Found = dict[str, Tensor]


class Oracle(nn.Module):
    """Knows what is in the pictures of a data set, in the order in which one rank sees them."""

    def __init__(self, scenes: list[dict[str, Any]], scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.by_pixels = {self._key(np.asarray(scene["image"])): scene for scene in scenes}

    @staticmethod
    def _key(pixels: Any) -> int:
        return int(np.asarray(pixels, dtype=np.int64).sum())

    def detect(self, image: Tensor) -> list[Found]:
        return [self._detected(each) for each in (image * 255).round()]

    def _detected(self, image: Tensor) -> Found:
        scene = self.by_pixels.get(self._key(image))
        boxes = torch.as_tensor(scene["boxes"] if scene else np.zeros((0, 4)))
        labels = torch.as_tensor(scene["box_labels"] if scene else [], dtype=torch.int64)
        return {"boxes": boxes, "labels": labels, "scores": torch.linspace(0.9, 0.5, len(boxes)),
                "masks": torch.ones(len(boxes), 28, 28)}


def scenes_model(**arguments: Any) -> tuple[OpenMoji, EvalModel]:
    dataset = OpenMoji(samples=13, annotations=True, split="validation", concepts=5, **arguments)
    scenes = [dataset.decode(handle) for handle in dataset.read(0, 0, 13)]
    model = eval_model(Oracle(scenes))
    return dataset, EvalModel(**{**vars(model), "preprocess": PREPROCESS})


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_true_boxes_are_right_and_their_full_masks_are_not(ranks: int) -> None:
    dataset, model = scenes_model()
    results = on_ranks(Detection(dataset, PREPROCESS, batch_size=3), model, ranks)
    metrics = results[0].metrics
    assert all(result.metrics == metrics and result.samples == 13 for result in results)
    assert metrics["box_ap"] == metrics["box_ap75"] == metrics["box_ar100"] == pytest.approx(1)
    assert 0 < metrics["mask_ap"] < 0.9
    assert "box_ap_large" not in metrics  # no scene of 64 pixels has such an object
    by_class = results[0].details["by_class"]
    assert isinstance(by_class, dict)
    assert set(by_class) <= set(dataset.class_names)
