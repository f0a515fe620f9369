"""Checkpoints of other libraries: what a word or a folder names, and the recipe that it stands for.

``open_clip:NAME,FILE`` is a model of open_clip with a file of its weights; of those that are
published, ``open_clip:NAME,hub:TAG`` and ``open_clip:hf-hub:OWNER/REPOSITORY`` are downloaded. A
folder is one of open_clip's hub layout, or of transformers.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.errors import CorekitError
from corekit.recipes.schema import Plain

if TYPE_CHECKING:  # finding imports no torch
    from corekit.checkpoint.foreign.open_clip_models import OpenClip
    from corekit.checkpoint.foreign.transformers_models import TransformersFolder

OPEN_CLIP, HUB, LOCAL, REPOSITORY = "open_clip:", "hub:", "local-dir:", "hf-hub:"


@dataclass(frozen=True)
class ForeignModel:
    """A model of another library, by the arguments of the entry that loads it.

    Args:
        library: the name of its entries: open_clip or transformers.
        arguments: of its model.
        place: its folder, or a name in the working directory: what records lie beside.
    """

    library: str
    arguments: Plain
    place: Path

    def source(self) -> "OpenClip | TransformersFolder":
        """What reads it."""
        if self.library == "open_clip":
            from corekit.checkpoint.foreign.open_clip_models import OpenClip

            return OpenClip(**self.arguments)
        from corekit.checkpoint.foreign.transformers_models import TransformersFolder

        return TransformersFolder(Path(self.arguments["path"]))

    def recipe(self) -> Plain:
        """The recipe that it stands for, with the preprocessing that its weights want.

        Raises:
            CorekitError: something is missing.
        """
        source = self.source()
        source.check()
        preprocess = source.preprocess()
        values = {**vars(preprocess), "mean": [*preprocess.mean], "std": [*preprocess.std]}
        of_tokenizer = {key: value for key, value in self.arguments.items() if key != "pretrained"}
        tokenizer = {"name": self.library, **of_tokenizer} if source.reads_text() else None
        return {"model": {"name": self.library, **self.arguments},
                "data": {"preprocess": values, "tokenizer": tokenizer}}


def find_foreign(checkpoint: str | Path) -> ForeignModel | None:
    """The model of another library that a checkpoint names; None where it names none.

    Raises:
        CorekitError: it is one, but not all of it is named.
    """
    word, path = str(checkpoint), Path(checkpoint)
    if word.startswith(OPEN_CLIP):
        return _open_clip(word.removeprefix(OPEN_CLIP))
    if any((path / name).is_file() for name in ("recipe.yaml", "export.json")):
        return None  # corekit's own
    if (path / "open_clip_config.json").is_file():
        return _open_clip(f"{LOCAL}{path}")
    if (path / "config.json").is_file():
        return ForeignModel("transformers", {"path": str(path)}, path)
    return None


def _open_clip(word: str) -> ForeignModel:
    """A model of open_clip by what follows ``open_clip:``."""
    if word.startswith(LOCAL):
        return ForeignModel("open_clip", {"model": word}, Path(word.removeprefix(LOCAL)))
    if word.startswith(REPOSITORY):
        place = _file_name(word.removeprefix(REPOSITORY))
        return ForeignModel("open_clip", {"model": word, "hub": True}, place)
    name, _, weights = word.partition(",")
    if weights.startswith(HUB):
        arguments = {"model": name, "pretrained": weights.removeprefix(HUB), "hub": True}
        return ForeignModel("open_clip", arguments, _file_name(name))
    file = Path(weights).expanduser()
    if not weights or not file.is_file():
        what = f"there is no file {file}" if weights else "it names no weights"
        raise CorekitError(f"checkpoint={OPEN_CLIP}{word}: {what}; type {OPEN_CLIP}{name},FILE, or "
                           f"{OPEN_CLIP}{name},{HUB}TAG to download published weights")
    return ForeignModel("open_clip", {"model": name, "pretrained": str(file)}, _file_name(name))


def _file_name(name: str) -> Path:
    return Path(re.sub(r"[^\w.-]+", "-", name).lstrip(".") or "open_clip")
