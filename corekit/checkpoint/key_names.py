"""Names of tensors from one layout to another, and arguments that differ from a model's own."""

import inspect
import re

from corekit import registry
from corekit.recipes.schema import Plain

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
