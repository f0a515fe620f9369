"""Mixtures: exact shares, every source in passes of its own, the same batches for any ranks,
workers and steps.
"""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corekit import CorekitError, registry
from corekit.cli.train import open_source
from corekit.data.datasets.mixture import Mixture, share_out
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, share, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder, order_of
from corekit.data.shards.webdataset import WebDataset
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.build import run_config
from corekit.recipes.check import check_entry
from tests.conftest import TINY, corekit_command
from tests.data.damage import cut
from tests.data.loading.test_loader import write_shards
from tests.plain import compose

BATCH, STREAMS = 24, 12


class Numbers:
    """A source of numbers: each sample is called by its source, shard and position."""

    def __init__(self, name: str, sizes: tuple[int, ...], fields: tuple[str,
                                                                        ...] = ("text", )) -> None:
        self.name, self.fields, self.fingerprint = name, fields, f"{name}{sizes}"
        self.shard_sizes = np.array(sizes)

    def read(self, shard: int, first: int, count: int) -> list[tuple[int, int]]:
        assert first + count <= self.shard_sizes[shard]
        return [(shard, first + index) for index in range(count)]

    def decode(self, handle: tuple[int, int]) -> dict[str, Any]:
        key = f"{self.name} {handle[0]} {handle[1]}"
        return {"key": key, **{field: f"{field} of {key}" for field in self.fields}}


def mixture(period: int | None = None, **weights: float) -> Mixture:
    sizes = {"a": (10, 7, 33, 1), "b": (40,), "c": (5, 5, 5)}
    return Mixture(
        {
            name: {"weight": weight, "dataset": Numbers(name, sizes[name])}
            for name, weight in weights.items()
        }, period)


@pytest.mark.parametrize(("weights", "period", "wanted"), [
    ([1, 1], None, [1, 1]),
    ([0.7, 0.3], None, [7, 3]),
    ([2, 4, 6], None, [1, 2, 3]),
    ([0.1, 0.2, 0.7], None, [1, 2, 7]),
    ([1, 1, 1], 10, [4, 3, 3]),
    ([5, 3, 1], 10, [6, 3, 1]),
    ([12.8, 1.281167], None, [909, 91]),
    ([1], 7, [7]),
    ([0.5, 0.25, 0.25], 5, [3, 1, 1]),
])
def test_periods_are_shared_out_by_largest_remainder(weights: list[float], period: int | None,
                                                     wanted: list[int]) -> None:
    assert share_out(dict(zip("abc", weights)), period) == wanted


def test_a_weight_that_would_never_be_drawn_is_said() -> None:
    with pytest.raises(CorekitError, match="source 'b' has too small a weight to be drawn once in "
                                           "a period of 1000"):
        share_out({"a": 1, "b": 1e-5})
    assert share_out({"a": 1, "b": 1e-5}, 200_000)[1] == 2


def keys(source: Mixture, streams: int, window: int, stream: int, draws: range,
         seed: int = 0) -> list[str]:
    order = order_of(source, streams, window, seed)
    names = []
    for draw in draws:
        where = order.locate(stream, draw)
        places = [
            handle
            for segment in order.segments(stream, where.pass_number, where.window, where.source)
            for handle in source.read(segment.shard, segment.first, segment.count)
        ]
        names.append(source.decode(places[where.position])["key"])
    return names


def test_every_period_of_every_stream_has_the_shares_exactly_and_is_permuted() -> None:
    source = mixture(a=0.5, b=0.3, c=0.2)
    orders = set()
    for stream in range(3):
        drawn = [key[0] for key in keys(source, 3, 4, stream, range(100))]
        for first in range(0, 100, 10):
            assert Counter(drawn[first:first + 10]) == {"a": 5, "b": 3, "c": 2}
            orders.add("".join(drawn[first:first + 10]))
    assert len(orders) > 20


