"""corekit: train, evaluate and transfer image-text models from short recipes."""

import logging
from typing import TYPE_CHECKING

from corekit.errors import CorekitError

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from corekit.data.tokenizers.base import Tokenizer
    from corekit.data.transforms.preprocess import Preprocess

__all__ = ["CorekitError", "create_model", "load", "reparameterize"]
__version__ = "0.1.0"

# Whoever imports corekit sees no output of it, until they ask for its log; the commands do.
logging.getLogger("corekit").addHandler(logging.NullHandler())


def create_model(name: str, **arguments: object) -> "nn.Module":
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

    model: nn.Module = build("model", name, arguments)
    return model


def load(path: str) -> "tuple[nn.Module, Preprocess, Tokenizer | None]":
    """A trained model in evaluation mode, its preprocessing and its tokenizer.

    Args:
        path: a run directory, one of its checkpoints, a model folder, an exported folder, a folder
            of transformers or of open_clip's hub layout, or ``open_clip:NAME,FILE``.

    Returns:
        (model, preprocess, tokenize): a module on the CPU; PIL image -> float32 [3, H, W]; strings
        -> int64 [n, L].

    Raises:
        CorekitError: nothing is there, or it does not fit together.
    """
    from corekit.checkpoint.load import load as load_folder

    return load_folder(path)


def reparameterize(model: "nn.Module") -> "nn.Module":
    """A copy of a trained model with its parallel branches and batch norms folded.

    The copy gives the same outputs, sooner.

    Args:
        model: a ``torch.nn.Module`` in evaluation mode. Blocks with a method ``folded()`` are
            replaced by what it returns.

    Returns:
        the copy; where nothing is left to fold, an equal one.

    Raises:
        CorekitError: the model is in training mode.
    """
    from corekit.models.fusion import reparameterize as reparameterize_model

    return reparameterize_model(model)
