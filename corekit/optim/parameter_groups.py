"""Parameters by patterns of their names, and those that weight decay leaves alone."""

import fnmatch

from torch import nn

from corekit.errors import CorekitError

GROUPS = ("norms", "biases", "positions", "vectors")


def undecayed(model: nn.Module, no_decay: list[str]) -> set[str]:
    """The names of the parameters that weight decay leaves alone.

    ``no_decay`` lists ``norms`` (parameters of normalisation layers), ``biases``, ``positions``
    (position tables), ``vectors`` (fewer than two dimensions longer than 1, such as layer scales),
    or patterns of names, each of which matches a parameter.
    """
    exempt: set[str] = set()
    for pattern in no_decay:
        exempt |= _group(model, pattern) if pattern in GROUPS else matching(
            model, pattern, "optimizer.no_decay", f"a group ({', '.join(GROUPS)})")
    return exempt


def _group(model: nn.Module, group: str) -> set[str]:
    parameters = dict(model.named_parameters())
    if group == "norms":
        of_norms = {f"{path}.{name}".lstrip(".") for path, layer in model.named_modules()
                    if "Norm" in type(layer).__name__
                    for name, _ in layer.named_parameters(recurse=False)}
        return of_norms & parameters.keys()
    if group == "biases":
        return {name for name in parameters if name.endswith("bias")}
    if group == "positions":
        return {name for name in parameters
                if "pos_embed" in name or "positional_embedding" in name}
    assert group == "vectors", group
    return {name for name, value in parameters.items()
            if sum(length > 1 for length in value.shape) < 2}


def matching(model: nn.Module, pattern: str, key: str, other: str = "a parameter") -> set[str]:
    """The names that a pattern matches, whole or from one of their parts on.

    Raises:
        CorekitError: there are none; the message has the recipe's key, and what else it could be.
    """
    names = [name for name, _ in model.named_parameters()]
    result = {*fnmatch.filter(names, pattern), *fnmatch.filter(names, f"*.{pattern}")}
    if not result:
        raise CorekitError(f"{key}: '{pattern}' is neither {other} nor the name or pattern of a "
                           "parameter of this model")
    return result
