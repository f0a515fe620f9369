"""Models and tokenizers of other libraries, as entries that a recipe names."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.registry import register

if TYPE_CHECKING:  # listing imports neither torch nor the libraries
    from torch import Tensor, nn

    from corekit.data.tokenizers.base import Tokenizer


@register("model", "open_clip")
def open_clip_model(model: str, pretrained: str | None = None, hub: bool = False) -> "nn.Module":
    """A model of open_clip with its weights, for evaluation.

    Args:
        model: open_clip's name for it, such as ``ViT-B-32``; or ``local-dir:FOLDER`` or
            ``hf-hub:OWNER/REPOSITORY``, which hold weights.
        pretrained: a file of weights, or open_clip's tag of published ones.
        hub: whether what is not on this machine is downloaded.

    Raises:
        CorekitError: it is not there, or the weights do not fit.
    """
    from corekit.checkpoint.foreign.open_clip_models import OpenClip

    return OpenClip(model, pretrained, hub).load()


@register("model", "transformers")
def transformers_model(path: str) -> "nn.Module":
    """A CLIP, SigLIP or AIMv2 of transformers with its weights, for evaluation.

    Args:
        path: of the folder with ``config.json`` and ``model.safetensors``.

    Raises:
        CorekitError: it is not there, or the weights do not fit.
    """
    from corekit.checkpoint.foreign.transformers_models import TransformersFolder

    return TransformersFolder(Path(path)).load()


@register("tokenizer", "open_clip")
def open_clip_tokenizer(model: str, hub: bool = False) -> "Tokenizer":
    """The tokenizer that a model of open_clip names.

    Args:
        model: open_clip's name of the model, or a folder, as for the model ``open_clip``.
        hub: whether its files are downloaded where they are not on this machine.

    Raises:
        CorekitError: there is no such model, or the files are not there.
    """
    from corekit.checkpoint.foreign.open_clip_models import OpenClip

    return OpenClip(model, hub=hub).tokenizer()


@register("tokenizer", "transformers")
class TransformersTokenizer:
    """A tokenizer of transformers, which pads every caption to the same length.

    Args:
        path: of the folder with its files.
        context_length: tokens a caption is cut or padded to; None: all that the text tower beside
            it has places for.

    Raises:
        CorekitError: the folder holds none.
    """

    def __init__(self, path: str, context_length: int | None = None) -> None:
        from corekit.checkpoint.foreign.transformers_models import TransformersFolder

        folder = TransformersFolder(Path(path))
        self.tokenizer = folder.tokenizer()
        self.context_length = context_length or min(folder.context_length(),
                                                    self.tokenizer.model_max_length)
        self.end_token = self.tokenizer.eos_token_id

    def __call__(self, texts: str | Sequence[str]) -> "Tensor":
        """Token ids of one caption or several: int64 [n, context_length]."""
        captions = [texts] if isinstance(texts, str) else [*texts]
        return self.tokenizer(captions, padding="max_length", truncation=True,
                              max_length=self.context_length, return_tensors="pt")["input_ids"]
