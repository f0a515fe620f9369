"""``corekit list`` and ``corekit show``, read from source."""

import argparse
import fnmatch
import sys
from itertools import takewhile
from pathlib import Path

from corekit import registry
from corekit.errors import CorekitError
from corekit.signatures import nearest
from corekit.source.entries import Entry


def list_names(options: argparse.Namespace) -> None:
    """Print the names of a kind that match a pattern, or all kinds."""
    if options.kind is None:
        kinds = {registry.plural(name): kind.summary for name, kind in registry.kinds().items()}
        _print_table(dict(sorted({**kinds, "recipes": "what a run trains, as YAML"}.items())))
        return
    kind = registry.find_kind(options.kind, "recipe")
    if kind == "recipe":
        from corekit.recipes.find import recipe_file, recipe_names

        summaries = {name: _first_sentence(recipe_file(f"recipe/{name}"))
                     for name in recipe_names()}
    else:
        summaries = {name: entry.summary for name, entry in registry.entries(kind).items()}
    names = fnmatch.filter(summaries, options.pattern)
    if not names:
        raise CorekitError(f"no {kind} matches '{options.pattern}'"
                           f"{nearest(options.pattern.strip('*'), summaries)}")
    _print_table({name: summaries[name] for name in names})


def _print_table(summaries: dict[str, str]) -> None:
    """Print a line for each name, on a terminal with its summary."""
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        print(f"{name:<{width}}  {summary}" if sys.stdout.isatty() else name)


def _first_sentence(path: Path | None) -> str:
    """The first sentence of a recipe's comment after the package line."""
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    comment = takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.lstrip("# ") for line in comment if "@package" not in line)
    return text.partition(". ")[0].rstrip(".")


def show(options: argparse.Namespace) -> None:
    """Print a recipe's file, or an entry's description and arguments."""
    kind = registry.find_kind(options.kind, "recipe")
    if kind == "recipe":
        _show_recipe(options.name)
    else:
        _show_entry(registry.find(kind, options.name))


def _show_recipe(name: str) -> None:
    from corekit.recipes.find import recipe_file, recipe_names

    path = recipe_file(f"recipe/{name}")
    if path is None:
        raise CorekitError(f"there is no recipe '{name}'{nearest(name, recipe_names())}; "
                           "`corekit list recipes` lists them all")
    print(f"# {path}\n{path.read_text(encoding='utf-8')}", end="")


def _show_entry(entry: Entry) -> None:
    signature, fixed = entry.signature, entry.fixed
    print(f"{entry.kind} '{entry.name}'  ({entry.where})\n\n{entry.doc}\n")
    if fixed:
        print("Fixed: " + ", ".join(f"{name} = {value}" for name, value in fixed.items()))
    if not signature.parameters and not signature.open_ended:
        print("It takes no arguments.")
        return
    print("Arguments:")
    for parameter in signature.parameters:
        print(f"  {parameter}")
    if signature.open_ended:
        print("  and others, which its source does not name")