def test_each_source_is_passed_through_whole_before_any_of_its_samples_comes_again() -> None:
    streams, source = 3, mixture(a=3, b=1, c=2)
    each = [keys(source, streams, 4, stream, range(400)) for stream in range(streams)]
    for name, samples in (("a", 51), ("b", 40), ("c", 15)):
        of_streams = [[key for key in drawn if key[0] == name] for drawn in each]
        stretch = samples // streams
        for pass_number in range(min(map(len, of_streams)) // stretch):
            drawn = [
                key for one in of_streams
                for key in one[pass_number * stretch:(pass_number + 1) * stretch]
            ]
            assert len(set(drawn)) == len(drawn) == stretch * streams > samples - streams


def test_a_source_keeps_its_order_when_others_change() -> None:
    mine = [key for key in keys(mixture(a=1, b=1), 3, 4, 1, range(200)) if key[0] == "a"]
    other = [key for key in keys(mixture(a=2, c=1), 3, 4, 1, range(200)) if key[0] == "a"]
    assert mine == other[:len(mine)]
    order = mixture(a=1, b=1).order(3, 4, seed=9)
    assert isinstance(order.orders[0], ShuffledOrder)
    assert order.orders[0].seed != order.orders[1].seed


def test_any_draw_of_a_billion_is_found_at_once() -> None:
    sizes = (10_000,) * 60_000
    source = Mixture({
        name: {"weight": weight, "dataset": Numbers(name, sizes)}
        for name, weight in (("a", 0.7), ("b", 0.3))
    })
    began = time.perf_counter()
    order = order_of(source, 4096, 16, 0)
    for stream in range(32):
        where = order.locate(stream, 123_456_789)
        assert order.segments(stream, where.pass_number, where.window, where.source)
    assert time.perf_counter() - began < 1


# --- in batches
# -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    web = write_shards(tmp_path_factory.mktemp("web"), (17, 30, 25))
    clean = write_shards(tmp_path_factory.mktemp("clean"), (20, 14))
    WebDataset(str(clean))
    cut(clean / "00001.tar", 9)
    return {"web": web, "clean": clean}


def recipe(roots: dict[str, Path]) -> dict[str, Any]:
    return {"sources": {
        "web": {"weight": 0.75, "dataset": {"name": "webdataset", "root": str(roots["web"])}},
        "clean": {"weight": 0.25, "caption": "synthetic_text", "dataset": {
            "name": "webdataset", "root": str(roots["clean"]),
            "fields": {"image": "jpg", "text": "cls", "synthetic_text": "txt"}}}}}


def batches(roots: dict[str, Path], world: int, workers: int,
            first: int = 0) -> list[tuple[list[str], torch.Tensor, list[str]]]:
    source: Mixture = registry.build("dataset", "mixture", recipe(roots), {"root": None})
    order = order_of(source, STREAMS, 4, 7)
    transform = RandomResizedCrop(Preprocess(16, "bilinear", (0, 0, 0), (1, 1, 1)))
    by_rank = [
        list(
            step_batches(
                Streams(source, order, FixedSize(BATCH, STREAMS),
                        range(STREAMS)[share(STREAMS, rank, world)], 7, transform, None), first, 6,
                workers)) for rank in range(world)
    ]
    return [([key for part in parts
              for key in part.batch["key"]], torch.cat([part.batch["image"] for part in parts]),
             [text for part in parts for text in part.batch["text"]]) for parts in zip(*by_rank)]


@pytest.mark.parametrize(("world", "workers", "first"), [(1, 2, 0), (2, 0, 0), (3, 1, 0), (2, 2, 4),
                                                         (1, 0, 5)])
def test_the_same_batches_for_any_ranks_workers_and_first_step(roots: dict[str, Path], world: int,
                                                               workers: int, first: int) -> None:
    wanted = batches(roots, 1, 0)[first:]
    actual = batches(roots, world, workers, first)
    assert len(actual) == len(wanted) == 6 - first
    for mine, theirs in zip(actual, wanted):
        assert mine[0] == theirs[0]
        assert torch.equal(mine[1], theirs[1])
        assert mine[2] == theirs[2]


def test_captions_come_from_the_field_that_each_source_names(roots: dict[str, Path]) -> None:
    source: Mixture = registry.build("dataset", "mixture", recipe(roots), {"root": None})
    assert source.fields == ("image", "text")
    sample = source.decode(source.read(3, 2, 1)[0])
    assert sample.keys() == {"key", "image", "text"}
    assert sample["text"] == "picture 2 of shard 0"
    again: Mixture = registry.build("dataset", "mixture", recipe(roots), {"root": None})
    assert again.fingerprint == source.fingerprint
    other = recipe(roots)
    other["sources"]["web"]["weight"] = 0.5
    assert registry.build("dataset", "mixture", other,
                          {"root": None}).fingerprint != source.fingerprint


@pytest.mark.parametrize(("entry", "message"), [
    ({"weight": 1}, "must be"),
    ({"dataset": Numbers("x", (3, )), "wieght": 2}, "must be"),
    ({"dataset": Numbers("x", (3, )), "weight": 0}, "above 0"),
    ({"dataset": Numbers("x", (3, )), "weight": "much"}, "above 0"),
    ({"dataset": {"weight": 3}}, "needs the `name`"),
    ({"dataset": Numbers("x", (3, )), "caption": "other"}, "no field 'other'"),
    ({"dataset": Numbers("x", (3, ), ("text", "label"))}, "the same fields, but 'first' gives text "
     "and 'x' gives text, label"),
])
def test_what_is_wrong_with_a_source_is_said(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        Mixture({"first": {"dataset": Numbers("first", (9,))}, "x": entry})
    with pytest.raises(CorekitError, match="source 'x'.*fewer than data.streams=4"):
        Mixture({"x": {"dataset": Numbers("x", (3,))}}).order(4, 4, 0)


def test_names_and_arguments_inside_a_mapping_are_checked_like_others(
        roots: dict[str, Path]) -> None:
    good = {"name": "mixture", **recipe(roots)}
    del good["sources"]["web"]["dataset"]["root"]  # data.root
    check_entry("data.dataset", "dataset", good)
    wrong = json.loads(json.dumps(good))
    wrong["sources"]["web"]["dataset"]["shrads"] = "*.tar"
    with pytest.raises(CorekitError, match=r"data\.dataset\.sources\.web\.dataset\.shrads.*did you "
                                           r"mean 'shards'"):
        check_entry("data.dataset", "dataset", wrong)
    wrong["sources"]["web"]["dataset"] = {"name": "webdatset"}
    with pytest.raises(CorekitError, match=r"data\.dataset\.sources\.web\.dataset\.name.*did you "
                                           r"mean 'webdataset'"):
        check_entry("data.dataset", "dataset", wrong)


def test_a_mixture_trains(roots: dict[str, Path], tmp_path: Path) -> None:
    common = [word for word in TINY if not word.startswith(("data.dataset.", "evaluators."))]
    words = (*common, f"data.root={roots['web']}", "data.dataset.name=mixture",
             "~data.dataset.samples", "~data.dataset.objects", "~data.dataset.detail",
             "~evaluators", "engine.steps=2", "data.dataset.sources.web.dataset.name=webdataset",
             "data.dataset.sources.web.weight=3", "data.dataset.sources.drawn.dataset={name: "
             "openmoji, samples: 50}", "data.dataset.sources.drawn.dataset.concepts=10",
             "data.dataset.sources.web.dataset.fields={image: jpg, text: txt, label: cls}")
    done = corekit_command("corekit-train", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [1, 2]


def test_a_source_without_a_folder_is_said_with_the_key_to_type(roots: dict[str, Path],
                                                                tmp_path: Path) -> None:
    def opened(**changes: Any) -> Mixture:
        node = {"name": "mixture", **recipe(roots)}
        node["sources"]["web"]["dataset"] |= changes
        source = open_source(run_config({"model": {"name": "m"}, "data": {"dataset": node}}))
        assert isinstance(source, Mixture)
        return source

    assert len(opened().shard_sizes) == 5
    with pytest.raises(CorekitError,
                       match=r"type data\.dataset\.sources\.web\.dataset\.root=FOLDER"):
        opened(root=None)
    with pytest.raises(CorekitError, match=r"data\.dataset\.sources\.web\.dataset\.root=/not/there "
                                           r"is not a folder"):
        opened(root="/not/there")
    paper = compose("+recipe=aimv2/large")
    with pytest.raises(CorekitError, match=r"type data\.root=FOLDER"):
        open_source(run_config(paper))
    paper["data"]["root"] = str(tmp_path)
    with pytest.raises(CorekitError, match=r"holds no shard that matches 'dfn2b/\*\*/\*\.tar'"):
        open_source(run_config(paper))
