"""Model folders that are whole: what a recipe names of one machine comes with the weights.

A tokenizer with a method ``save(folder)`` has its files in ``tokenizer/`` of the model folder, and
a model says by ``portable()`` which of its arguments are places, and what stands for them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import nn

from corekit.data.tokenizers.base import Tokenizer
from corekit.recipes.saved import without_places
from corekit.recipes.schema import EntryConfig, Node

TOKENIZER = "tokenizer"  # the folder, and what ``path`` of the saved recipe says


@runtime_checkable
class PortableModel(Protocol):
    """A model that is built of places on this machine."""

    def portable(self) -> Node:
        """Arguments that build the same model anywhere, in the place of its own."""


@runtime_checkable
class SavedTokenizer(Protocol):
    """A tokenizer that is built of files at ``path``; None: it is built of none."""

    path: str | None

    def save(self, folder: Path) -> None:
        """Write them."""


def portable_recipe(recipe: Node, model: nn.Module, tokenizer: Tokenizer | None) -> Node:
    """The recipe of a model folder: a training recipe without places that the model needs."""
    arguments = model.portable() if isinstance(model, PortableModel) else {}
    return without_places(recipe, arguments, TOKENIZER if _of_files(tokenizer) else None)


def save_tokenizer(folder: Path, tokenizer: Tokenizer | None) -> None:
    """Write the files that a tokenizer is built of, if any, into a model folder."""
    of_files = _of_files(tokenizer)
    if of_files is not None:
        of_files.save(folder / TOKENIZER)


def build_tokenizer(entry: EntryConfig | None, folder: Path) -> Tokenizer | None:
    """The tokenizer of a recipe beside weights; None: it has none."""
    if entry is None:
        return None
    if entry.arguments.get("path") == TOKENIZER and (folder / TOKENIZER).is_dir():
        entry = replace(entry, arguments={**entry.arguments, "path": str(folder / TOKENIZER)})
    tokenizer: Tokenizer = entry.build("tokenizer")
    return tokenizer


def _of_files(tokenizer: object) -> SavedTokenizer | None:
    """The tokenizer, if it is built of files."""
    return tokenizer if isinstance(tokenizer, SavedTokenizer) and tokenizer.path else None
