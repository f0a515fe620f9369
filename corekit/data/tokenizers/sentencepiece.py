"""The ``sentencepiece`` tokenizer: a vocabulary of one's own, from a ``.model`` file."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.data.tokenizers.clip_bpe import clean_caption
from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:
    import torch
    from sentencepiece import SentencePieceProcessor


@register("tokenizer", "sentencepiece")
class SentencePiece:
    """A vocabulary of SentencePiece (Kudo and Richardson 2018), such as SigLIP's 32,000 pieces.

    The file decides how text is normalised, what ends a caption and what pads it. Where it has no
    padding, or its padding is its end, captions are padded with the end; loss ``next_token`` counts
    the first end only.

    Args:
        path: the ``.model`` file. None: no ids, as a dry run needs it.
        context_length: tokens a caption is cut or padded to, the end token among them.
        lower_case: captions are put in lower case first.
        clean: broken Unicode is mended, HTML entities are read, and white space is single spaces.

    Raises:
        CorekitError: no room for a token before the end; when first used: no sentencepiece library,
            no file, or none of this kind.
    """

    def __init__(self, path: str | None = None, context_length: int = 77, lower_case: bool = True,
                 clean: bool = True) -> None:
        if context_length < 2:
            raise CorekitError("tokenizer 'sentencepiece': context_length must be at least 2, not "
                               f"{context_length}")
        self.path, self.context_length = path, context_length
        self.lower_case, self.clean = lower_case, clean

    @property
    def vocab_size(self) -> int | None:
        """Number of ids; None without a file."""
        return None if self.path is None else int(_vocabulary(self.path).vocab_size())

    @property
    def end_token(self) -> int | None:
        """The id that ends a caption; None without a file."""
        return None if self.path is None else int(_vocabulary(self.path).eos_id())

    def __call__(self, texts: str | list[str]) -> "torch.Tensor":
        """Token ids of one caption or several.

        Returns:
            int64 [n, context_length]: the caption, the end token, padding; a longer caption is cut
            before the end token.
        """
        import torch

        if self.path is None:
            raise CorekitError("tokenizer 'sentencepiece' needs a vocabulary: type "
                               "data.tokenizer.path=FILE, a .model file of SentencePiece; "
                               "data.tokenizer.name=clip_bpe needs none")
        captions = [texts] if isinstance(texts, str) else texts
        vocabulary = _vocabulary(self.path)
        end, padding = vocabulary.eos_id(), vocabulary.pad_id()
        ids = torch.full((len(captions), self.context_length), end if padding < 0 else padding,
                         dtype=torch.int64)
        for row, caption in zip(ids.numpy(), captions):
            tokens = [*self.encode(caption)[:self.context_length - 1], end]
            row[:len(tokens)] = tokens
        return ids

    def encode(self, text: str) -> list[int]:
        """The ids of the whole text, without end and padding."""
        assert self.path is not None
        if self.clean:
            text = clean_caption(text)
        ids: list[int] = _vocabulary(self.path).encode(text.lower() if self.lower_case else text)
        return ids


@lru_cache(maxsize=4)
def _vocabulary(path: str) -> "SentencePieceProcessor":
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise CorekitError("tokenizer 'sentencepiece' needs the library sentencepiece: "
                           "pip install 'corekit[language]'") from None
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(Path(path).read_bytes())
    except OSError as error:
        raise CorekitError(f"data.tokenizer.path={path} cannot be read: {error.strerror}") from None
    except RuntimeError as error:
        reason = str(error).removeprefix("INTERNAL: ").rstrip(". ")
        raise CorekitError(f"data.tokenizer.path={path} is no .model file of SentencePiece: "
                           f"{reason}") from None
    if processor.eos_id() < 0:
        raise CorekitError(f"data.tokenizer.path={path} has no piece that ends a caption: train it "
                           "with an end, as SentencePiece does unless eos_id is -1")
    return processor
