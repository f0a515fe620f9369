"""Samplers, which decide the batch of a step and keep no state."""

import math
from functools import lru_cache

import numpy as np

from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register
from corekit.seeds import numpy_generator


@register("sampler", "fixed_size")
class FixedSize:
    """Every batch holds ``batch_size`` samples of one image size, the same number from each stream.

    Args:
        batch_size: samples of one step, over all ranks.
        streams: stretches that the data is read in; divides ``batch_size``.

    Raises:
        CorekitError: the streams do not divide the batch.
    """

    def __init__(self, batch_size: int, streams: int) -> None:
        if streams < 1 or batch_size % streams:
            divisor = math.gcd(max(streams, 1), batch_size)
            raise CorekitError(f"data.streams={streams} must divide engine.batch_size="
                               f"{batch_size}: every stream gives as many samples to each batch. "
                               f"data.streams={divisor} does")
        self.per_stream = batch_size // streams

    def draws(self, step: int) -> range:
        """The draws that every stream makes for the batch of a step."""
        return range(step * self.per_stream, (step + 1) * self.per_stream)


class Rounds:
    """Sizes in rounds: a round has each entry of a table once, in an order of its own.

    The size of a step is a function of the seed and the step, the same for all streams; what was
    drawn before a step is arithmetic. ``table`` has (size, samples of a stream), smallest first.
    """

    def __init__(self, table: list[tuple[int, int]], seed: int) -> None:
        self.table, self.seed = table, seed
        self.total = sum(samples for _, samples in table)

    def size(self, step: int) -> int:
        """Pixels of a side of the images of a step."""
        turn, place = divmod(step, len(self.table))
        return self.table[_shuffled(self.seed, turn, len(self.table))[place]][0]

    def draws(self, step: int) -> range:
        """The draws that every stream makes for the batch of a step."""
        turn, place = divmod(step, len(self.table))
        order = _shuffled(self.seed, turn, len(self.table))[:place + 1]
        samples = [self.table[index][1] for index in order]
        first = turn * self.total + sum(samples[:-1])
        return range(first, first + samples[-1])


@register("sampler", "variable_size")
class VariableSize(Rounds):
    """Batches of different image sizes, with as many samples as keep their pixels about constant.

    Multi-scale variable batches (Mehta and Rastegari, MobileViT, 2022, section 3.2; Mehta et al.,
    CatLIP, 2024). The sizes are ``scales`` equal steps from ``smallest`` to ``largest`` and the
    preprocessing's own one, each rounded to a multiple of ``divisor``. At size s a stream gives
    base_samples * base_size^2 / s^2 samples, rounded down, and at least one: with many samples a
    stream the pixels stay closer. Evaluation and ``preprocess.json`` have the preprocessing's size.

    The sizes come in rounds (``Rounds``). CoreNet draws them independently, which gives the same
    sizes in the long run.

    A micro-batch is a block of streams, so it has ``engine.micro_batch`` samples at the
    preprocessing's size, and about as many pixels at the others.

    Args:
        batch_size: samples of one step at the preprocessing's size, over all ranks.
        streams: stretches that the data is read in; divides ``batch_size``.
        preprocess: gives the size that ``batch_size`` is for.
        seed: of the order of the sizes.
        smallest, largest: pixels of a side.
        scales: sizes before rounding, which makes some of them the same.
        divisor: of every size, such as the model's patches are wide.

    Attributes:
        table: (size, samples of a stream) of every size, smallest first.

    Raises:
        CorekitError: the streams do not divide the batch, or the divisor does not divide the sizes.
    """

    def __init__(self, batch_size: int, streams: int, preprocess: Preprocess, seed: int,
                 smallest: int, largest: int, scales: int = 25, divisor: int = 32) -> None:
        base, per_stream = preprocess.size, FixedSize(batch_size, streams).per_stream
        if min(divisor, scales, smallest) < 1 or smallest > largest:
            raise CorekitError("sampler 'variable_size' needs scales and divisor above 0, and 0 < "
                               f"smallest={smallest} <= largest={largest}")
        if any(size % divisor for size in (smallest, largest, base)):
            raise CorekitError(f"sampler 'variable_size': smallest={smallest}, largest={largest} "
                               f"and data.preprocess.size={base} must be multiples of "
                               f"divisor={divisor}")
        even = np.linspace(smallest, largest, scales)
        sizes = {base, *(int(size + divisor / 2) // divisor * divisor for size in even)}
        super().__init__([(size, max(1, int(round(per_stream * base**2 / size**2, 2))))
                          for size in sorted(sizes)], seed)


@lru_cache(maxsize=16)
def _shuffled(seed: int, turn: int, count: int) -> list[int]:
    order: list[int] = numpy_generator(seed, "size", turn).permutation(count).tolist()
    return order
