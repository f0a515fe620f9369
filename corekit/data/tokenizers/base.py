"""The contract of entries of kind ``tokenizer``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the commands list tokenizers without torch
    from torch import Tensor


class Tokenizer(Protocol):
    """Turns a string or several into int64 [n, L].

    What one may tell of itself beyond that is in ``TokenizerInfo``, as attributes of the same
    names.
    """

    def __call__(self, text: str | Sequence[str]) -> "Tensor": ...


@dataclass(frozen=True)
class TokenizerInfo:
    """Optional attributes of a tokenizer; None where it has none."""

    context_length: int | None = None  # L
    vocab_size: int | None = None  # ids are below it
    end_token: int | None = None  # the id that captions end with
    picture_tokens: int | None = None  # places of a picture in a conversation


def tokenizer_info(tokenizer: Tokenizer | None) -> TokenizerInfo:
    """The optional attributes of a tokenizer, which a recipe may lack."""
    return TokenizerInfo(*(getattr(tokenizer, name, None)
                           for name in ("context_length", "vocab_size", "end_token",
                                        "picture_tokens")))
