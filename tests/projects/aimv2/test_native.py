"""Native resolution: areas as the paper draws them, pictures in their own shapes, and filling that
nothing sees.
"""

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from corekit_projects.aimv2.blocks import patch_counts
from corekit_projects.aimv2.losses import NextPatch, patchify
from corekit_projects.aimv2.native import FitArea, NativeArea, grid_within
from PIL import Image
from torch import Tensor

import corekit
from corekit import CorekitError
from corekit.data.fields import find_fields
from corekit.data.loading.collate import to_device
from corekit.data.loading.loader import Streams, WorkerBatch, share, split, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.transforms.decode import decode_image
from corekit.data.transforms.preprocess import Preprocess
from corekit.losses.next_token import NextToken
from tests.data.noise import Noise

WORDS, LENGTH, END = 50, 6, 2
BATCH, STREAMS, STEPS = 8, 8, 6


def pixels(size: int = 224) -> Preprocess:
    return Preprocess(size, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def areas(sampler: NativeArea) -> np.ndarray:
    return np.array([size // 14 for size, _ in sampler.table]) ** 2


def normal_between(first: float, last: float) -> float:
    """Of a standard normal cut at -1 and 1, the share between two points."""
    def below(x: float) -> float:
        return (1 + math.erf(x / math.sqrt(2))) / 2

    return (below(last) - below(first)) / (below(1) - below(-1))


def test_areas_are_powers_of_two_of_a_cut_normal() -> None:
    sampler = NativeArea(8192, 64, pixels(), 0, scales=2000)
    n = np.log2(areas(sampler))
    assert areas(sampler)[[0, -1]].tolist() == [11**2, 64**2]
    assert n.mean() == pytest.approx(9.5, abs=0.01)
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    within = math.erf(math.sqrt(0.5))
    assert n.var() == pytest.approx(2.5**2 * (1 - 2 * density / within), rel=0.01)
    for middle in (15.5, 31.5, 45.5):  # between whole numbers of patches along a side
        quantile = (2 * math.log2(middle) - 7) / 2.5 - 1
        assert np.mean(areas(sampler) < middle**2) == pytest.approx(normal_between(-1, quantile),
                                                                    abs=1 / 2000)
    assert np.mean(2**n) == pytest.approx(1088, rel=0.01)
    few = NativeArea(8192, 64, pixels(), 0)
    assert len(few.table) == 100
    assert np.log2(areas(few)).mean() == pytest.approx(9.5, abs=0.02)
    assert np.mean(areas(few) < 256) == pytest.approx(
        normal_between(-1, (2 * math.log2(15.5) - 7) / 2.5 - 1), abs=0.01)


def test_a_step_has_the_patches_of_the_budget_and_follows_the_steps_before_it() -> None:
    sampler, budget, drawn = NativeArea(8192, 128, pixels(), 5), 8192 * 256, 0
    for step in range(300):
        draws, area = sampler.draws(step), (sampler.size(step) // 14) ** 2
        assert draws.start == drawn
        assert budget - 128 * area < 128 * len(
            draws) * area <= budget, "as many samples of a stream as there may be"
        drawn = draws.stop
    assert sorted(sampler.size(step)
                  for step in range(100, 200)) == [size for size, _ in sampler.table]
    assert [sampler.size(step)
            for step in range(100)] != [sampler.size(step) for step in range(100, 200)]
    assert NativeArea(8192, 128, pixels(),
                      5).draws(10**9 + 3).stop == sampler.draws(10**9 + 4).start
    assert [NativeArea(8192, 128, pixels(), 6).size(step)
            for step in range(9)] != [sampler.size(step) for step in range(9)]


@pytest.mark.parametrize(("changes", "message"), [
    ({"streams": 7}, r"data\.streams=7 must divide"), ({"streams": 1024}, "a divisor of "
                                                                          "engine.batch_size=8192 "
                                                                          "that is at most 528"),
    ({"scales": 0}, "needs scales above 0"), ({"exponents": (9.0, 8.0)}, r"not scales=100, "
                                                                         r"exponents=\[9.0, 8.0\]"),
])
def test_what_does_not_fit_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        NativeArea(
            **{"batch_size": 8192, "streams": 64, "preprocess": pixels(), "seed": 0, **changes})


def test_pictures_keep_their_shape_and_fill_the_area() -> None:
    filled, generator = [], np.random.default_rng(0)
    for _ in range(2000):
        width, height = np.exp(generator.uniform(math.log(50), math.log(2000),
                                                 2)).astype(int).tolist()
        area = int(generator.integers(11, 65)) ** 2
        rows, columns = grid_within(width, height, area)
        assert rows * columns <= area
        exact = math.sqrt(area * height / width), math.sqrt(area * width / height)
        if min(exact) >= 1:
            assert abs(rows - exact[0]) < 1
            assert abs(columns - exact[1]) < 1
        filled.append(rows * columns / area)
    assert np.mean(filled) > 0.95
    assert grid_within(640, 480, 256) == (14, 18)
    assert grid_within(500, 500, 121) == (11, 11)


@pytest.mark.parametrize(("width", "height", "grid"), [(5000, 3, (1, 256)), (3, 5000, (256, 1)),
                                                       (1, 1, (16, 16)), (60, 30, (11, 23))])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_any_picture_becomes_whole_patches(width: int, height: int, grid: tuple[int, int],
                                           kind: str) -> None:
    file, drawn = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (height, width, 3),
                                                                  dtype=np.uint8)
    Image.fromarray(drawn).save(file, kind)
    image = decode_image(file.getvalue(), "here")
    fitted = FitArea(pixels(), flip=0.0)(image)
    assert fitted.shape == (3, 14 * grid[0], 14 * grid[1])
    assert fitted.dtype == torch.uint8
    again = decode_image(file.getvalue(), "here")
    assert torch.equal(FitArea(pixels(), flip=1.0)(again), fitted.flip(-1))
    assert FitArea(pixels())(image, 14).shape == (3, 14, 14), "an area of one patch"
    if min(grid) > 1:
        resized = image.resize((14 * grid[1], 14 * grid[0]), Image.Resampling.BICUBIC)
        assert np.abs(np.array(resized).astype(int) -
                      fitted.permute(1, 2, 0).numpy()).max() <= 2, "Pillow's"


def test_a_part_is_drawn_relative_to_the_picture() -> None:
    columns, rows = np.meshgrid(np.arange(400), np.arange(100))
    image = Image.fromarray(
        np.stack([columns * 255 // 399, rows * 255 // 99, 0 * rows], 2).astype(np.uint8))
    shares, shapes = [], []
    for seed in range(200):
        torch.manual_seed(seed)
        part = FitArea(pixels(), (0.4, 0.8), (0.5, 2.0))(image, 224).float()
        width, height = ((levels.max() - levels.min() + 2) / 255 for levels in part[:2])
        shares.append(float(width * height))
        shapes.append(float(width / height))
        rows_, columns_ = part.shape[1] / 14, part.shape[2] / 14
        assert columns_ / rows_ == pytest.approx(4 * shapes[-1],
                                                 rel=1.5 / min(rows_, columns_)), "of its own shape"
    assert min(shares) == pytest.approx(0.4, abs=0.02)
    assert max(shares) == pytest.approx(0.8, abs=0.02)
    assert np.mean(shares) < 0.6, "wide parts of a large share do not fit"
    assert 0.5 * 0.97 < min(shapes) < 0.6
    assert 1.7 < max(shapes) < 2.0 * 1.03
    assert np.mean(np.log(shapes)) == pytest.approx(0, abs=0.08)


def batches(world: int, workers: int, first: int = 0) -> list[list[WorkerBatch]]:
    """Of every step, each rank's part."""
    def streams(rank: int) -> Streams:
        source, sampler = Noise((20, 60)), NativeArea(BATCH, STREAMS, pixels(56), 3, (1.0, 4.0),
                                                      scales=5)
        return Streams(source, ShuffledOrder(source.shard_sizes, STREAMS, 4, 0),
                       sampler,  # type: ignore[arg-type]
                       range(STREAMS)[share(STREAMS, rank, world)], 0, FitArea(pixels(56)), None)

    return list(zip(*[step_batches(streams(rank), first, STEPS, workers)
                      for rank in range(world)]))  # type: ignore[arg-type]


def micro_batches(parts: list[WorkerBatch]) -> list[dict[str, Any]]:
    """What the model sees of a step of four micro-batches."""
    fields = find_fields(["image"])
    return [to_device(micro, fields, pixels(56), torch.device("cpu"), False)
            for part in parts for micro in split(part.batch, 4 // len(parts), fields)]


@pytest.mark.parametrize(("world", "workers", "first"), [(1, 2, 0), (2, 2, 4), (4, 0, 0)])
def test_micro_batches_are_the_same_for_any_ranks_and_workers_from_any_step(
        world: int, workers: int, first: int) -> None:
    shapes, together = set(), set()
    for alone, parts in zip(batches(1, 0)[first:], batches(world, workers, first), strict=True):
        for expected, actual in zip(micro_batches(alone), micro_batches(parts), strict=True):
            assert actual["key"] == expected["key"]
            assert isinstance(actual["image"], Tensor) == isinstance(expected["image"], Tensor)
            assert len(actual["image"]) == len(expected["image"])
            assert all(map(torch.equal, actual["image"], expected["image"]))
            shapes |= {image.shape for image in actual["image"]}
            together.add(type(actual["image"]))
    assert len(shapes) >= 5
    assert together == {list, Tensor}, "shapes of their own in some, alike in others"


def pretrainer(name: str = "aimv2_pretrain", **arguments: Any) -> Any:
    torch.manual_seed(0)
    more = {"context_length": LENGTH, "vocab_size": WORDS, "encoder": "aimv2_large_native"
            } if name == "aimv2_pretrain" else {}
    return corekit.create_model(name, width_divisor=16, depth_divisor=12, **more,
                                **arguments).double()


def mixed() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 14 * rows + 5, 14 * columns, dtype=torch.float64, generator=generator)
            for rows, columns in ((2, 3), (4, 2), (1, 1), (3, 3))]


@pytest.mark.parametrize(("name", "objective"), [("aimv2_pretrain", "both"),
                                                 ("aimv2_pretrain", "image"),
                                                 ("aimv2_pretrain", "text"),
                                                 ("aimv1_pretrain", "")])
def test_what_a_picture_costs_does_not_depend_on_what_it_is_laid_beside(name: str,
                                                                        objective: str) -> None:
    model = pretrainer(name, **({"objective": objective} if objective else {}))
    images, uniform, text = mixed(), torch.tensor([0.1, 0.9, 0.5,
                                                   0.4]), torch.randint(3, WORDS, (4, LENGTH))

    def losses(image: Any, which: slice) -> list[Tensor]:
        outputs, values = model(image, text[which], uniform[which]), []
        if "patch_predictions" in outputs:
            values.append(NextPatch()(outputs["patch_predictions"], image, uniform[which]))
        if "text_logits" in outputs:
            values.append(NextToken(END)(outputs["text_logits"], text[which]))
        return values

    together = losses(images, slice(None))
    sum(together).backward()  # type: ignore[union-attr]
    together = [part.detach() for part in together]
    grads = {
        key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None
    }
    model.zero_grad()
    alone = [losses(image[None], slice(index, index + 1)) for index, image in enumerate(images)]
    sum(map(sum, alone)).backward()  # type: ignore[arg-type, union-attr]
    alone = [[part.detach() for part in parts] for parts in alone]
    for part, single in zip(together, zip(*alone), strict=True):
        assert float(part) == pytest.approx(float(sum(single)), rel=1e-12)
    assert grads.keys() == {
        key for key, value in model.named_parameters() if value.grad is not None
    }
    assert all(torch.allclose(grads[key], value.grad, rtol=1e-9, atol=1e-12)
               for key, value in model.named_parameters() if value.grad is not None)
    assert int(NextPatch().weights(images, uniform)) == sum(
        int(NextPatch().weights(image[None], uniform[index:index + 1]))
        for index, image in enumerate(images))
    assert patch_counts(images, uniform.device).tolist() == [6, 8, 1, 9]
    assert patchify(images)[1, :8].equal(patchify(images[1][None])[0])


@pytest.mark.parametrize("name", ["aimv2_large_native", "aimv2_large_224"])
@torch.no_grad()
def test_features_of_pictures_of_different_sizes_are_those_of_each_alone(name: str) -> None:
    torch.manual_seed(0)
    model = corekit.create_model(name, width_divisor=8, depth_divisor=12).double()
    features = model.features(mixed(), norm=True, layers=[0])  # type: ignore[operator]
    for index, image in enumerate(mixed()):
        alone = model.features(image[None], norm=True, layers=[0])  # type: ignore[operator]
        count = alone["tokens"].shape[1]
        for several, single in ((features["tokens"], alone["tokens"]), (features["layers"][0],
                                                                        alone["layers"][0])):
            assert torch.allclose(several[index, :count], single[0], atol=1e-12)
            assert not several[index, count:].any()
        assert torch.allclose(features["pooled"][index], alone["pooled"][0], atol=1e-12)
    assert torch.equal(model.encode_image(mixed()), features["pooled"])  # type: ignore[operator]
    with pytest.raises(CorekitError, match="5000 x 3 pixels holds no patch"):
        model([*mixed(), torch.zeros(3, 3, 5000, dtype=torch.float64)])
