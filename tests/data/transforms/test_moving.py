"""Boxes, masks and labels go where the picture goes: every geometric transform against a slow
geometry by hand, on random scenes.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop
from torchvision.transforms import v2

from corekit import registry
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.fields import find_fields
from corekit.data.transforms.base import Transform
from corekit.data.transforms.decode import decode_image
from corekit.data.transforms.geometric import CenterCrop, RandomResizedCrop
from corekit.data.transforms.moving import LEAST_SIDE
from corekit.data.transforms.preprocess import Preprocess
from corekit.data.transforms.rand_augment import MOVEMENTS, OPERATIONS, RandAugment
from corekit.errors import CorekitError

FIELDS = find_fields(["image", "boxes", "masks", "box_labels"])
PIXELS = Preprocess(32, "bilinear", (0, 0, 0), (1, 1, 1))
Box = list[float]
Point = Callable[[Any, Any], tuple[Any, Any]]


def scene(seed: int, width: int = 57, height: int = 41) -> dict[str, Any]:
    """A picture with some boxes, each with its mask and its number."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, 6))
    boxes, masks = [], np.zeros((count, height, width), np.uint8)
    for mask in masks:
        left, right = sorted(draw.choice(width + 1, 2, replace=False).tolist())
        top, bottom = sorted(draw.choice(height + 1, 2, replace=False).tolist())
        mask[top:bottom, left:right] = 1
        boxes.append([left, top, right, bottom])
    pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"key": str(seed), "image": Image.fromarray(pixels), "masks": masks,
            "boxes": np.array(boxes, np.float32), "box_labels": np.arange(count)}


