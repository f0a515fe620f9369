# ruff: noqa: RUF001 (characters that look alike are what is tested)
"""The ids of SentencePiece's unigram vocabularies, against all ways to cut a text and the
library.
"""

import io
import pickle
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import torch

from corekit import CorekitError
from corekit.data.tokenizers.sentencepiece import SentencePiece, _vocabulary
from corekit.losses.next_token import NextToken
from corekit.registry import build
from tests.data.tokenizers.unigram_file import LETTERS, SPECIAL, write_unigram

# no two ways to cut a text have the same score
WORDS = (("\u2581the", -2.1), ("\u2581a", -2.9), ("in", -3.3093), ("ing", -3.7511), ("th", -3.9237),
         ("he", -4.3159), ("\u2581th", -4.7), ("at", -3.1371))
PIECES = (*LETTERS, *WORDS)
UNKNOWN = 2


def likeliest(text: str) -> list[int]:
    """The pieces with the greatest sum of scores, by trying all: what is unknown costs 10 more than
    the rarest piece.
    """
    score = dict(PIECES)
    number = {piece: len(SPECIAL) + index for index, (piece, _) in enumerate(PIECES)}
    rarest = min(score.values())
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end in range(1, len(text) + 1):
        ways = [(best[begin][0] + score[text[begin:end]],
                 [*best[begin][1], number[text[begin:end]]]) for begin in range(end)
                if text[begin:end] in score]
        if text[end - 1] not in score:
            ways.append((best[end - 1][0] + rarest - 10, [*best[end - 1][1], UNKNOWN]))
        best.append(max(ways))
    ids = best[-1][1]
    return [number for number, before in zip(ids, [None, *ids])
            if not number == before == UNKNOWN]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return write_unigram(tmp_path / "letters.model", PIECES)


def test_ids_are_those_of_the_likeliest_pieces(path: str) -> None:
    tokenizer = SentencePiece(path)
    draw = random.Random(0)
    texts = ["the cat is in that hat", "a", "thing", "éé the ü", "", "   ", " a  b ", "ß"]
    texts += [
        "".join(draw.choices("ttthheeiinngga  sé9", k=draw.randrange(40))) for _ in range(200)
    ]
    several = 0
    for text in texts:
        words = "".join(f"\u2581{word}" for word in text.split())
        assert tokenizer.encode(text) == likeliest(words)
        several += any(one > len(SPECIAL) + len(LETTERS) for one in tokenizer.encode(text))
    assert several > 100


def test_captions_end_with_the_end_and_are_cut_before_it(path: str) -> None:
    tokenizer = SentencePiece(path, context_length=6)
    assert (tokenizer.end_token, tokenizer.vocab_size) == (1, 3 + len(PIECES))
    ids = tokenizer(["the", "", "the the the the the the the"])
    the = 3 + PIECES.index(WORDS[0])
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[the, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [the] * 5 + [1]]
    assert tokenizer("the").tolist() == ids[:1].tolist()
    assert tokenizer([]).shape == (0, 6)


def test_padding_with_the_end_changes_nothing_that_counts(tmp_path: Path, path: str) -> None:
    """As SigLIP's vocabulary is often used: the end is then learned all the same, and once a
    caption.
    """
    other = SentencePiece(
        write_unigram(tmp_path / "other.model", PIECES, trainer={"pad_piece": "</s>"}), 8)
    without = SentencePiece(
        write_unigram(tmp_path / "without.model", PIECES, (("<s>", "CONTROL"), *SPECIAL[1:])), 8)
    captions = ["the cat", "", "a thing that is long"]
    apart, padded = SentencePiece(path, 8)(captions), other(captions)
    assert apart[0, -1] == 0
    assert padded[0, -1] == without(captions)[0, -1] == 1
    assert torch.equal(apart.where(apart > 0, 1), padded)
    loss = NextToken(end_token=1)
    logits = torch.randn(3, 8, other.vocab_size or 0, generator=torch.manual_seed(0))
    assert loss.weights(apart) == loss.weights(padded) == sum(
        len(other.encode(text)) + 1 for text in captions[:2]) + 8
    assert torch.equal(loss(logits, apart), loss(logits, padded))


def test_the_name_of_a_special_piece_in_a_caption_is_no_such_piece(path: str) -> None:
    for name, _ in SPECIAL:
        assert not {0, 1} & set(SentencePiece(path).encode(f"a {name} b{name}"))


def test_captions_are_cleaned_and_put_in_lower_case_unless_told_otherwise(path: str) -> None:
    text = "A  &lt;b&gt;\tTHE"
    assert SentencePiece(path).encode(text) == likeliest("\u2581a\u2581<b>\u2581the")
    assert SentencePiece(path,
                         lower_case=False).encode(text) == likeliest("\u2581A\u2581<b>\u2581THE")
    assert SentencePiece(path, clean=False).encode(text) == likeliest("\u2581a\u2581&lt;b&gt;\tthe")


