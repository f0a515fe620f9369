"""``corekit data NAME`` for every entry of kind ``command``, such as ``corekit data openmoji``."""

import argparse
import re
from typing import Literal

from corekit import registry
from corekit.errors import CorekitError
from corekit.printable import override
from corekit.signatures import Parameter
from corekit.source.entries import Entry

TYPES = {"int": int, "float": float}
PREFIX = "argument "  # of what is an argument of the entry among all that was parsed


def add_registered(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to ``corekit data``; a CorekitError where two have one name."""
    for entry in registry.entries("command").values():
        if entry.name in data.choices:
            raise CorekitError(f"{entry.where}: there is a `corekit data {entry.name}` already: "
                               "take another name")
        summary = entry.summary.replace("%", "%%")  # argparse formats it, and not a description
        command = data.add_parser(entry.name, help=summary,
                                  description=entry.doc.partition("\n\nArgs:")[0],
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        for parameter in entry.signature.parameters:
            _add_argument(command, parameter, _described(entry, parameter.name))
        command.set_defaults(run=_run, entry=entry)


def _add_argument(command: argparse.ArgumentParser, parameter: Parameter, described: str) -> None:
    """Add a word for a required parameter, a switch for a bool, else an option with a default."""
    option, destination = "--" + parameter.name.replace("_", "-"), PREFIX + parameter.name
    annotation = parameter.annotation or ""
    pair = re.match(r"tuple\[(\w+(?:, \w+)*)\]", annotation)  # tuple[int, int]: two words
    types = pair[1].split(", ") if pair else [annotation.partition(" ")[0]]
    convert = TYPES.get(types[0], str)
    if parameter.annotation == "bool":
        command.add_argument(option, action="store_true", help=described, dest=destination)
    elif parameter.required:
        command.add_argument(destination, type=convert, help=described, metavar=parameter.name)
    else:
        command.add_argument(option, type=convert, default=argparse.SUPPRESS, dest=destination,
                             nargs=len(types) if pair else None, metavar=parameter.name.upper(),
                             help=f"{described} (default: {parameter.default})")


def _described(entry: Entry, name: str) -> str:
    """The docstring's description of an argument."""
    match = re.search(rf"^ *{name}: (.*(?:\n {{8,}}.*)*)", entry.doc, re.MULTILINE)
    return " ".join(match[1].split()).replace("%", "%%") if match else ""


def _run(options: argparse.Namespace) -> None:
    entry: Entry = options.entry
    arguments = {name.removeprefix(PREFIX): value for name, value in vars(options).items()
                 if name.startswith(PREFIX)}
    registry.build(entry.kind, entry.name, arguments)


@registry.register("command", "openmoji")
def openmoji(out: str, samples: int = 20_000, seed: int = 0,
             split: Literal["train", "validation"] = "train", size: int = 256,
             objects: tuple[int, int] | None = None, workers: int = 2) -> None:
    """write drawn scenes with captions as WebDataset shards

    Args:
        out: the folder to write.
        samples: how many scenes.
        seed: of all draws.
        split: validation has one object a scene, and no seed in common with training.
        size: pixels of the square scenes.
        objects: least and most objects of a scene; 1 to 3, and 1 for validation.
        workers: processes.
    """
    from pathlib import Path

    from corekit.data.datasets.openmoji.dataset import OpenMoji
    from corekit.data.shards.writer import write_shards

    least, most = objects or ((1, 1) if split == "validation" else (1, 3))
    source = OpenMoji(samples, seed, split, size=size, objects=(least, most))
    write_shards(source, Path(out), workers=workers)
    print(f"{samples:,} scenes under {out}; train on them with {override('data.root', out)}")


@registry.register("command", "photographs")
def photographs(out: str, packages: str = "/", workers: int = 2) -> None:
    """write evaluation sets of real photographs, from two packages of Debian

    Args:
        out: the folder to write.
        packages: the folder that tuxpaint-stamps-default and gcompris-qt-data lie under.
        workers: processes.
    """
    from pathlib import Path

    from corekit.data.photographs.sets import write_photographs

    for name, count in write_photographs(Path(packages), Path(out), workers).items():
        print(f"{name:<12}{count:,} photographs")
    print("evaluate a model on them with corekit-eval checkpoint=MODEL +evaluation=photographs "
          f"{override('data.root', out)}")
