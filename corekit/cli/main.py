"""``corekit``: list and show what there is, convert and export weights, make data, and begin a project."""

import argparse
import fnmatch
import sys
from pathlib import Path

from corekit import registry
from corekit.cli import convert, export
from corekit.cli.data import add_commands, add_jobs
from corekit.cli.registered import add_registered
from corekit.cli.sentences import sentences
from corekit.errors import CorekitError
from corekit.signatures import nearest


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="corekit", description="List and show what recipes can name, begin a project of "
                                                                 "your own, and make data.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="names of a kind: models, losses, recipes, ...")
    listing.add_argument("kind", nargs="?", help="models, losses, recipes, ...; left out: the kinds themselves")
    listing.add_argument("pattern", nargs="?", default="*",
                         help="a shell pattern in quotes, such as 'mobileclip*'")
    listing.set_defaults(run=_list)

    showing = commands.add_parser("show", help="what an entry is and which arguments it takes")
    showing.add_argument("kind", help="recipe, or what `corekit list` lists")
    showing.add_argument("name")
    showing.set_defaults(run=_show)

    new = commands.add_parser("new", help="write a small project that works: ./projects/NAME")
    new.add_argument("name", help="lower-case letters, digits and _")
    new.set_defaults(run=_new)

    convert.add_command(commands)
    export.add_command(commands)

    data = commands.add_parser("data", help="make, index and check data").add_subparsers(
        dest="data", required=True, metavar="WHAT")
    add_commands(data)
    openmoji = data.add_parser("openmoji", help="write drawn scenes with captions as WebDataset shards")
    openmoji.add_argument("out", type=Path, help="the folder to write")
    openmoji.add_argument("--samples", type=int, default=20_000)
    openmoji.add_argument("--seed", type=int, default=0)
    openmoji.add_argument("--split", choices=("train", "validation"), default="train",
                          help="validation: one object a scene, and no seed in common with training")
    openmoji.add_argument("--size", type=int, default=256, help="pixels of the square scenes")
    openmoji.add_argument("--objects", type=int, nargs=2, metavar=("LEAST", "MOST"), help="objects of a scene; 1 to 3, "
                          "and 1 for validation")
    openmoji.add_argument("--workers", type=int, default=2, help="processes")
    openmoji.set_defaults(run=_openmoji)

    with sentences():
        if sys.argv[1:2] == ["data"]:  # the other commands need not know them
            add_jobs(data)
            add_registered(data)
        # What argparse leaves over are words for a job: it takes positional ones in one stretch,
        # people type them anywhere.
        chosen, words = parser.parse_known_args()
        if words and not hasattr(chosen, "job"):
            parser.error(f"unrecognized arguments: {' '.join(words)}")
        chosen.words = words
        chosen.run(chosen)


def _list(chosen: argparse.Namespace) -> None:
    if chosen.kind is None:
        kinds = {registry.plural(name): kind.summary for name, kind in registry.kinds().items()}
        _print_table(dict(sorted({**kinds, "recipes": "what a run trains, as YAML"}.items())))
        return
    kind = registry.find_kind(chosen.kind, "recipe")
    if kind == "recipe":
        from corekit.recipes.find import recipe_file, recipe_names

        summaries = {name: _first_comment(recipe_file(f"recipe/{name}")) for name in recipe_names()}
    else:
        summaries = {name: entry.summary for name, entry in registry.entries(kind).items()}
    names = fnmatch.filter(summaries, chosen.pattern)
    if not names:
        raise CorekitError(f"no {kind} matches '{chosen.pattern}'"
                           f"{nearest(chosen.pattern.strip('*'), summaries)}")
    _print_table({name: summaries[name] for name in names})


def _print_table(summaries: dict[str, str]) -> None:
    """A line for each name: on a terminal with what it is."""
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        print(f"{name:<{width}}  {summary}" if sys.stdout.isatty() else name)


def _first_comment(path: Path | None) -> str:
    """What a recipe says of itself: its first comment after the package line."""
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    return next((line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line), "")


def _show(chosen: argparse.Namespace) -> None:
    kind = registry.find_kind(chosen.kind, "recipe")
    if kind == "recipe":
        from corekit.recipes.find import recipe_file, recipe_names

        path = recipe_file(f"recipe/{chosen.name}")
        if path is None or not path.is_file():
            raise CorekitError(f"there is no recipe '{chosen.name}'{nearest(chosen.name, recipe_names())}; "
                               "`corekit list recipes` lists them all")
        print(f"# {path}\n{path.read_text(encoding='utf-8')}", end="")
        return
    entry = registry.find(kind, chosen.name)
    signature, fixed = entry.signature, entry.fixed
    print(f"{kind} '{entry.name}'  ({entry.path}:{entry.line})\n")
    print(f"{entry.doc}\n")
    if fixed:
        print("Fixed: " + ", ".join(f"{name} = {value}" for name, value in fixed.items()))
    print("Arguments:" if signature.parameters or signature.open_ended else "It takes no arguments.")
    for parameter in signature.parameters:
        print(f"  {parameter}")
    if signature.open_ended:
        print("  and others, which its source does not name")


def _new(chosen: argparse.Namespace) -> None:
    from corekit.cli.new import new_project

    folder = new_project(chosen.name)
    print(f"""{folder} is a project of your own:
  model.py            a model and a loss
  data.py             a dataset and a sampler
  recipes/first.yaml  a recipe that picks them by name
  README.md           for what it finds
Next:
  corekit-train +recipe={chosen.name}/first
  corekit show model {chosen.name}_towers""")


def _openmoji(chosen: argparse.Namespace) -> None:
    from corekit.data.datasets.openmoji.dataset import OpenMoji
    from corekit.data.shards.writer import write_shards

    objects = tuple(chosen.objects or ((1, 1) if chosen.split == "validation" else (1, 3)))
    source = OpenMoji(chosen.samples, chosen.seed, chosen.split, size=chosen.size, objects=objects)
    write_shards(source, chosen.out, workers=chosen.workers)
    print(f"{chosen.samples:,} scenes under {chosen.out}; train on them with data.root={chosen.out}")
