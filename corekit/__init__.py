"""corekit: train, evaluate and transfer image-text models from short recipes."""

from typing import Any

from corekit.errors import CorekitError

__all__ = ["CorekitError", "create_model", "load", "reparameterize"]
__version__ = "0.1.0"


def create_model(name: str, **arguments: Any) -> Any:
    """Build a registered model with random weights.

    Args:
        name: a name that ``corekit list models`` shows.
        **arguments: the constructor's arguments, as ``corekit show model NAME`` lists them.

    Returns:
        the ``torch.nn.Module``.

    Raises:
        CorekitError: no such model, or arguments that do not fit it.
    """
    from corekit.registry import build

    return build("model", name, arguments)
