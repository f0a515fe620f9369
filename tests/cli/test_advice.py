"""Every command, pip line and key that a message advises leads somewhere."""

import argparse
import ast
import configparser
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from corekit import registry
from corekit.cli.main import make_parser
from corekit.recipes.compose import compose
from corekit.recipes.find import recipe_names
from corekit.recipes.hydra_schema import recipe_schema
from corekit.recipes.hydra_sources import known_keys
from corekit.recipes.schema import EvaluationConfig

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"`(corekit[^`]*)`|(corekit(?:-train|-eval) [^;,)(]*|corekit data \w+)")
PIP = re.compile(r"pip install '(.*?)'")
KEY = re.compile(r"(?<![\w./{}\"'])([a-z_]+(?:\.[a-z_]+)+)(?:\.\{\w+\})?=|"
                 r"[^.\w](run_dir|checkpoint)=")
FREE = {"model": "model", "loss": "loss", "sampler": "sampler", "optimizer": "optimizer",
        "schedule": "schedule", "data.dataset": "dataset", "data.tokenizer": "tokenizer",
        "data.transform": "transform", "init.head_arguments": "head", "captioner": "captioner"}
# what stands in a message for something of the user's -> one such thing
FILLED = {"FOLDER": "x", "OUT": "x", "{folder}": "x", "{args.folder}": "x", "NAME": "mobileclip_s2",
          "{options.name}": "idea"}
PLURALS = re.compile(r"\{(registry\.)?plural\(kind\)\}")
PROSE = re.compile(r"corekit-eval (takes|--help (tells|lists))")  # what goes on after a command


def messages() -> Iterator[tuple[str, str]]:
    """(file, text) of every string in the source but docstrings; {expression} for what varies."""
    for file in sorted([*ROOT.glob("corekit/**/*.py"), *ROOT.glob("projects/**/*.py")]):
        tree = ast.parse(file.read_text())
        parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
                 for part in node.values}
        parts |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield str(file.relative_to(ROOT)), "".join(
                    str(part.value) if isinstance(part, ast.Constant) else
                    f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
                    for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (
                    node not in parts):
                yield str(file.relative_to(ROOT)), node.value


def advised(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """(file, what a pattern finds) in all messages."""
    return [(file, next(filter(None, match.groups())))
            for file, text in messages() for match in pattern.finditer(text)]


@cache
def parser() -> argparse.ArgumentParser:
    return make_parser(entries=True)


def try_command(command: str) -> None:
    """Parse a command, or compose it; it may be named without what it is to be given."""
    for word, value in FILLED.items():
        command = command.replace(word, value)
    program, *words = shlex.split(command.partition("\n")[0])
    if program == "corekit-eval" or words == ["--cfg", "job"]:
        return
    if program == "corekit-train":
        if not words[0].endswith("/first"):  # the project that `corekit new` writes
            compose(*words)
        return
    for more in ([], ["x"], ["x", "1"]):
        try:
            options, unknown = parser().parse_known_args([*words, *more])
        except SystemExit:
            continue
        assert not unknown, command
        if words[0] == "list" and len(words) > 1:
            kind = registry.find_kind(options.kind, "recipe")
            assert recipe_names() if kind == "recipe" else registry.names(kind), command
        return
    raise AssertionError(f"`{command}` is no command")


def test_every_advised_command_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    commands = advised(COMMAND)
    assert len(commands) > 25, "the pattern finds them"
    plurals = [registry.plural(kind) for kind in registry.kinds() if registry.names(kind)]
    filled = {PLURALS.sub(plural, template).replace("{entry.name}", "openmoji")
              for _, template in commands for plural in plurals}
    for command in filled:
        if not PROSE.match(command):
            try_command(command)
    capsys.readouterr()
    for wrong in ("corekit list losss", "corekit data chek", "corekit data index x --shardz y"):
        with pytest.raises((AssertionError, registry.CorekitError)):
            try_command(wrong)


def test_every_pip_line_names_an_extra() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = advised(PIP)
    assert len(lines) > 4
    for file, line in lines:
        name, extra = re.fullmatch(r"(\w+)\[(\w+)\]", line).groups()  # type: ignore[union-attr]
        assert name == "corekit", file
        assert extra in setup["options.extras_require"], f"{file}: {line}"


def test_every_advised_key_is_one() -> None:
    known = {*known_keys(recipe_schema()), *known_keys(recipe_schema(EvaluationConfig))}
    keys = advised(KEY)
    assert len(keys) > 40
    for file, key in keys:
        section = next((each for each in FREE if key.startswith(f"{each}.")), None)
        if section is None:
            assert key in known or key.startswith("evaluators."), f"{file}: {key}"
            continue
        argument = key.removeprefix(f"{section}.").split(".")[0]
        entries = registry.entries(FREE[section]).values()
        assert argument in ("name", "inputs", "outputs", "frozen", "weight") or any(
            argument in entry.signature.names for entry in entries), f"{file}: {key}"
