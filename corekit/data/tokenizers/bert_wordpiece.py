"""The ``bert_wordpiece`` tokenizer: BERT's pieces of words, from a ``vocab.txt`` of one's own."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.data.tokenizers.clip_bpe import clean_caption
from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:
    import torch
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@register("tokenizer", "bert_wordpiece")
class BertWordPiece:
    """BERT's uncased vocabulary (Devlin et al., 2019), by the `tokenizers` library.

    Args:
        path: the ``vocab.txt`` beside published weights, a piece a line. None: no ids, as a dry run
            needs it.
        context_length: tokens a caption is cut or zero-padded to, the start and end tokens among
            them.

    Raises:
        CorekitError: no room for a token between start and end; when first used: no file, or none
            of this kind.
    """

    def __init__(self, path: str | None = None, context_length: int = 256) -> None:
        if context_length < 3:
            raise CorekitError("tokenizer 'bert_wordpiece': context_length must be at least 3, not "
                               f"{context_length}")
        self.path, self.context_length = path, context_length

    @property
    def vocab_size(self) -> int | None:
        """Number of ids; None without a file."""
        return None if self.path is None else _vocabulary(self.path).get_vocab_size()

    @property
    def end_token(self) -> int | None:
        """The id that ends a caption; None without a file."""
        return None if self.path is None else _vocabulary(self.path).token_to_id("[SEP]")

    def __call__(self, texts: str | list[str]) -> "torch.Tensor":
        """Token ids of one caption or several.

        Returns:
            int64 [n, context_length]: start, the caption, end (BERT's: 101 and 102), then zeros; a
            longer caption is cut before the end.
        """
        import torch

        if self.path is None:
            raise CorekitError("tokenizer 'bert_wordpiece' needs a vocabulary: type "
                               "data.tokenizer.path=FILE, the vocab.txt of a BERT")
        captions = [texts] if isinstance(texts, str) else texts
        ids = torch.zeros(len(captions), self.context_length, dtype=torch.int64)
        for row, caption in zip(ids.numpy(), captions):
            start, *words, end = _vocabulary(self.path).encode(clean_caption(caption)).ids
            tokens = [start, *words[:self.context_length - 2], end]
            row[:len(tokens)] = tokens
        return ids


@lru_cache(maxsize=4)
def _vocabulary(path: str) -> "BertWordPieceTokenizer":
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    try:
        pieces = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CorekitError(f"data.tokenizer.path={path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        pieces = []
    ids = {piece: number for number, piece in enumerate(pieces)}
    missing = [mark for mark in MARKS if mark not in ids]
    if missing or ids["[PAD]"]:
        raise CorekitError(f"data.tokenizer.path={path} is no vocab.txt of a BERT: it needs [PAD] "
                           f"as its first line, and lines {', '.join(MARKS[1:])}")
    return BertWordPieceTokenizer(ids, lowercase=True)
