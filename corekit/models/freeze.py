"""The parts of a model that stay as they are while the rest is trained."""

import fnmatch

from torch import nn

from corekit.errors import CorekitError
from corekit.signatures import nearest


def freeze(model: nn.Module, patterns: list[str]) -> None:
    """Train no parameter whose name fits a pattern; a CorekitError where none fits or is left."""
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        for name in matching(pattern, list(parameters), "model.frozen"):
            parameters[name].requires_grad_(False)
    if patterns and not any(value.requires_grad for value in parameters.values()):
        raise CorekitError("model.frozen leaves no parameter to train")


def training_mode(model: nn.Module) -> None:
    """Training mode, but for modules whose parameters are all frozen.

    Their statistics and dropout stand still.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(value.requires_grad for value in parameters):
            module.eval()


def matching(pattern: str, names: list[str], key: str) -> set[str]:
    """The names that fit a shell-style pattern or lie below the module it names: one at least."""
    matches = set(fnmatch.filter(names, pattern)) | {name for name in names
                                                     if name.startswith(pattern + ".")}
    if not matches:
        raise CorekitError(f"{key}: '{pattern}' fits no name{nearest(pattern, names)}")
    return matches
