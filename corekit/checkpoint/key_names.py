"""Names of tensors from one layout to another, and arguments that differ from what is expected."""

import inspect
import re

from corekit import registry
from corekit.recipes.schema import Node, Plain

Rules = tuple[tuple[str, str], ...]


def renamed(name: str, rules: Rules) -> str:
    """The name after every (pattern, replacement) in turn."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def changed_arguments(name: str, arguments: Plain) -> Plain:
    """Those arguments of a model that are not its constructor's defaults."""
    defaults = inspect.signature(registry.find("model", name).load()).parameters
    return {key: value for key, value in arguments.items() if value != defaults[key].default}


def run_otherwise(name: str, arguments: Node, runs: Node, layout: str) -> list[str]:
    """A sentence on the arguments of a model that code of a layout has other values of, if any."""
    defaults = inspect.signature(registry.find("model", name).load()).parameters
    ours = {key: arguments.get(key, defaults[key].default) for key in runs if key in defaults}
    different = [key for key, value in ours.items() if value != runs[key]]
    if not different:
        return []
    words = ", ".join(f"{key} {runs[key]} instead of {ours[key]}" for key in different)
    where = " of other sizes than the weights' own" if different == ["pos_embed_interp"] else ""
    return [f"{layout}'s own code runs these weights with {words}: it gives other features of "
            f"pictures{where}"]
