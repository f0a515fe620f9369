"""Tokenizers: captions in, token ids out."""

import gzip
import html
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import ftfy
import regex  # type: ignore[import-untyped]
from tokenizers.models import BPE

from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:
    import torch

_MERGES = Path(__file__).with_name("clip_bpe_merges.txt.gz")
_SIZE, _BYTES = 49_408, 512  # ids altogether; of single bytes, each inside a word and at its end
_SPECIAL = ("<start_of_text>", "<end_of_text>")  # the last two ids
_WORD_END = "</w>"
# CLIP's rule, in open_clip's own `regex` module: engines disagree on what is a letter
_PIECES = regex.compile(
    r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE)
_MOST_PIECES = 200_000  # remembered ones, some 40 MB
_LONGEST_PIECE = 200  # characters of a remembered one


@register("tokenizer", "clip_bpe")
class ClipTokenizer:
    """CLIP's byte-pair encoding (Radford et al. 2021).

    The ids are those of open_clip's `SimpleTokenizer` on any text. A part of the vocabulary, of the
    most frequent tokens, is for small models of short captions: rare words become several tokens.

    Args:
        context_length: tokens a caption is cut or zero-padded to, the start and end tokens among
            them.
        vocab_size: number of ids; fewer than 49,408 leave out the last merges, and the last two are
            start and end.

    Raises:
        CorekitError: no room for a token between start and end, or too few or too many ids.
    """

    def __init__(self, context_length: int = 77, vocab_size: int = _SIZE) -> None:
        if context_length < 3:
            raise CorekitError("tokenizer 'clip_bpe': context_length must be at least 3, not "
                               f"{context_length}")
        fewest = _BYTES + len(_SPECIAL)
        if not fewest <= vocab_size <= _SIZE:
            raise CorekitError(f"tokenizer 'clip_bpe': vocab_size must be {fewest} (single bytes) "
                               f"to {_SIZE} (CLIP's), not {vocab_size}")
        self.context_length, self.vocab_size = context_length, vocab_size
        self.start_token, self.end_token = vocab_size - 2, vocab_size - 1

    def __call__(self, texts: str | list[str]) -> "torch.Tensor":
        """Token ids of one caption or several.

        Returns:
            int64 [n, context_length]: start, the caption, end (CLIP's: 49406 and 49407), then
            zeros; a longer caption is cut before the end.
        """
        import torch

        captions = [texts] if isinstance(texts, str) else texts
        ids = torch.zeros(len(captions), self.context_length, dtype=torch.int64)
        for row, caption in zip(ids.numpy(), captions):
            tokens = [self.start_token, *self.encode(caption)[:self.context_length - 2],
                      self.end_token]
            row[:len(tokens)] = tokens
        return ids

    def encode(self, text: str) -> list[int]:
        """The ids of the whole text, without start, end and padding."""
        vocabulary = _vocabulary(self.vocab_size)
        ids: list[int] = []
        for piece in _PIECES.findall(clean_caption(text).lower()):
            ids += vocabulary.known.get(piece) or vocabulary.encode_piece(piece)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of one row of ids, up to the end token.

        It is in lower case, its words and signs one space apart.
        """
        vocabulary = _vocabulary(self.vocab_size)
        content = bytearray()
        for token in map(int, ids):
            if token == self.end_token:
                break
            if token != self.start_token:
                content += vocabulary.bytes_of(token)
        return content.decode("utf-8", errors="replace").strip()


class _Vocabulary:
    """The merges, through the `tokenizers` library, and the ids of the pieces met so far."""

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self._sign = _byte_signs()
        self._byte = {sign: byte for byte, sign in enumerate(self._sign)}
        # Ids are places in this list, so its order is CLIP's: printable bytes first.
        signs = sorted(self._sign, key=lambda sign: (ord(sign) >= 256, ord(sign)))
        self._tokens = [*signs, *(sign + _WORD_END for sign in signs), *map("".join, merges)]
        vocabulary = {token: place for place, token in enumerate(self._tokens)}
        self._model = BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_WORD_END)
        self.known: dict[str, list[int]] = {}
        self._forget()

    def encode_piece(self, piece: str) -> list[int]:
        """The ids of a new piece, which is remembered."""
        if len(self.known) >= _MOST_PIECES:
            self._forget()
        signs = "".join([self._sign[byte] for byte in piece.encode()])
        ids = [token.id for token in self._model.tokenize(signs)]
        if len(piece) <= _LONGEST_PIECE:
            self.known[piece] = ids
        return ids

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token, with a space after the last one of a piece."""
        text = self._tokens[token]
        stem = text.removesuffix(_WORD_END)
        return bytes(self._byte[sign] for sign in stem) + (b" " if stem != text else b"")

    def _forget(self) -> None:
        self.known.clear()
        self.known.update((piece, [len(self._tokens) + place])
                          for place, piece in enumerate(_SPECIAL))


def clean_caption(text: str) -> str:
    """A caption with broken Unicode mended, HTML entities read, and single spaces, as CLIP's."""
    if text.isascii() and text.isprintable() and "&" not in text:
        return " ".join(text.split())  # the rest would change nothing
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def _byte_signs() -> list[str]:
    """A visible character for every byte: itself if printable Latin-1, else one from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1),
                 *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


@lru_cache
def _vocabulary(size: int) -> _Vocabulary:
    lines = gzip.decompress(_MERGES.read_bytes()).decode("utf-8").split("\n")
    pairs = (line.split() for line in lines[:size - _BYTES - len(_SPECIAL)])
    return _Vocabulary([(first, second) for first, second in pairs])
