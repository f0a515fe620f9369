"""``corekit data index`` and ``corekit data check``."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.errors import CorekitError

if TYPE_CHECKING:  # --help needs no numpy
    from corekit.data.check import Findings
    from corekit.data.index import Index


def add_commands(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them to ``corekit data``."""
    index = data.add_parser("index", help="index a folder of tar shards, so that runs start at once")
    index.set_defaults(run=_index)
    check = data.add_parser(
        "check", help="what is in a folder of shards, and what is wrong with it",
        description="Read and decode every sample; say what there is and which samples are bad, by kind. "
                    "Exit status: 0 where all is well, 1 where samples are bad, 2 where nothing could be checked.")
    check.add_argument("--picture", type=Path, help="a PNG file to draw a few samples in, with their captions")
    check.add_argument("--samples", type=int, default=5, help="how many samples the picture shows")
    check.set_defaults(run=_check)
    for command in (index, check):
        command.add_argument("root", help="the folder or URL, as data.root names it")
        command.add_argument("--shards", default="**/*.tar", help="pattern of the shards' names under it")
        command.add_argument("--workers", type=int, default=2, help="processes")


def _load(chosen: argparse.Namespace) -> "Index":
    from corekit.data.index import load_index

    return load_index(chosen.root, chosen.shards, chosen.workers)


def _index(chosen: argparse.Namespace) -> None:
    print(_size(_load(chosen), chosen.root))


def _size(index: "Index", root: str) -> str:
    return (f"{len(index):,} shards, {index.samples.sum():,} samples, {index.sizes.sum() / 2**30:.2f} GiB under {root}")


def _check(chosen: argparse.Namespace) -> None:
    from corekit.data.check import Findings, check_index, picture_of

    if chosen.samples < 1 or (chosen.picture is not None and not chosen.picture.absolute().parent.is_dir()):
        raise CorekitError(f"--picture {chosen.picture} with {chosen.samples} samples cannot be drawn: it needs a folder that "
                           "is there, and at least one sample")
    index = _load(chosen)
    print(_size(index, chosen.root))
    found = Findings()
    for part in _with_progress(check_index(index, chosen.workers), len(index)):
        found.add(part)
    _tell(found)
    if chosen.picture is not None:
        from PIL import Image

        Image.fromarray(picture_of(index, chosen.samples)).save(chosen.picture, "PNG")
        print(f"{'picture':<12}{chosen.picture}")
    if found.problems():
        sys.exit(1)


def _with_progress(parts: "Iterable[Findings]", total: int) -> "Iterator[Findings]":
    if not sys.stderr.isatty():
        yield from parts
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(parts, "reading shards", total=total, console=Console(stderr=True), transient=True)


def _tell(found: "Findings") -> None:
    from corekit.data.check import spread

    print(f"{'fields':<12}" + ", ".join(f"{name} {count:,}" for name, count in found.extensions.most_common()))
    if found.widths:
        print(f"{'images':<12}{found.widths.total():,}; width {spread(found.widths)}, height {spread(found.heights)} pixels "
              "(least / median / most)")
    if found.lengths:
        print(f"{'captions':<12}{found.lengths.total():,}; {spread(found.lengths)} characters")
    problems = found.problems()
    bad = sum(count for count, _ in problems.values())
    print(f"{'bad':<12}" + (f"{bad:,} samples, {bad / found.samples:.3%}" if bad else "none"))
    for kind, (count, names) in sorted(problems.items()):
        print(f"  {kind}: {count:,}")
        for name in names:
            print(f"    {name}")
        if count > len(names):
            print("    ...")
