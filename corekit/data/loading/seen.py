"""When a run draws a sample: the order read backwards."""

from bisect import bisect_right
from collections.abc import Iterator

from corekit.data.datasets.base import BadSampleError, Source, dataset_info
from corekit.data.loading.loader import Sampler
from corekit.data.loading.shuffled_order import MixedOrder, ShuffledOrder

AT_ONCE = 256  # samples that are read together


def find_sample(source: Source, key: str) -> Iterator[tuple[int, int]]:
    """(shard, position) of every sample with a key; all samples are read for it."""
    own = dataset_info(source).key_of
    for shard, size in enumerate(source.shard_sizes.tolist()):
        for first in range(0, size, AT_ONCE):
            handles = source.read(shard, first, min(AT_ONCE, size - first))
            for position, handle in enumerate(handles, first):
                if (own(handle) if own else _decoded_key(source, handle)) == key:
                    yield shard, position


def steps_of(order: ShuffledOrder | MixedOrder, sampler: Sampler, shard: int, position: int,
             steps: int) -> list[tuple[int, int]]:
    """(step, stream) of every time that a sample is drawn before ``steps``, both counted from 0."""
    draws = order.draws_of(shard, position, before=sampler.draws(steps).start)
    return sorted((bisect_right(range(steps), draw, key=lambda step: sampler.draws(step).start) - 1,
                   stream) for stream, draw in draws)


def _decoded_key(source: Source, handle: object) -> str | None:
    try:
        return str(source.decode(handle)["key"])
    except BadSampleError:
        return None
