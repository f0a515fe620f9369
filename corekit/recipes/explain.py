"""Errors of Hydra and OmegaConf as sentences that a user can act on."""

import re

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from corekit.recipes.find import recipe_names
from corekit.recipes.hydra_schema import FREE_SECTIONS
from corekit.recipes.hydra_sources import nearest_key
from corekit.recipes.origin import file_of
from corekit.signatures import nearest

_DETAILS = ("full_key", "object_type", "reference_type", ":")  # how such lines of OmegaConf begin
_REASONS = ("Value", "Invalid", "Key", "Cannot")
ENDLESS = RecursionError  # what Hydra raises for a recipe that builds on itself
FOREIGN = (HydraException, OmegaConfBaseException, yaml.YAMLError)  # what explain() explains


def explain(error: Exception) -> str:
    """One sentence for an error of composition: what, where, and the nearest right thing."""
    if isinstance(error, ENDLESS):
        return "the `defaults` of a recipe lead back to the recipe itself: take that line out"
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    text = f"{error}\n{root}" if root is not error else str(error)
    if isinstance(error, OverrideParseException):
        return (f"'{error.override}' on the command line cannot be read; put the whole override in "
                "quotes, and values with spaces, brackets or commas in quotes of their own: "
                "\"key='a, b'\"")
    if match := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        key, value = match.groups()
        return (f"'{key}={value}' on the command line could be one value or several: for one, type "
                f"'{key}=\"{value}\"' with both quotes; for a run of each, add -m")
    if isinstance(error, MissingConfigException):
        return _explain_missing(error)
    if match := re.search(r"Could not (?:override|append to config|delete from config).*?'([^']+)'",
                          text, re.S):
        return _explain_unknown_key(match.group(1), text)
    if match := re.search(r"Error merging override ~(\S+)", text):
        return (f"'~{match.group(1)}' on the command line: this key cannot be removed, only what "
                f"stands inside it, such as '~{match.group(1)}.NAME'")
    if match := re.search(r"In '([^']+)': \w+ raised while\s+composing config:\s*", text):
        return f"{file_of(match.group(1))}: {_explain_value(text[match.end():])}"
    if isinstance(root, yaml.YAMLError):
        return f"a recipe file is not valid YAML: {' '.join(str(root).split())}"
    return _explain_value(text)


def _explain_missing(error: MissingConfigException) -> str:
    match = re.search(r"Could not find '([^']+)'", str(error))
    path = match.group(1) if match else str(error.missing_cfg_file)
    if path.startswith("recipe/"):
        name = path.removeprefix("recipe/")
        return (f"there is no recipe '{name}'{nearest(name, recipe_names())}; "
                "`corekit list recipes` lists them all")
    group, _, option = path.rpartition("/")
    options = list(error.options or [])
    offered = f"; options are {', '.join(options)}" if options else "; it names no group of options"
    if not group:
        return f"there is no option or group '{path}'{offered}"
    return f"there is no '{option}' in group '{group}'{nearest(option, options)}{offered}"


def _explain_unknown_key(key: str, text: str) -> str:
    if "An item is already at" in text:
        return (f"'+{key}' on the command line: '{key}' is there already, so change it without "
                f"the +: {key}=...")
    if key.split(".")[0] == "recipe":
        return "a recipe is added with a +: type +recipe=PROJECT/NAME"
    return (f"'{key}' on the command line is not a key of a recipe{nearest_key(key)}; `--cfg job` "
            "shows every key")


def _explain_value(text: str) -> str:
    """An OmegaConf message in one sentence, with its key and the nearest right one."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    keys = [line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")]
    key = keys[0] if keys else ""
    problems = [line for line in lines
                if not line.startswith(_DETAILS) and "raised while" not in line]
    if match := re.search(r"raised while resolving interpolation: (.*)", text):
        problems = [match[1]]
    problem = problems[0] if problems else "the recipe does not compose"
    if "is not Optional" in text:
        command = f"'{key}=null' on the command line: " if "override" in problem else ""
        instead = f"remove what is in it with '~{key}.NAME'" if key in FREE_SECTIONS else "set it"
        return f"{command}{key} cannot be null; {instead}, or leave it out"
    problem = re.sub(r"^Error merging override (\S+)$", r"'\1' on the command line", problem)
    if problem.endswith("on the command line"):
        reasons = [line for line in lines if line.startswith(_REASONS)]
        problem += f": {reasons[0] if reasons else ''}"
    if "not in" in problem and key:
        return f"'{key}' is not a key of a recipe{nearest_key(key)}"
    return f"{problem} (key {key})" if key and key not in problem else problem
