"""SentencePiece's ``.model`` files, written through the schema that transformers ships: none of
corekit's code.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

LETTERS = tuple((letter, -4.0 - 0.01 * number)
                for number, letter in enumerate("\u2581abcdefghijklmnopqrstuvwxyz"))
# with the ids of C4's vocabulary
SPECIAL = (("<pad>", "CONTROL"), ("</s>", "CONTROL"), ("<unk>", "UNKNOWN"))


@cache
def schema() -> ModuleType:
    """The messages, without the rest of transformers."""
    package = importlib.util.find_spec("transformers")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "utils" / "sentencepiece_model_pb2_new.py"
    spec = importlib.util.spec_from_file_location("sentencepiece_messages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_unigram(path: Path, pieces: Sequence[tuple[str, float]] = LETTERS,
                  special: Sequence[tuple[str,
                                          str]] = SPECIAL, trainer: dict[str, Any] | None = None,
                  normalizer: dict[str, Any] | None = None) -> str:
    """Write a vocabulary of special pieces, then plain ones with their scores; the path as a recipe
    has it.
    """
    messages = schema()
    model = messages.ModelProto()
    for name, kind in special:
        model.pieces.add(piece=name, score=0.0,
                         type=messages.ModelProto.SentencePiece.Type.Value(kind))
    for name, score in pieces:
        model.pieces.add(piece=name, score=score)
    for message, values in ((model.trainer_spec, trainer), (model.normalizer_spec, normalizer)):
        for key, value in (values or {}).items():
            setattr(message, key, value)
    path.write_bytes(model.SerializeToString())
    return str(path)
