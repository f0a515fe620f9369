"""What the kinds of models say of one picture, as JSON and drawn on it."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from corekit.data.drawing import draw_classes, draw_lines
from corekit.data.image_grid import Picture
from corekit.data.loading.whole_picture import Size, WholePicture
from corekit.evaluation.base import EvalModel
from corekit.evaluation.detection.drawn import draw_annotations, together
from corekit.evaluation.detection.objects import Paste, found_objects
from corekit.evaluation.features import encode_pixels, encode_text
from corekit.evaluation.metrics.ties import best_classes
from corekit.evaluation.segmentation.logits import picture_logits
from corekit.linear_output import dense
from corekit.models.clip import MAX_LOGIT_SCALE

BEST = 5  # classes that are named
MOST_PIXELS = 2**20  # at which classes of pixels are computed; more are filled in


@dataclass(frozen=True)
class Prediction:
    """What a model says of a picture."""

    content: dict[str, Any]  # as JSON
    drawn: Picture
    files: dict[str, bytes] = field(default_factory=dict)  # beside them, by suffix


class Predictor(Protocol):
    """Says something of one RGB picture."""

    def __call__(self, image: Image.Image) -> Prediction: ...


@dataclass(frozen=True)
class Objects:
    """Boxes, masks and classes, by a model's ``detect``."""

    eval_model: EvalModel
    resize: WholePicture
    names: Sequence[str]
    threshold: float
    paste: Paste = "own"

    def __call__(self, image: Image.Image) -> Prediction:
        own = image.height, image.width
        detect = method(self.eval_model, "detect")
        detected = detect(_pixels(self.eval_model, self.resize(image)))[0]
        chosen = detected["scores"] >= self.threshold
        detected = {name: values[chosen] for name, values in detected.items()}
        labels: list[int] = detected["labels"].tolist()
        items = together(found_objects(detected, self.resize, own, self.paste))
        of_model = [{"id": label, "name": named(self.names, label)} for label in sorted({*labels})]
        drawn = draw_annotations(np.asarray(image), [
            {**item, "category_id": label} for item, label in zip(items, labels)], of_model)
        return Prediction({"objects": [
            {"class": named(self.names, label), "label": label, "score": item["score"],
             "box": _corners(item["bbox"]),
             **({"mask": item["segmentation"]} if "segmentation" in item else {})}
            for item, label in zip(items, labels)]}, drawn)


@dataclass(frozen=True)
class PixelClasses:
    """The class of each pixel, by a model's ``segment``."""

    eval_model: EvalModel
    resize: WholePicture
    names: Sequence[str]

    def __call__(self, image: Image.Image) -> Prediction:
        own = image.height, image.width
        segment = method(self.eval_model, "segment")
        pixels = _pixels(self.eval_model, self.resize(image))
        logits = picture_logits(segment, pixels, self.resize, own, _limited(own))[0]
        classes = logits.argmax(0).to(torch.uint8 if len(logits) <= 256 else torch.int32)
        map_of_classes = Image.fromarray(classes.cpu().numpy())
        if map_of_classes.size != image.size:
            map_of_classes = map_of_classes.resize(image.size, Image.Resampling.NEAREST)
        array, content = np.asarray(map_of_classes), io.BytesIO()
        map_of_classes.save(content, "PNG")
        present, counts = np.unique(array, return_counts=True)
        names = [named(self.names, number) for number in range(len(logits))]
        shares = [{"class": names[number], "label": int(number), "share": count / array.size}
                  for number, count in zip(present, counts.tolist())]
        return Prediction({"classes": sorted(shares, key=lambda each: -each["share"])},
                          draw_classes(np.asarray(image), array, names),
                          {".classes.png": content.getvalue()})


@dataclass(frozen=True)
class Labels:
    """The classes of a picture by a model's logits: the best, or, if independent, the likely."""

    eval_model: EvalModel
    names: Sequence[str]
    threshold: float
    independent: bool  # several classes may be right at a time

    def __call__(self, image: Image.Image) -> Prediction:
        pixels = self.eval_model.preprocess.crop(image)[None]
        logits = dense(encode_pixels(self.eval_model, pixels, "logits"))[0].float()
        scores = logits.sigmoid() if self.independent else logits.softmax(0)
        count = int((scores >= self.threshold).sum()) if self.independent else BEST
        best = best_classes(scores[None], count)[0]
        labels = [{"class": named(self.names, label), "label": label, "score": score}
                  for score, label in zip(scores[best].tolist(), best.tolist())]
        return Prediction({"labels": labels}, _with_scores(image, labels, "class"))


@dataclass(frozen=True)
class Captions:
    """How well captions fit a picture, by a model with a text tower."""

    eval_model: EvalModel
    captions: Sequence[str]
    features: Tensor  # [captions, D], of unit length
    scale: float  # of similarities

    @classmethod
    def of(cls, eval_model: EvalModel, captions: Sequence[str]) -> "Captions":
        """Those of a model, which reads each once."""
        learned: Tensor | None = getattr(eval_model.model, "logit_scale", None)
        scale = MAX_LOGIT_SCALE if learned is None else float(learned.exp())
        return cls(eval_model, captions, encode_text(eval_model, captions),
                   min(scale, MAX_LOGIT_SCALE))

    def __call__(self, image: Image.Image) -> Prediction:
        pixels = self.eval_model.preprocess.crop(image)[None]
        of_image = dense(encode_pixels(self.eval_model, pixels, None)).float()
        similarity = (F.normalize(of_image, dim=-1) @ self.features.T)[0]
        scores = (self.scale * similarity).softmax(0)
        captions = [{"caption": self.captions[number], "label": number,
                     "score": float(scores[number]), "similarity": float(similarity[number])}
                    for number in similarity.argsort(descending=True).tolist()]
        return Prediction({"captions": captions}, _with_scores(image, captions, "caption"))


def method(eval_model: EvalModel, name: str) -> Callable[..., Any]:
    """A method of the model, which has it."""
    bound: Callable[..., Any] | None = eval_model.method(name)
    assert bound is not None
    return bound


def named(names: Sequence[str], label: int) -> str:
    """The name of a class, or its number where it has none."""
    return names[label] if 0 <= label < len(names) else f"class {label}"


def _pixels(eval_model: EvalModel, image: Tensor) -> Tensor:
    """The model's input [1, 3, H, W] of an image uint8."""
    return eval_model.preprocess.normalize(image[None].to(eval_model.device))


def _with_scores(image: Image.Image, items: Sequence[dict[str, Any]], key: str) -> Picture:
    lines = [f"{item['score']:.0%} {item[key]}" for item in items[:BEST]]
    return draw_lines(np.asarray(image), lines, [item["label"] for item in items])


def _corners(bbox: Sequence[float]) -> list[float]:
    left, top, width, height = bbox
    return [left, top, left + width, top + height]


def _limited(own: Size) -> Size:
    """The size at which a picture's classes are computed."""
    factor = min(1.0, (MOST_PIXELS / (own[0] * own[1]))**0.5)
    return max(1, round(factor * own[0])), max(1, round(factor * own[1]))
