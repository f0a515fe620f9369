"""The timing of every script here: ways to do the same, in turns in one process.

A turn measures each way once, and every other turn goes through them backwards. Ratios are of the
same turn, so that what slows the machine down for a while slows both sides.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import TypeVar

import torch

T = TypeVar("T")
Side = Callable[[], object]
Context = contextlib.AbstractContextManager[object]


def parser(description: str | None, **numbers: float) -> argparse.ArgumentParser:
    """A parser that prints a script's docstring as it is written.

    Numbers are options with their defaults: ``batch_size=8`` is ``--batch-size``, an integer.
    """
    options = argparse.ArgumentParser(description=description,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in numbers.items():
        options.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return options


def options(description: str | None, pairs: int = 7, **numbers: float) -> argparse.ArgumentParser:
    """A parser with the options of every script that calls ``in_turns``."""
    options = parser(description, **numbers)
    options.add_argument("--pairs", type=int, default=pairs, help="how often each side is timed")
    options.add_argument("--seconds", type=float, default=1.0,
                         help="a side runs at least that long each time")
    options.add_argument("--precision", choices=["fp32", "bf16"], default="fp32",
                         help="bf16: by autocast, on all sides")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return options


def conditions(args: argparse.Namespace) -> str:
    """What the figures depend on beside the code."""
    on_gpu = args.device == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    return f"{device}, torch {torch.__version__}, {args.precision}, {args.pairs} interleaved turns"


def autocast(args: argparse.Namespace) -> Context:
    """The context of a forward pass in the precision asked for."""
    return torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.precision == "bf16")


def call(encode: Callable[[torch.Tensor], T], inputs: torch.Tensor, args: argparse.Namespace,
         context: Callable[[], Context] = torch.inference_mode) -> Callable[[], T]:
    """A side: the encoding of inputs without gradient, in the precision asked for."""
    def side() -> T:
        with context(), autocast(args):
            return encode(inputs)
    return side


def synchronize(device: str | torch.device) -> None:
    """Wait for the GPU, where there is one."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def seconds_of(side: Side, device: str | torch.device = "cpu", at_least: float = 0.0,
               calls: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call: the mean over so many calls or more, until they took so long."""
    synchronize(device)
    start, done = clock(), 0
    while done < calls or clock() - start < at_least:
        side()
        done += 1
        if at_least:
            synchronize(device)
    synchronize(device)
    return (clock() - start) / done


@dataclass(frozen=True)
class Ratio:
    """The ratios of two sides, one a turn."""

    values: list[float]

    def __str__(self) -> str:
        return f"{self.median:.2f} x ({min(self.values):.2f} to {max(self.values):.2f})"

    @property
    def exactly(self) -> str:
        """Median and interval, with four digits."""
        low, high = self.interval
        return f"{self.median:.4f}, 95 % interval {low:.4f} to {high:.4f}"

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """What holds the true median in 95 of 100 cases, by order statistics."""
        values, count, low = sorted(self.values), len(self.values), 0
        # each side may hold it in one of 40 cases
        while low + 1 < count / 2 and 40 * sum(comb(count, k) for k in range(low + 2)) <= 2**count:
            low += 1
        return values[low], values[count - 1 - low]


class Times(dict[str, list[float]]):
    """Seconds of each side, one figure a turn."""

    def median(self, side: str) -> float:
        return statistics.median(self[side])

    def spread(self, side: str) -> str:
        return f"median {self.median(side):.2f} s ({min(self[side]):.2f} to {max(self[side]):.2f})"

    def rates(self, items: int, digits: int = 2) -> str:
        """Items a second of all sides, where a call does so many."""
        return ", ".join(f"{items / self.median(side):.{digits}f}" for side in self)

    def ratio(self, slow: str, fast: str) -> Ratio:
        """How many times as long the first takes."""
        return Ratio([one / other for one, other in zip(self[slow], self[fast], strict=True)])


def take_turns(sides: Mapping[str, Callable[[], float]], turns: int) -> Times:
    """What each side measures of itself, turn by turn; the first turn is in the order given."""
    times = Times({name: [] for name in sides})
    for turn in range(turns):
        for name in list(sides)[::-1 if turn % 2 else 1]:
            times[name].append(sides[name]())
    return times


def in_turns(sides: Mapping[str, Side], args: argparse.Namespace) -> Times:
    """Seconds of a call of each side, after one call of each that is not timed."""
    for side in sides.values():
        side()
    return take_turns({name: partial(seconds_of, side, args.device, args.seconds)
                       for name, side in sides.items()}, args.pairs)
