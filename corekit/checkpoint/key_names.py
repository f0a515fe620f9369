"""Names of tensors from one layout to another."""

import re

Rules = tuple[tuple[str, str], ...]


def renamed(name: str, rules: Rules) -> str:
    """The name after every (pattern, replacement) in turn."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
