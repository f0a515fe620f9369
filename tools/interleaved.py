"""Two or more ways to do the same, timed in turns in one process: what the speed scripts here have
in common.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Mapping

import torch

Side = Callable[[], object]


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every such script takes."""
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="how often each side is timed")
    parser.add_argument("--seconds", type=float, default=1.0, help="a side runs at least that long "
                                                                   "each time")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: by "
                        "autocast, "
                        "on all sides")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def conditions(chosen: argparse.Namespace) -> str:
    """What the figures depend on beside the code."""
    device = torch.cuda.get_device_name(
    ) if chosen.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{device}, torch {torch.__version__}, {chosen.precision}, {chosen.pairs} interleaved turns"


def autocast(chosen: argparse.Namespace) -> contextlib.AbstractContextManager[object]:
    """The context of a forward pass in the precision asked for."""
    return torch.autocast(chosen.device, dtype=torch.bfloat16, enabled=chosen.precision == "bf16")


def seconds_of(side: Side, at_least: float, device: str) -> float:
    """Seconds of one call: the mean over calls for at least so long."""
    synchronize(device)
    began = time.perf_counter()
    calls = 0
    while not calls or time.perf_counter() - began < at_least:
        side()
        synchronize(device)
        calls += 1
    return (time.perf_counter() - began) / calls


def synchronize(device: str) -> None:
    """Wait for the GPU, where there is one."""
    if device == "cuda":
        torch.cuda.synchronize()


def in_turns(sides: Mapping[str, Side], chosen: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of a call of each side, turn by turn, after one call of each; every other turn goes
    backwards.
    """
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(chosen.pairs):
        for name in sorted(sides, key=list(sides).index, reverse=turn % 2 == 1):
            times[name].append(seconds_of(sides[name], chosen.seconds, chosen.device))
    return times


def ratio(times: Mapping[str, list[float]], theirs: str, ours: str) -> tuple[float, str]:
    """How many times faster ours is: the median of the turns' ratios, and that with their range."""
    ratios = [one / other for one, other in zip(times[theirs], times[ours], strict=True)]
    middle = statistics.median(ratios)
    return middle, f"{middle:.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
