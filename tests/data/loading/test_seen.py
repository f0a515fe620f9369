"""When a sample is drawn: the answer of a walk through all draws, by arithmetic."""

from collections import defaultdict

import numpy as np
import pytest

from corekit.data.datasets.mixture import Mixture
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.loading.batch_shape import FixedSize, VariableSize
from corekit.data.loading.loader import Sampler
from corekit.data.loading.seen import find_sample, steps_of
from corekit.data.loading.shuffled_order import MixedOrder, ShuffledOrder
from corekit.data.transforms.preprocess import Preprocess

STREAMS, STEPS = 4, 40
SHARDS = np.array([10, 7, 0, 13, 1])
FIXED = FixedSize(8, STREAMS)
VARIABLE = VariableSize(batch_size=16, streams=STREAMS, seed=0, smallest=32, largest=96, scales=3,
                        preprocess=Preprocess(64, "bilinear", (0, 0, 0), (1, 1, 1)))
ONE = ShuffledOrder(SHARDS, STREAMS, window=3, seed=1)
OTHER = ShuffledOrder(np.array([9, 4]), STREAMS, window=5, seed=2)
MIXED = MixedOrder([ONE, OTHER], [3, 2], seed=3)


@pytest.mark.parametrize("sampler", [FIXED, VARIABLE])
@pytest.mark.parametrize("order", [ONE, MIXED])
def test_every_sample_is_seen_in_the_steps_that_draw_it(order: ShuffledOrder | MixedOrder,
                                                        sampler: Sampler) -> None:
    drawn: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for step in range(STEPS):
        for stream in range(STREAMS):
            for draw in sampler.draws(step):
                where = order.locate(stream, draw)
                places = [(part.shard, part.first + place)
                          for part in order.segments(stream, where.pass_number, where.window,
                                                     where.source)
                          for place in range(part.count)]
                drawn[places[where.position]].append((step, stream))
    shards = SHARDS.tolist() if order is ONE else [*SHARDS.tolist(), 9, 4]
    for shard, size in enumerate(shards):
        for position in range(size):
            assert steps_of(order, sampler, shard, position, STEPS) == drawn[shard, position]


@pytest.mark.parametrize("mixed", [False, True])
def test_a_sample_is_found_by_its_key(mixed: bool) -> None:
    scenes = OpenMoji(samples=2_100, concepts=10)
    source = Mixture({"a": {"dataset": scenes}, "b": {"dataset": OpenMoji(samples=20, seed=1)}})
    shards = len(scenes.shard_sizes)
    for shard, position in ((0, 3), (shards - 1, 5)):
        key = scenes.decode(scenes.read(shard, position, 1)[0])["key"]
        assert list(find_sample(source if mixed else scenes, key)) == [(shard, position)]
    assert list(find_sample(source, "nobody")) == []
