"""Batches whose image size changes from step to step: the tables of CoreNet's recipes, the same
batches for any ranks and workers, from any step on.
"""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from corekit import CorekitError, registry
from corekit.data.loading.batch_shape import VariableSize
from corekit.data.loading.loader import Streams, WorkerBatch, share, split, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.transforms.geometric import CenterCrop, RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.train.step.loss_terms import WeightedLoss
from tests.conftest import TINY, records
from tests.data.noise import Noise
from tests.plain import compose, cost_of, dry_run, train, verified
from tests.train.step.steps import step_of

BATCH, STREAMS, STEPS = 16, 8, 9


def pixels(size: int) -> Preprocess:
    return Preprocess(size, "bilinear", (0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("base", "per_stream", "smallest", "largest", "divisor", "scales", "ends", "mean"), [
        (224, 1024, 128, 320, 16, 13, (3136, 501), 1.27),  # CatLIP's pre-training of B
        (224, 512, 128, 320, 32, 7, (1568, 250), 1.32),  # fine-tuning at 224
        (512, 512, 256, 512, 32, 9, (2048, 512), 2.06),  # fine-tuning at 512
        (512, 32, 256, 768, 16, 25, (128, 14), 1.36),  # multi-label on COCO
        (224, 256, 160, 320, 32, 6, (501, 125), 1.03),  # the CLIP baseline
    ])
def test_tables_are_those_of_corenets_recipes(base: int, per_stream: int, smallest: int,
                                              largest: int, divisor: int, scales: int,
                                              ends: tuple[int, int], mean: float) -> None:
    sampler = VariableSize(64 * per_stream, 64, pixels(base), 0, smallest, largest, 25, divisor)
    assert len(sampler.table) == scales
    assert sampler.table[0] == (smallest, ends[0])
    assert sampler.table[-1] == (largest, ends[1])
    assert dict(sampler.table)[base] == per_stream
    assert round(sampler.total / scales / per_stream, 2) == mean
    for size, samples in sampler.table:
        assert size % divisor == 0
        # as many whole samples as the pixels of the base allow
        assert 0 <= per_stream * base**2 - samples * size**2 < size**2


def test_what_a_step_draws_follows_what_the_steps_before_it_drew() -> None:
    sampler = VariableSize(64 * 4, 64, pixels(64), 5, 32, 128, 7, 16)
    assert sampler.table == [(32, 16), (48, 7), (64, 4), (80, 2), (96, 1), (112, 1), (128, 1)]
    drawn = 0
    rounds: list[list[int]] = []
    for step in range(10 * len(sampler.table)):
        draws = sampler.draws(step)
        assert draws.start == drawn
        assert len(draws) == dict(sampler.table)[sampler.size(step)]
        drawn = draws.stop
        if step % len(sampler.table) == 0:
            rounds.append([])
        rounds[-1].append(sampler.size(step))
    assert all(sorted(each) == [size for size, _ in sampler.table] for each in rounds)
    assert len(set(map(tuple, rounds))) == 10
    far = 10**9 + 3
    again = VariableSize(64 * 4, 64, pixels(64), 5, 32, 128, 7, 16)
    assert again.draws(far).stop == sampler.draws(far + 1).start
    other = VariableSize(64 * 4, 64, pixels(64), 6, 32, 128, 7, 16)
    assert [other.size(step) for step in range(14)] != rounds[0] + rounds[1]


@pytest.mark.parametrize(("changes", "message"), [
    ({"streams": 7}, r"data\.streams=7 must divide engine\.batch_size=16"),
    ({"smallest": 40}, "smallest=40, largest=96 and data.preprocess.size=64 must be multiples of "
                       "divisor=32"),
    ({"preprocess": pixels(72)}, "size=72 must be multiples of divisor=32"),
    ({"smallest": 128}, "0 < smallest=128 <= largest=96"),
    ({"scales": 0}, "scales and divisor above 0"),
])
def test_sizes_that_do_not_fit_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        VariableSize(
            **{
                "batch_size": 16, "streams": 8, "preprocess": pixels(64), "seed": 0, "smallest": 32,
                "largest": 96, **changes
            })


def streams_of(rank: int, world: int, transform: Any = None) -> Streams:
    source, preprocess = Noise(), pixels(32)
    sampler = VariableSize(BATCH, STREAMS, preprocess, 3, 16, 64, 4, 16)
    order = ShuffledOrder(source.shard_sizes, STREAMS, 4, 0)
    return Streams(source, order, sampler,
                   range(STREAMS)[share(STREAMS, rank, world)], 0,  # type: ignore[arg-type]
                   transform or RandomResizedCrop(preprocess, (0.2, 1.0), flip=0.5), None)


def batches(world: int, workers: int, first: int = 0) -> list[list[WorkerBatch]]:
    """Of every step, each rank's part."""
    return list(
        zip(*
            [step_batches(streams_of(rank, world), first, STEPS, workers)
             for rank in range(world)]))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone() -> list[dict[str, Any]]:
    return [part.batch for part, in batches(1, 0)]


@pytest.mark.parametrize(("world", "workers", "first"), [(1, 2, 0), (2, 0, 5), (2, 2, 0), (4, 0, 0),
                                                         (4, 2, 7)])
def test_the_same_batches_for_any_ranks_and_workers_from_any_step(alone: list[dict[str, Any]],
                                                                  world: int, workers: int,
                                                                  first: int) -> None:
    actual = batches(world, workers, first)
    assert len(actual) == STEPS - first
    for expected, parts in zip(alone[first:], actual):
        assert [key for part in parts for key in part.batch["key"]] == expected["key"]
        assert torch.equal(torch.cat([part.batch["image"] for part in parts]), expected["image"])
        assert len({(part.batch["image"].shape, len(part.batch["key"]))
                    for part in parts}) == 1, "one size on all ranks"


def key_of(streams: Streams, stream: int, draw: int) -> str:
    """The sample that the order has for a stream's draw."""
    where = streams.order.locate(stream, draw)
    window = [handle for segment in streams.order.segments(stream, where.pass_number, where.window)
              for handle in streams.source.read(segment.shard, segment.first, segment.count)]
    return str(window[where.position])


def test_a_batch_holds_the_streams_draws_at_the_size_of_the_step(
        alone: list[dict[str, Any]]) -> None:
    streams = streams_of(0, 1)
    assert streams.sampler.table == [(16, 8), (32, 2), (48, 1),
                                     (64, 1)]  # type: ignore[attr-defined]
    for step, batch in enumerate(alone):
        samples, size = streams.samples(step), streams.sampler.size(
            step)  # type: ignore[attr-defined]
        assert batch["image"].shape == (samples, 3, size, size)
        assert streams_of(3, 4).samples(step) == samples, "over all ranks"
        assert batch["key"] == [
            key_of(streams, stream, draw) for stream in range(STREAMS)
            for draw in streams.sampler.draws(step)
        ]
        micro_batches = split(batch, 4, streams.fields)
        assert [len(part["key"]) for part in micro_batches] == [samples // 4] * 4
    seen = np.concatenate([np.reshape(batch["key"], (STREAMS, -1)) for batch in alone], 1)
    assert len(np.unique(
        seen[:, :18])) == STREAMS * 18, "no sample comes again before its pass of 150 is over"
    assert pickle.loads(
        pickle.dumps(streams)).samples(7) == streams.samples(7), "workers can have it"


@pytest.mark.parametrize("size", [16, 48])
def test_transforms_give_the_size_they_are_asked_for_and_their_own_otherwise(size: int) -> None:
    image = Noise().decode(3)["image"]
    assert torch.equal(CenterCrop(pixels(32))(image, size), pixels(size).crop(image))
    assert torch.equal(CenterCrop(pixels(32))(image), pixels(32).crop(image))
    torch.manual_seed(1)
    cropped = RandomResizedCrop(pixels(32), (0.3, 1.0))(image, size)
    torch.manual_seed(1)
    assert torch.equal(cropped, RandomResizedCrop(pixels(size), (0.3, 1.0))(image))


class AnySize(nn.Module):
    """Takes images of any size up to ``largest``; its loss tells how many samples a step had, and
    when.
    """

    def __init__(self, largest: int = 10**6) -> None:
        super().__init__()
        self.conv, self.head, self.largest = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5), largest

    def forward(self, image: Tensor, step: int = -1) -> dict[str, Tensor]:
        if image.shape[-1] > self.largest:
            raise RuntimeError(f"no position for {image.shape[-1]} pixels")
        features = self.conv(image)
        return {
            "logits": self.head(features.mean((2, 3))), "asked": torch.full((len(image), ),
                                                                            float(step))
        }


class Clocked:
    def weights(self, key: list[str], steps: int) -> dict[str, int]:
        return {"step": len(key), "both": len(key) * steps}

    def __call__(self, logits: Tensor, asked: Tensor, step: int, steps: int) -> dict[str, Tensor]:
        nothing = 0 * logits.sum()
        return {"step": asked.sum() + nothing, "both": (step + 100 * steps) * len(logits) + nothing}


class Unsized:
    def __call__(self, image: Image.Image) -> Tensor:
        raise NotImplementedError


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, entry in (("model", AnySize), ("loss", Clocked), ("transform", Unsized)):
        monkeypatch.setitem(registry._in_session, (kind, "for_test"), entry)


def recipe(**model: Any) -> dict[str, Any]:
    return {
        "seed": 0, "model": {"name": "for_test", **model}, "loss": {"name": "for_test"},
        "run_dir": "none", "data": {
            "dataset": {"name": "pictures"}, "preprocess": {**vars(pixels(32))}, "transform": {},
            "tokenizer": {}, "streams": STREAMS
        }, "engine": {
            "batch_size": BATCH, "micro_batch": BATCH // 2, "steps": STEPS,
            "activation_checkpointing": False, "ema_decay": None, "precision": "fp32"
        }, "sampler": {
            "name": "variable_size", "smallest": 16, "largest": 64, "scales": 4, "divisor": 16
        }
    }


@pytest.mark.usefixtures("registered")
def test_what_cannot_take_the_sizes_is_told_before_anything_is_read() -> None:
    assert verified(recipe(), Noise(), None) == []  # type: ignore[arg-type]
    with pytest.raises(CorekitError, match=r"cannot take images of 64 x 64 pixels.*no position for "
                                           r"64 pixels"):
        verified(recipe(largest=48), Noise(), None)  # type: ignore[arg-type]
    unsized = recipe()
    unsized["data"]["transform"] = {"name": "for_test"}
    with pytest.raises(CorekitError, match="sampler `variable_size` draws a size .* transform "
                                           "`for_test` takes none"):
        verified(unsized, Noise(), None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("registered")
def test_a_dry_run_counts_what_is_seen_and_the_largest_micro_batch(
        caplog: pytest.LogCaptureFixture) -> None:
    cost = cost_of(recipe(), Noise())  # type: ignore[arg-type]
    sizes = [(16, 32), (32, 8), (48, 4), (64, 4)]  # samples of a micro-batch: 4 of 8 streams
    per_pixel = 2 * 3 * 4 * 9
    work = sum(samples * (per_pixel * size**2 + 2 * 4 * 5) for size, samples in sizes)
    assert cost.forward_flops == pytest.approx(work / sum(samples for _, samples in sizes))
    images = [4 * samples * 3 * size**2 for size, samples in sizes]
    assert max(images) == images[-1]
    assert cost.activations >= max(images), "what the convolution keeps at 64 pixels"
    assert cost_of({**recipe(), "sampler": {"name": "fixed_size"}},
                   Noise()).activations < max(images)  # type: ignore[arg-type]
    caplog.set_level("INFO", "corekit")
    dry_run(recipe(), Noise())  # type: ignore[arg-type]
    seen = STREAMS * VariableSize(BATCH, STREAMS, pixels(32), 0, 16, 64, 4, 16).draws(STEPS).start
    output = caplog.text
    assert f"{STEPS} steps, {seen} samples seen, {seen / 150:.2f} passes" in output
    assert "16 samples in 2 micro-batches of 8 at 32 pixels; 4 sizes from 16 to 64" in output


class Compares:
    """A batch loss that reads what the trainer offers."""

    compares_samples = True

    def __call__(self, logits: Tensor, step: int, steps: int) -> Tensor:
        return logits.sum() * 0 + step * steps


def test_the_engine_offers_step_and_steps_to_models_and_losses() -> None:
    losses = [WeightedLoss.of(Clocked(), "clock"), WeightedLoss.of(Compares(), "pair")]
    images = torch.randn(6, 3, 8, 8)
    for count in (1, 2):
        step = step_of(AnySize(), losses, count, steps=8)
        parts, _ = step(split({"key": list("abcdef"), "image": images}, count, {}), 4)
        assert (parts["clock/step"], parts["clock/both"], parts["pair"]) == (4.0, 804 / 8, 32.0)
        step.rehearse({"key": list("abcdef"), "image": images})


SIZES = ("sampler={name: variable_size, smallest: 32, largest: 96, scales: 3, divisor: 32}",
         "engine.batch_size=16", "engine.micro_batch=4", "engine.device=cpu",
         "checkpoint.keep_last=9", "checkpoint.background=false", "data.max_bad_fraction=1")


@pytest.mark.usefixtures("determinism_restored")
def test_a_run_goes_on_at_any_step_counts_true_samples_and_keeps_its_size_for_evaluation(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*TINY, *SIZES, f"run_dir={tmp_path}")
    recipe = compose(*words)
    train(recipe)
    whole = records(tmp_path / "metrics.jsonl")
    sampler = VariableSize(16, 8, pixels(64), 0, 32, 96, 3)
    assert sampler.table == [(32, 8), (64, 2), (96, 1)]
    assert [line["samples"]
            for line in whole] == [8 * sampler.draws(step).stop for step in range(4)]
    assert json.loads((tmp_path / "model" / "preprocess.json").read_text())["size"] == 64
    evaluated = (tmp_path / "evaluations.jsonl").read_text()

    shutil.rmtree(tmp_path / "checkpoints" / "step_00000004")
    sizes = []
    monkeypatch.setattr(Preprocess, "crop",
                        lambda self, image: sizes.append(self.size) or crop(self, image))
    recipe = compose(*words)
    train(recipe)
    again = records(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["samples"], line["loss"]) for line in again] == [
        (line["step"], line["samples"], line["loss"]) for line in whole]
    assert (tmp_path / "evaluations.jsonl").read_text() == evaluated
    assert set(sizes) == {64}, "evaluation crops at the size of the recipe, whatever the steps had"


crop = Preprocess.crop