def test_the_file_says_how_text_is_normalised(tmp_path: Path) -> None:
    mapped = write_unigram(tmp_path / "mapped.model", PIECES,
                           normalizer={"precompiled_charsmap": mapping("½", "the")})
    assert SentencePiece(mapped).encode("b ½") == likeliest("\u2581b\u2581the")
    bare = write_unigram(tmp_path / "bare.model", PIECES, normalizer={
        "add_dummy_prefix": False, "remove_extra_whitespaces": False})
    assert SentencePiece(bare,
                         clean=False).encode(" a  b ") == likeliest("\u2581a\u2581\u2581b\u2581")


def test_pieces_for_bytes_and_pieces_of_the_users_own_are_used(tmp_path: Path) -> None:
    own = write_unigram(tmp_path / "own.model", PIECES, (*SPECIAL, ("zq", "USER_DEFINED")))
    assert SentencePiece(own).encode("a zq")[-1] == len(SPECIAL)
    letters = (*SPECIAL, *((f"<0x{byte:02X}>", "BYTE") for byte in range(256)))
    of_bytes = write_unigram(tmp_path / "bytes.model", PIECES, letters, {"byte_fallback": True})
    expected = [len(SPECIAL) + byte for byte in "é".encode()]
    assert SentencePiece(of_bytes).encode("é")[-2:] == expected


def mapping(character: str, to: str) -> bytes:
    """One character to a text, as SentencePiece stores such tables: a double-array trie (Yata's
    Darts), then the texts.
    """
    units = [0] * 2048
    unit, block = 0, 0
    units[0] = 256 << 10
    for number, byte in enumerate(character.encode()):
        block = 256 * (number + 1)
        unit = block ^ byte
        units[unit] = byte | ((unit ^ (block + 256)) << 10)
    units[unit] |= 1 << 8  # a leaf follows, whose value is where the text begins
    units[block + 256] = 1 << 31
    content = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(content)) + content + to.encode() + b"\0"


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda path: {"path": None}, r"type data\.tokenizer\.path=FILE"),
    (lambda path: {"path": str(path / "none.model")}, r"none\.model cannot be read: No such file"),
    (lambda path: {"path": str(path)}, "cannot be read: Is a directory"),
    (lambda path: {"path": spoilt(path, b"PNG and other bytes")}, "is no .model file of "
     "SentencePiece"),
    (lambda path: {"path": spoilt(path, None)}, "is no .model file of SentencePiece"),
    (lambda path: {"path": write_unigram(path / "m", special=SPECIAL[::2])},
     "has no piece that ends a caption"),
    (lambda path: {"path": write_unigram(path / "m", special=SPECIAL[:2])},
     "is no .model file of SentencePiece: unk is not defined$"),
    (lambda path: {"path": write_unigram(path / "m", normalizer={"precompiled_charsmap": b"a"})},
     "is no .model file of SentencePiece: Blob for normalization rule is broken$"),
    (lambda path: {"context_length": 1}, "context_length must be at least 2"),
])
def test_what_is_wrong_with_a_vocabulary_is_said(tmp_path: Path, spoil: Callable[[Path], dict[str,
                                                                                              str]],
                                                 message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        build("tokenizer", "sentencepiece", spoil(tmp_path))("a")


def test_without_the_library_the_pip_line_is_said(path: str,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    _vocabulary.cache_clear()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(CorekitError, match=r"pip install 'corekit\[language\]'$"):
        SentencePiece(path)("a")


def spoilt(folder: Path, content: bytes | None) -> str:
    path = Path(write_unigram(folder / "spoilt.model"))
    path.write_bytes(path.read_bytes()[:-3] if content is None else content)
    return str(path)


def test_without_a_file_nothing_is_known_and_nothing_is_read() -> None:
    tokenizer = SentencePiece()
    assert (tokenizer.vocab_size, tokenizer.end_token) == (None, None)


def test_it_is_pickled_small(path: str) -> None:
    tokenizer = SentencePiece(path, 9)
    ids = tokenizer("the cat")
    content = pickle.dumps(tokenizer)
    assert len(content) < 400
    assert torch.equal(pickle.loads(content)("the cat"), ids)


def test_ids_are_the_librarys(tmp_path: Path) -> None:
    lines = [
        "the quick brown fox jumps over the lazy dog", "a photo of two cats in a hat", "Fish "
        "& "
        "chips, naïve 日本 ½ ﬁne", "drawn scenes with a small red ball above the green tree",
        "thing things thinking "
        "other others another"
    ] * 20
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=written,
                                             vocab_size=90, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
                                             hard_vocab_limit=False, minloglevel=2)
    path = tmp_path / "trained.model"
    path.write_bytes(written.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    ours = SentencePiece(str(path), lower_case=False, clean=False)
    assert (ours.end_token, ours.vocab_size) == (theirs.eos_id(), theirs.vocab_size())
    tricky = [
        "", " ", "  two   spaces ", "tabs\tand\nlines", "unknown ☃☃ snow",
        "ＦＵＬＬ　ｗｉｄｔｈ ﬂour", "</s> <unk>"
    ]
    for text in [*lines, *tricky]:
        assert ours.encode(text) == theirs.encode(text), text
