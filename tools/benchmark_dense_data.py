"""Samples a second and core with boxes and masks: corekit's loader against torchvision's pipeline.

    OMP_NUM_THREADS=1 python tools/benchmark_dense_data.py

Both sides read one folder in COCO's layout, made here: 640 x 480 JPEGs as of benchmark_data.py with
7 objects each, polygons of 30 corners. Torchvision's side is its detection reference: CocoDetection
wrapped for transforms.v2, its stages for the way named, SanitizeBoundingBoxes, pure tensors, lists.
Each side works in this process, on one thread, and ends in uint8 pictures with boxes, labels and
masks; processor seconds are measured, so that others on the machine do not count.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timing
import torch
import torchvision
from benchmark_data import photo
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from corekit import registry
from corekit.data.datasets.dense.coco_instances import CocoInstances
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.transforms.preprocess import Preprocess

OBJECTS, CORNERS = 7, 30
# way -> (corekit's transform, torchvision's stages)
WAYS: dict[str, tuple[str, dict[str, Any], Callable[[int], list[Any]]]] = {
    "square": ("square_resize", {"flip": 0.5}, lambda size: [
        v2.Resize((size, size), antialias=True), v2.RandomHorizontalFlip(0.5)]),
    "shortest side": ("shortest_side", {"flip": 0.5}, lambda size: [
        v2.RandomHorizontalFlip(0.5), v2.RandomShortestSize([size], antialias=True)]),
    "large-scale jitter": ("large_scale_jitter", {"flip": 0.5}, lambda size: [
        v2.ScaleJitter((size, size), antialias=True), v2.RandomCrop(size, pad_if_needed=True),
        v2.RandomHorizontalFlip(0.5)]),
}


def main() -> None:
    parser = timing.parser(__doc__, pictures=200, rounds=5, batch_size=8, batches=4, size=1024)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        write_coco(Path(root), args.pictures)
        for way in WAYS:
            compare(root, way, args.size, args.batches, args.rounds, args.batch_size)


def compare(root: str, way: str, size: int, batches: int, rounds: int, batch_size: int) -> None:
    """Print what both reach in one way to resize."""
    contenders = {"corekit": corekit_batches, "torchvision": torchvision_batches}

    def seconds_of_batch(start: Callable[..., Iterator[object]]) -> float:
        parts = start(root, way, size, batch_size)
        next(parts)
        return timing.seconds_of(lambda: next(parts), calls=batches, clock=time.process_time)

    sides = {name: partial(seconds_of_batch, start) for name, start in contenders.items()}
    times = timing.take_turns(sides, rounds)
    print(f"{way}, {size} px, {rounds} rounds of {batches * batch_size} pictures, torchvision "
          f"{torchvision.__version__}")
    for name in times:
        print(f"  {name:<12}{batch_size / times.median(name):7.1f} samples a second and core   "
              f"{times.ratio('torchvision', name)} torchvision's")


def corekit_batches(root: str, way: str, size: int, batch_size: int) -> Iterator[object]:
    """Batches as training gets them from a worker."""
    name, arguments, _ = WAYS[way]
    preprocess = Preprocess(size, "bilinear", (0, 0, 0), (1, 1, 1))
    transform = registry.build("transform", name, arguments, {"preprocess": preprocess})
    source = CocoInstances(root)
    order = ShuffledOrder(source.shard_sizes, batch_size, 16, 0)
    streams = Streams(source, order, FixedSize(batch_size, batch_size), range(batch_size), 0,
                      transform, None)
    for part in step_batches(streams, 0, 1_000_000, 0):
        assert not part.bad
        yield part.batch


def torchvision_batches(root: str, way: str, size: int, batch_size: int) -> Iterator[object]:
    """Batches as of its references/detection: tuples of pictures and of targets."""
    stages = [v2.ToImage(), *WAYS[way][2](size), v2.SanitizeBoundingBoxes(), v2.ToPureTensor()]
    folder, file = f"{root}/train2017", f"{root}/annotations/instances_train2017.json"
    dataset = wrap_dataset_for_transforms_v2(
        CocoDetection(folder, file, transforms=v2.Compose(stages)),
        target_keys={"image_id", "boxes", "labels", "masks"})
    generator = torch.Generator().manual_seed(0)
    while True:
        places = torch.randint(len(dataset), (batch_size, ), generator=generator).tolist()
        yield tuple(zip(*[dataset[place] for place in places]))


def write_coco(root: Path, pictures: int) -> None:
    """COCO's layout with photos and polygons."""
    (root / "annotations").mkdir()
    (root / "train2017").mkdir()
    draw, images = np.random.default_rng(0), []
    annotations: list[dict[str, object]] = []
    for number in range(pictures):
        (root / "train2017" / f"{number}.jpg").write_bytes(photo(number))
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 640, "height": 480})
        for _ in range(OBJECTS):
            points = polygon(draw)
            (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
            annotations.append({
                "id": len(annotations), "image_id": number, "category_id": 1, "iscrowd": 0,
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "segmentation": [points.ravel().tolist()]})
    content = {"images": images, "annotations": annotations,
               "categories": [{"id": 1, "name": "thing"}]}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))


def polygon(draw: np.random.Generator) -> np.ndarray:
    """[CORNERS, 2]: a rough blob inside a picture of 640 x 480 pixels, of any size."""
    radius = math.exp(draw.uniform(math.log(8), math.log(150)))
    middle = draw.uniform((radius, radius), (640 - radius, 480 - radius))
    angles = np.linspace(0, 2 * math.pi, CORNERS, endpoint=False)
    reach = radius * draw.uniform(0.6, 1.0, CORNERS)
    return np.asarray((middle + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1))
                      .round(2))


if __name__ == "__main__":
    main()
