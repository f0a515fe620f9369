"""BERT's pieces, against transformers'."""

from pathlib import Path

import pytest
from transformers import BertTokenizer

from corekit import CorekitError
from corekit.data.tokenizers.bert_wordpiece import BertWordPiece
from tests.data.tokenizers.wordpiece_file import write_wordpieces


def test_ids_are_berts_cut_before_the_end(tmp_path: Path) -> None:
    path = write_wordpieces(tmp_path / "vocab.txt")
    tokenizer = BertWordPiece(path, context_length=8)
    texts = ["The réd apple.", "", "a zebra?", "the " * 9]
    theirs = BertTokenizer(path)(texts, truncation=True, max_length=8, padding="max_length")
    assert tokenizer(texts).tolist() == theirs["input_ids"]
    assert (tokenizer.vocab_size, tokenizer.end_token) == (1037, 102)


def test_another_file_or_none_is_one_sentence(tmp_path: Path) -> None:
    assert BertWordPiece().vocab_size is None
    with pytest.raises(CorekitError, match=r"type data\.tokenizer\.path=FILE"):
        BertWordPiece()("a")
    with pytest.raises(CorekitError, match="at least 3, not 2"):
        BertWordPiece(context_length=2)
    with pytest.raises(CorekitError, match="cannot be read: No such file"):
        BertWordPiece(str(tmp_path / "none.txt"))("a")
    for content in (b"[UNK]\n[PAD]\n[CLS]\n[SEP]", b"[PAD]\n[CLS]\n[SEP]", b"\xff\xfe"):
        path = tmp_path / "other.txt"
        path.write_bytes(content)
        with pytest.raises(CorekitError, match=r"is no vocab\.txt of a BERT"):
            BertWordPiece(str(path))("a")
