"""Model folders that are whole: what a recipe names of one machine comes with the weights.

A tokenizer with a method ``save(folder)`` has its files in ``tokenizer/`` of the model folder, and
a model says by ``portable()`` which of its arguments are places, and what stands for them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import nn

from corekit.data.tokenizers.base import Tokenizer
from corekit.recipes.schema import EntryConfig, Node

TOKENIZER = "tokenizer"  # the folder, and what ``path`` of the saved recipe says


@runtime_checkable
class PortableModel(Protocol):
    """A model that is built of places on this machine."""

    def portable(self) -> Node:
        """Arguments that build the same model anywhere, in the place of its own."""


@runtime_checkable
class SavedTokenizer(Protocol):
    """A tokenizer that is built of files, by an argument ``path``."""

    def save(self, folder: Path) -> None:
        """Write them."""


def portable_recipe(recipe: Node, model: nn.Module, tokenizer: Tokenizer | None) -> Node:
    """The recipe of a model folder: a training recipe without places that the model needs."""
    if isinstance(model, PortableModel):
        recipe = {**recipe, "model": {**recipe["model"], **model.portable()}}
    data = recipe.get("data") or {}
    if _saved(data.get("tokenizer"), tokenizer):
        entry = {**data["tokenizer"], "path": TOKENIZER}
        recipe = {**recipe, "data": {**data, "tokenizer": entry}}
    return recipe


def save_tokenizer(folder: Path, recipe: Node, tokenizer: Tokenizer | None) -> None:
    """Write the files that the tokenizer of a recipe is built of, if any, into a model folder."""
    saved = _saved((recipe.get("data") or {}).get("tokenizer"), tokenizer)
    if saved is not None:
        saved.save(folder / TOKENIZER)


def build_tokenizer(entry: EntryConfig | None, folder: Path) -> Tokenizer | None:
    """The tokenizer of a recipe beside weights; None: it has none."""
    if entry is None:
        return None
    if entry.arguments.get("path") == TOKENIZER and (folder / TOKENIZER).is_dir():
        entry = replace(entry, arguments={**entry.arguments, "path": str(folder / TOKENIZER)})
    tokenizer: Tokenizer = entry.build("tokenizer")
    return tokenizer


def _saved(entry: Node | None, tokenizer: object) -> SavedTokenizer | None:
    """The tokenizer, if it is one of files."""
    is_of_files = bool(entry and entry.get("path"))
    return tokenizer if is_of_files and isinstance(tokenizer, SavedTokenizer) else None
