"""``corekit``: list and show entries, convert and export weights, make data, begin a project."""

import argparse
import sys

from corekit.cli import compare
from corekit.cli.data import add_commands
from corekit.cli.data_writing import add_jobs, add_shards
from corekit.cli.listing import list_names, show
from corekit.cli.registered import add_registered
from corekit.cli.replay import add_replay, add_seen
from corekit.cli.sentences import sentences
from corekit.cli.trained import convert, export, predict


def main() -> None:
    """The command."""
    with sentences():
        parser = make_parser(entries=sys.argv[1:2] == ["data"])  # other commands need not know them
        # What argparse leaves over are words for a job: it takes positional ones in one stretch,
        # people type them anywhere.
        options, words = parser.parse_known_args()
        if words and not hasattr(options, "job"):
            parser.error(f"unrecognized arguments: {' '.join(words)}")
        options.words = words
        options.run(options)


def make_parser(entries: bool) -> argparse.ArgumentParser:
    """The parser of all commands, with those of the registry where ``entries`` are wanted."""
    parser = argparse.ArgumentParser(prog="corekit", description=(
        "List and show what recipes can name, begin a project of your own, and make data."))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="names of a kind: models, losses, recipes, ...")
    listing.add_argument("kind", nargs="?",
                         help="models, losses, recipes, ...; left out: the kinds themselves")
    listing.add_argument("pattern", nargs="?", default="*",
                         help="a shell pattern in quotes, such as 'mobileclip*'")
    listing.set_defaults(run=list_names)

    showing = commands.add_parser("show", help="what an entry is and which arguments it takes")
    showing.add_argument("kind", help="recipe, or what `corekit list` lists")
    showing.add_argument("name")
    showing.set_defaults(run=show)

    new = commands.add_parser("new", help="write a small project that works: ./projects/NAME")
    new.add_argument("name", help="lower-case letters, digits and _")
    new.set_defaults(run=_new)

    convert.add_command(commands)
    export.add_command(commands)
    predict.add_command(commands)
    compare.add_command(commands)
    add_replay(commands)

    data = commands.add_parser("data", help="make, index and check data").add_subparsers(
        dest="data", required=True, metavar="WHAT")
    add_commands(data)
    add_shards(data)
    add_seen(data)

    if entries:
        add_jobs(data)
        add_registered(data)
    return parser


def _new(options: argparse.Namespace) -> None:
    from corekit.cli.new import new_project

    folder = new_project(options.name)
    print(f"""{folder} is a project of your own:
  model.py            a model and a loss
  data.py             a dataset and a sampler
  recipes/first.yaml  a recipe that picks them by name
  README.md           for what it finds
Next:
  corekit-train +recipe={options.name}/first
  corekit show model {options.name}_towers""")
