"""corekit: train, evaluate and transfer image-text models from short recipes."""

from typing import Any

from corekit.errors import CorekitError

__all__ = ["CorekitError", "create_model", "load"]
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


def load(path: str) -> Any:
    """A trained model in evaluation mode, its preprocessing and its tokenizer.

    Args:
        path: a run directory, one of its checkpoints, or a model folder.

    Returns:
        (model, preprocess, tokenize): a module on the CPU; PIL image -> float32 [3, H, W]; strings -> int64 [n, L].

    Raises:
        CorekitError: nothing is there, or it does not fit together.
    """
    from corekit.engine.load import load as load_folder

    return load_folder(path)
