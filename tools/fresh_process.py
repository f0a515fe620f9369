"""Peak memory of work done in a process of its own."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from timing import autocast, parser
from torch import Tensor

from corekit.train.logger import peak_memory

FORMS = ("nothing", "held", "blocks")
# (samples, classes) -> a function of the summed loss in the form asked for, and how many it sums
Prepare = Callable[[int, int], tuple[Callable[[], Tensor], int]]


def again(*words: str) -> Any:
    """The last line of output, as JSON, of this script run once more with words added."""
    printed = subprocess.run([sys.executable, *sys.argv, *words], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    return json.loads(printed.splitlines()[-1])


def peak(device: str) -> int:
    """Bytes of this process's largest memory so far: resident, or allocated on the GPU."""
    return peak_memory(torch.device(device))


def loss_options(description: str | None, **numbers: float) -> argparse.ArgumentParser:
    """A parser of the scripts that compare a loss in blocks with one that holds all logits."""
    options = parser(description, **numbers)
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options.add_argument("--form", choices=FORMS, help="used by the script itself")
    return options


def print_loss(args: argparse.Namespace, prepare: Prepare, classes: int, small: int) -> None:
    """Peak memory, seconds and value of one form's loss and gradients, as JSON.

    Args:
        small: samples of a first loss of 64 classes, by which libraries have their working memory.
    """
    seconds_and_loss(args, *prepare(small, 64))
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, loss = seconds_and_loss(args, *prepare(args.batch_size, classes))
    print(json.dumps({"peak": peak(args.device), "seconds": seconds, "loss": loss}))


def seconds_and_loss(args: argparse.Namespace, loss_of: Callable[[], Tensor],
                     count: int) -> tuple[float, float]:
    """Seconds of the mean loss with its gradients, and its value."""
    start = time.perf_counter()
    with autocast(args):
        loss = loss_of()
    if loss.requires_grad:
        torch.autograd.backward(loss / count)
    value = loss.item() / count
    return time.perf_counter() - start, value


def compare_forms(args: argparse.Namespace, sizes: str,
                  digits: int) -> tuple[int, int, dict[str, dict[str, float]]]:
    """Run every form in a process of its own, and print both sides.

    Returns:
        bytes of the form that holds all and of the one in blocks, and the figures of each.
    """
    figures = {form: again("--form", form) for form in FORMS}
    nothing = figures["nothing"]["peak"]
    print(f"{sizes}, width {args.width}, blocks of {args.block}, {args.device}, "
          f"{args.precision}; features and head alone {nothing / 2**20:.0f} MiB")
    for form in FORMS[1:]:
        print(f"  {form:<8}{(figures[form]['peak'] - nothing) / 2**20:8.0f} MiB   "
              f"{figures[form]['seconds']:7.3f} s   loss {figures[form]['loss']:.{digits}f}")
    held, blocks = (figures[form]["peak"] - nothing for form in FORMS[1:])
    print(f"  memory in blocks: {blocks / held:.1%} of what the held form needs")
    return held, blocks, figures
