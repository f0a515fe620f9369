"""``corekit data NAME`` for every entry of kind ``command``: its arguments become words and options."""

import argparse
import re

from corekit import registry
from corekit.errors import CorekitError
from corekit.signatures import Parameter
from corekit.source.entries import Entry

TYPES = {"int": int, "float": float}
PREFIX = "argument "  # of what is an argument of the entry among all that was parsed


def add_registered(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to ``corekit data``, read from source.

    Raises:
        CorekitError: a command has the name of another one.
    """
    for entry in registry.entries("command").values():
        if entry.name in data.choices:
            raise CorekitError(f"{entry.path}:{entry.line}: there is a `corekit data {entry.name}` already: "
                               "take another name")
        about = entry.doc.split("\n\nArgs:")[0].replace("%", "%%")
        command = data.add_parser(entry.name, help=entry.summary.replace("%", "%%"), description=about,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        for parameter in entry.signature.parameters:
            _add_argument(command, parameter, _described(entry, parameter.name))
        command.set_defaults(run=_run, entry=entry)


def _add_argument(command: argparse.ArgumentParser, parameter: Parameter, described: str) -> None:
    """A word where it is required, a switch where it is a bool, otherwise an option with its default."""
    option, destination = "--" + parameter.name.replace("_", "-"), PREFIX + parameter.name
    convert = TYPES.get((parameter.annotation or "").partition(" ")[0], str)
    if parameter.annotation == "bool":
        command.add_argument(option, action="store_true", help=described, dest=destination)
    elif parameter.required:
        command.add_argument(destination, type=convert, help=described, metavar=parameter.name)
    else:
        command.add_argument(option, type=convert, default=argparse.SUPPRESS, dest=destination,
                             metavar=parameter.name.upper(), help=f"{described} (default: {parameter.default})")


def _described(entry: Entry, name: str) -> str:
    """What the docstring says of an argument."""
    found = re.search(rf"^ *{name}: (.*(?:\n {{8,}}.*)*)", entry.doc, re.MULTILINE)
    return " ".join(found[1].split()).replace("%", "%%") if found else ""


def _run(chosen: argparse.Namespace) -> None:
    entry: Entry = chosen.entry
    registry.build(entry.kind, entry.name, {name.removeprefix(PREFIX): value
                                            for name, value in vars(chosen).items() if name.startswith(PREFIX)})
