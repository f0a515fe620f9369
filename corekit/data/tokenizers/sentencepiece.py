"""The ``sentencepiece`` tokenizer: a vocabulary of one's own, read from SentencePiece's ``.model``
file.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers.models import Unigram
from tokenizers.normalizers import Precompiled

from corekit.data.tokenizers.clip_bpe import clean_caption
from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:
    import torch

_SPACE = "\u2581"  # what SentencePiece writes for a space
# numbers in SentencePiece's own schema
_UNIGRAM, _NORMAL, _UNKNOWN, _USER_DEFINED, _BYTE = 1, 1, 2, 4, 6


@register("tokenizer", "sentencepiece")
class SentencePiece:
    """A unigram vocabulary of SentencePiece (Kudo and Richardson 2018), such as SigLIP's of 32,000
    pieces made on C4.

    The file says how text is normalised, what ends a caption and what pads it; where it has no
    padding, or its padding is its end, captions are padded with the end, and loss ``next_token``
    counts the first of them only. Pieces are found by the `tokenizers` library; SentencePiece
    itself is not needed.

    Args:
        path: the ``.model`` file. None: no ids, as a dry run needs it.
        context_length: tokens a caption is cut or padded to, the end token among them.
        lower_case: captions are put in lower case first.
        clean: broken Unicode is mended, HTML entities are read, and white space is single spaces.

    Raises:
        CorekitError: no room for a token before the end; when it is first used: no file, or none of
            this kind.
    """

    def __init__(self, path: str | None = None, context_length: int = 77, lower_case: bool = True,
                 clean: bool = True) -> None:
        if context_length < 2:
            raise CorekitError(f"tokenizer 'sentencepiece': context_length must be at least 2, not "
                               f"{context_length}")
        self.path, self.context_length, self.lower_case, self.clean = path, context_length, lower_case, clean

    @property
    def vocab_size(self) -> int | None:
        """Number of ids; None without a file."""
        return None if self.path is None else _vocabulary(self.path).size

    @property
    def end_token(self) -> int | None:
        """What ends a caption; None without a file."""
        return None if self.path is None else _vocabulary(self.path).end

    def __call__(self, texts: str | list[str]) -> "torch.Tensor":
        """Token ids of one caption or several.

        Returns:
            int64 [n, context_length]: the caption, the end token, padding; a longer caption is cut
            before the end token.
        """
        import torch

        if self.path is None:
            raise CorekitError("tokenizer 'sentencepiece' needs a vocabulary: type "
                               "data.tokenizer.path=FILE, a .model file of "
                               "SentencePiece; data.tokenizer.name=clip_bpe needs none")
        captions = [texts] if isinstance(texts, str) else texts
        vocabulary = _vocabulary(self.path)
        ids = torch.full((len(captions), self.context_length), vocabulary.padding,
                         dtype=torch.int64)
        rows = ids.numpy()
        for row, caption in zip(rows, captions):
            tokens = [*self.encode(caption)[:self.context_length - 1], vocabulary.end]
            row[:len(tokens)] = tokens
        return ids

    def encode(self, text: str) -> list[int]:
        """The ids of the whole text, without end and padding."""
        assert self.path is not None
        if self.clean:
            text = clean_caption(text)
        return _vocabulary(self.path).encode(text.lower() if self.lower_case else text)


class _Vocabulary:
    """What a ``.model`` file says: SentencePiece's ModelProto, fields by number.

    Raises:
        ValueError, IndexError: the bytes are no such message.
        CorekitError: it is of another kind than a unigram model.
    """

    def __init__(self, content: bytes, path: str) -> None:
        pieces: list[dict[int, int | bytes]] = []
        trainer: dict[int, int | bytes] = {}
        normalizer: dict[int, int | bytes] = {}
        for number, value in _fields(content):
            if number == 1:
                pieces.append(dict(_fields(_bytes(value))))
            elif number in (2, 3):
                (trainer if number == 2 else normalizer).update(_fields(_bytes(value)))
        names = [_bytes(piece[1]).decode("utf-8") for piece in pieces]
        kinds = [piece.get(3, _NORMAL) for piece in pieces]
        self.size = len(names)
        end, padding = (_bytes(trainer.get(number, name)).decode("utf-8")
                        for number, name in ((47, b"</s>"), (48, b"<pad>")))
        wrong = ("it is no unigram model" if trainer.get(
            3, _UNIGRAM) != _UNIGRAM else "it has pieces for bytes, or pieces that its user defined"
                 if {_USER_DEFINED, _BYTE} & set(kinds) else "its words end with a space"
                 if trainer.get(24) else "its spaces are no pieces" if not normalizer.get(5, 1) else
                 f"it has no piece {end} to end captions with" if end not in
                 names else "it has no piece for what is unknown" if _UNKNOWN not in kinds else "")
        if wrong:
            raise CorekitError(f"tokenizer 'sentencepiece' cannot use {path}: {wrong}")
        self.end = names.index(end)
        self.padding = names.index(padding) if padding in names else self.end
        # Only plain pieces may be found in text, and no other name has a space: </s> in a caption
        # is five characters.
        known = [(name if kind == _NORMAL else f" {number}",
                  _float(piece.get(2)) if kind == _NORMAL else 0.0)
                 for number, (name, kind, piece) in enumerate(zip(names, kinds, pieces))]
        self._model = Unigram(known, kinds.index(_UNKNOWN))
        characters = _bytes(normalizer.get(2, b""))
        try:
            self._characters = Precompiled(characters) if characters else None
        # the library has no type of its own for a table that it cannot read
        except Exception as error:
            raise ValueError(str(error)) from None
        self._prefix, self._single = bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1))

    def encode(self, text: str) -> list[int]:
        """The ids of the likeliest pieces that a text is made of."""
        if self._characters is not None:
            text = self._characters.normalize_str(text)
        if self._single:
            text = " ".join(part for part in text.split(" ") if part)
        if text and self._prefix:
            text = " " + text
        return [token.id for token in self._model.tokenize(text.replace(" ", _SPACE))]


@lru_cache(maxsize=4)
def _vocabulary(path: str) -> _Vocabulary:
    try:
        return _Vocabulary(Path(path).read_bytes(), path)
    except OSError as error:
        raise CorekitError(f"data.tokenizer.path={path} cannot be read: {error.strerror}") from None
    except (ValueError, IndexError, KeyError, struct.error):
        raise CorekitError(
            f"data.tokenizer.path={path} is no .model file of SentencePiece") from None


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the fields of a protocol buffer's message: whole numbers, and all else as
    bytes.
    """
    at = 0
    while at < len(message):
        key, at = _whole_number(message, at)
        number, form = key >> 3, key & 7
        if form == 0:
            value, at = _whole_number(message, at)
            yield number, value
        else:
            length, at = _whole_number(message, at) if form == 2 else ({1: 8, 5: 4}[form], at)
            if at + length > len(message):
                raise ValueError("a field ends after its message does")
            yield number, message[at:at + length]
            at += length


def _whole_number(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = shift = 0
    while True:
        number |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 128:
            return number, at


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a whole number in place of bytes")
    return value


def _float(value: int | bytes | None) -> float:
    return 0.0 if value is None else float(struct.unpack("<f", _bytes(value))[0])