def moved_box(box: Box, to: Point, width: float, height: float) -> Box:
    """The box around a box's corners where they go, as far as it is in the frame."""
    corners = [to(x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs = [min(max(x, 0.0), width) for x, _ in corners]
    ys = [min(max(y, 0.0), height) for _, y in corners]
    return [min(xs), min(ys), max(xs), max(ys)]


def moved_mask(mask: Any, back: Point, width: int, height: int) -> Any:
    """A mask's pixels looked up where the middle of each new pixel was before; 0 outside."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    xs, ys = (np.floor(places).astype(int) for places in back(columns, rows))
    inside = (xs >= 0) & (xs < mask.shape[1]) & (ys >= 0) & (ys < mask.shape[0])
    return np.where(inside, mask[ys.clip(0, mask.shape[0] - 1), xs.clip(0, mask.shape[1] - 1)], 0)


def by_hand(sample: dict[str, Any], steps: Sequence[tuple[Point, Point, int, int]],
            ) -> tuple[list[Box], list[Any], list[int]]:
    """Boxes, masks and labels that are left after steps of (there, back, width, height)."""
    boxes, masks, labels = [], [], []
    for box, mask, label in zip(sample["boxes"].tolist(), sample["masks"], sample["box_labels"]):
        gone = False
        for to, back, width, height in steps:
            box = moved_box(box, to, width, height)
            mask = moved_mask(mask, back, width, height)
            gone |= box[2] - box[0] < LEAST_SIDE or box[3] - box[1] < LEAST_SIDE
        if not gone and mask.any():
            boxes.append(box)
            masks.append(mask)
            labels.append(int(label))
    return boxes, masks, labels


def cut(left: float, top: float, right: float, bottom: float, width: int, height: int,
        flip: bool = False) -> tuple[Point, Point, int, int]:
    """A rectangle that is resized to width x height and mirrored."""
    across, down = width / (right - left), height / (bottom - top)

    def to(x: float, y: float) -> tuple[float, float]:
        x = min(max(x, left), right)
        y = min(max(y, top), bottom)
        x, y = (x - left) * across, (y - top) * down
        return (width - x if flip else x), y

    def back(x: float, y: float) -> tuple[float, float]:
        x = width - x if flip else x
        return left + x / across, top + y / down

    return to, back, width, height


def check(transform: Callable[..., Any], sample: dict[str, Any],
          steps: Sequence[tuple[Point, Point, int, int]], wrong_pixels: float = 0.0) -> None:
    """The transform, drawing from seed 0, against the steps."""
    torch.manual_seed(0)
    moved = Transform.of(transform)(dict(sample), FIELDS)
    boxes, masks, labels = by_hand(sample, steps)
    assert moved["box_labels"].tolist() == labels
    assert len(moved["boxes"]) == len(moved["masks"]) == len(labels)
    assert type(moved["boxes"]) is type(moved["masks"]) is torch.Tensor
    for box, wanted in zip(moved["boxes"].tolist(), boxes):
        assert box == pytest.approx(wanted, abs=2e-3)
    for mask, expected in zip(moved["masks"].numpy(), masks):
        assert mask.shape == expected.shape
        assert (mask != expected).mean() <= wrong_pixels
    torch.manual_seed(0)
    alone = transform(sample["image"])
    assert torch.equal(moved["image"], alone), "the pixels are those without boxes"


@pytest.mark.parametrize("seed", range(12))
def test_random_resized_crop(seed: int) -> None:
    sample = scene(seed)
    flip = float(seed % 2)
    crop = RandomResizedCrop(PIXELS, (0.1, 0.6), (0.5, 2.0), flip)
    torch.manual_seed(0)
    top, left, height, width = TorchvisionCrop.get_params(sample["image"], [0.1, 0.6], [0.5, 2.0])
    check(crop, sample, [cut(left, top, left + width, top + height, 32, 32, bool(flip))])


@pytest.mark.parametrize("seed", range(4))
def test_boxes_of_a_jpeg_decoded_smaller_are_in_pixels_of_the_whole(seed: int) -> None:
    content = io.BytesIO()
    Image.new("RGB", (640, 480)).save(content, "JPEG")
    sample = {"key": "a", "image": decode_image(content.getvalue(), ""),
              "boxes": np.array([[200, 150, 440, 330]], np.float32)}
    torch.manual_seed(seed)
    drawn = TorchvisionCrop.get_params(Image.new("RGB", (640, 480)), [0.6, 0.9], [0.75, 1.3333])
    top, left, height, width = drawn
    edges = [8 * round(edge / 8) for edge in (left, top, left + width, top + height)]
    to = cut(*edges, 32, 32)[0]
    torch.manual_seed(seed)
    crop = Transform.of(RandomResizedCrop(PIXELS, (0.6, 0.9)))
    moved = crop(sample, find_fields(["image", "boxes"]))
    assert sample["image"].size == (80, 60), "decoded at an eighth"
    expected = moved_box([200, 150, 440, 330], to, 32, 32)
    assert moved["boxes"][0].tolist() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
def test_center_crop(seed: int, resize: str) -> None:
    width, height = (57, 41) if seed % 2 else (40, 130)
    preprocess = Preprocess(32, "bilinear", (0, 0, 0), (1, 1, 1), 0.8, resize)
    across, down = {"shortest": (int(40 * width / min(width, height)),
                                 int(40 * height / min(width, height))),
                    "squash": (40, 40),
                    "longest": (round(40 * width / max(width, height)),
                                round(40 * height / max(width, height)))}[resize]
    x, y = ((round if side > 32 else int)((side - 32) / 2) for side in (across, down))
    steps = [cut(0, 0, width, height, across, down), cut(x, y, x + 32, y + 32, 32, 32)]
    check(CenterCrop(preprocess), scene(seed, width, height), steps)


def test_center_crop_of_a_very_long_picture() -> None:
    steps = [cut(21, 0, 421, 4, 3200, 32), cut(1584, 0, 1616, 32, 32, 32)]
    check(CenterCrop(PIXELS), scene(1, 442, 4), steps)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("level", [-1.0, 0.6])
def test_operations_of_rand_augment(name: str, level: float,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    for each in list(OPERATIONS):
        if each != name:
            monkeypatch.delitem(OPERATIONS, each)
    transform = RandAugment(PIXELS, (1.0, 1.0), (1.0, 1.0), 0.0, operations=1,
                            magnitude=abs(level) * 10, magnitude_std=0.0)
    real = torch.rand

    def rand(*size: Any, **more: Any) -> torch.Tensor:
        return torch.tensor([0.9, 0.1 if level < 0 else 0.9]) if size == (2,) else real(*size,
                                                                                      **more)

    monkeypatch.setattr(torch, "rand", rand)
    for seed in range(4):
        sample = scene(seed, 40, 40)
        steps = [cut(0, 0, 40, 40, 32, 32)]
        if name in MOVEMENTS:
            steps.append(turned(name, level))
        check(transform, sample, steps, wrong_pixels=0.02)


def turned(name: str, level: float) -> tuple[Point, Point, int, int]:
    """RandAugment's movements of a picture of 32 x 32 pixels, after its paper and timm's code."""
    angle = math.radians(30 * level) if name == "Rotate" else 0.0
    shear_x = 0.3 * level if name == "ShearX" else 0.0
    shear_y = 0.3 * level if name == "ShearY" else 0.0
    shift_x = round(0.45 * level * 32) if name == "TranslateX" else 0
    shift_y = round(0.45 * level * 32) if name == "TranslateY" else 0

    def to(x: float, y: float) -> tuple[float, float]:
        if name == "Rotate":  # about the middle
            x, y = x - 16, y - 16
            return (x * math.cos(angle) - y * math.sin(angle) + 16,
                    x * math.sin(angle) + y * math.cos(angle) + 16)
        return x - shear_x * y + shift_x, y - shear_y * x + shift_y

    def back(x: float, y: float) -> tuple[float, float]:
        if name == "Rotate":
            x, y = x - 16, y - 16
            return (x * math.cos(angle) + y * math.sin(angle) + 16,
                    -x * math.sin(angle) + y * math.cos(angle) + 16)
        x, y = x - shift_x, y - shift_y
        return x + shear_x * y, y + shear_y * x

    return to, back, 32, 32


def test_replay_moves_as_the_picture_does() -> None:
    replay = registry.build("transform", "replay", {"stored_size": 32}, {"preprocess": PIXELS})
    augmentation = __import__("corekit_projects.mobileclip.replay", fromlist=["Augmentation"])
    for seed in range(6):
        sample = scene(seed)
        stored = augmentation.Augmentation((4, 7, 30, 41), seed % 2 == 1,
                                           (("TranslateX", 5.0), ("Rotate", 18.0)))
        turn_to, turn_back, *size = turned("Rotate", -18 / 30)
        steps = [cut(7, 4, 48, 34, 32, 32, seed % 2 == 1),
                 (lambda x, y: (x + 5, y), lambda x, y: (x - 5, y), 32, 32),
                 (turn_to, turn_back, *size)]
        moved = Transform.of(replay)({**sample, "augmentation": stored}, FIELDS)
        boxes, masks, labels = by_hand(sample, steps)  # type: ignore[arg-type]
        assert moved["box_labels"].tolist() == labels
        assert np.allclose(moved["boxes"], np.array(boxes).reshape(-1, 4), atol=2e-3)
        assert np.mean(moved["masks"].numpy() != np.array(masks).reshape(-1, 32, 32)) < 0.02
        assert torch.equal(moved["image"], replay.replay(sample["image"], stored))


def test_fit_area_keeps_shapes_and_moves_all() -> None:
    fit = registry.build("transform", "fit_area", {"flip": 1.0},
                         {"preprocess": Preprocess(56, "bilinear", (0, 0, 0), (1, 1, 1))})
    for seed in range(4):
        sample = scene(seed)
        height, width = fit(sample["image"]).shape[1:]
        check(fit, sample, [cut(0, 0, 57, 41, width, height, True)])


def test_torchvisions_transforms_move_everything() -> None:
    mirror = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.Resize((82, 114))])
    sample = scene(3)
    moved = Transform.of(mirror)(sample, FIELDS)
    boxes, _, labels = by_hand(sample, [cut(0, 0, 57, 41, 114, 82, True)])
    assert moved["box_labels"].tolist() == labels
    assert moved["boxes"].tolist() == boxes
    assert moved["image"].shape == (3, 82, 114)


def test_boxes_lie_around_what_is_seen_in_crops_of_scenes() -> None:
    """OpenMoji's boxes are tight around its masks; so they are after a crop, to a pixel."""
    source = OpenMoji(samples=40, size=96, annotations=True)
    crop = Transform.of(RandomResizedCrop(Preprocess(96, "bilinear", (0, 0, 0), (1, 1, 1)),
                                          (0.3, 0.8), flip=0.5))
    lost = visible = 0
    for handle in range(40):
        sample = source.decode(handle)
        torch.manual_seed(handle)
        moved = crop(sample, find_fields(source.fields))
        lost += len(sample["boxes"]) - len(moved["boxes"])
        visible += len(moved["boxes"])
        for mask, box in zip(moved["masks"].numpy(), moved["boxes"].tolist()):
            down, across = np.nonzero(mask)
            tight = [across.min(), down.min(), across.max() + 1, down.max() + 1]
            inside = [edge for edge, side in zip(range(4), (0, 0, 96, 96)) if box[edge] != side]
            assert all(abs(box[edge] - tight[edge]) <= 2 for edge in inside) or len(inside) < 4
    assert lost
    assert visible > 40


def test_a_callable_of_the_image_is_refused_over_boxes_unless_it_moves_nothing() -> None:
    def resized(image: Image.Image) -> torch.Tensor:
        return torch.zeros(3, 8, 8)

    transform = Transform.of(resized)
    transform.check("transform `resized`", find_fields(["image", "text", "label"]))
    with pytest.raises(CorekitError, match=r"^transform `resized` does not move `boxes` \(boxes\)"):
        transform.check("transform `resized`", find_fields(["image", "boxes"]))
    resized.moves = frozenset({"boxes", "mask"})  # type: ignore[attr-defined]
    Transform.of(resized).check("transform `resized`", FIELDS)
