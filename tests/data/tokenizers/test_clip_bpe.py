# ruff: noqa: RUF001 (characters that look alike are what is tested)
"""CLIP's token ids, equal to open_clip's on any text."""

import pickle
import random
import subprocess
import sys
import unicodedata

import pytest
import torch

from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.tokenizers import clip_bpe as tokenizers
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.errors import CorekitError
from corekit.registry import build

TRICKY = [
    "",
    " ",
    "\n\t\r",
    "a photo of a cat",
    "  A  Photo\tof\na CAT.  ",
    "x" * 500,
    "word " * 200,
    "1234567890" * 20,
    "fish &amp; chips",
    "&amp;amp;lt;b&amp;amp;gt;",
    "&lt;start_of_text&gt;",
    "a &AMP; b",
    "&#x1F600;&#65;&notit;",
    "<b>bold &amp; brave</b>",
    "&nbsp;x&nbsp;",
    "&#xD800; &#0; &#x110000;",
    "< &amp;amp;lt;",
    "R&D",
    "AT&T's",
    "&",
    "“curly” ‘quotes’ it’s",
    "ﬁne ﬂour",
    "ＦＵＬＬ　ｗｉｄｔｈ",
    "sÃ³ mojibake â€œquotesâ€\x9d",
    "Ã©",
    "voilÃ  le travail",
    "\U0001F468\u200d\U0001F469\u200d\U0001F467 family",
    "👍🏽 🇫🇷 ☂️ 1️⃣",
    "日本語テキスト",
    "привет мир",
    "ΑΣ ΣΑΣ ς",
    "İstanbul ıI",
    "ſtraße STRASSE ẞ",
    "العربية ١٢٣",
    "हिन्दी ९",
    "ไทย",
    "한국어 각",
    "e\u0301 é",
    "a\u200bb\u200dc\ufeffd",
    "x² ½ Ⅷ ① ٣ "
    "一 x²³!½",
    "𝔘𝔫𝔦 𝟘𝟙",
    "don't I'M we'Re he'LL 's 'S ’s ’S they'd'VE 'ſ I'ſ",
    "''' 's's",
    "rock'n'roll",
    "<start_of_text>",
    "a <start_of_text> b <end_of_text>",
    "<START_OF_TEXT>",
    "<ſtart_of_text> x",
    "!!<start_of_text>",
    "<start_of_text><end_of_text>!",
    "<start_of_text",
    "x<end_of_text>y",
    "<|endoftext|>",
    "\x00\x01\x1f a\x1cb\x1db\x85c \x7f",
    "\x1b[31mred\x1b[0m",
    "line\u2028sep\u2029par\x0bvt\x0cff",
    "\ud800 lone \udc00",
    "\ud83d\ude00",
    "\U000e0041\U0010ffff\ue000\uffff",
    "co-operate_snake.case/and\\back",
    "...!?;:—–-",
    "$5.00 10%",
    "`tick` ~tilde ^hat",
    "a" * 76,
    "ab " * 75,
    "ab " * 76,
    "</w> x</w>",
]


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("open_clip.tokenizer").SimpleTokenizer()


@pytest.fixture(scope="module")
def ours():
    return ClipTokenizer()


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_captions_have_open_clips_ids(ours, theirs, text):
    assert ours(text).tolist() == theirs(text).tolist()
    assert ours.encode(text) == theirs.encode(text)


def test_every_code_point_has_open_clips_ids(ours, theirs):
    """Unassigned ones count as well: Python, `regex` and the engine in `tokenizers` know different
    Unicodes.
    """
    differ, assigned = [], 0
    for code in [
            *range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x20000, 5),
            *range(0x20000, 0x110000, 501)
    ]:
        text = f"a{chr(code)}b"
        assigned += unicodedata.category(chr(code)) != "Cn"
        if ours.encode(text) != theirs.encode(text):
            differ.append(hex(code))
    assert assigned > 60_000
    assert differ == []


def test_random_text_has_open_clips_ids(ours, theirs):
    draw = random.Random(0)
    letters = "aàbß'’s.,!  \t1²&;<>_ιΣş日👍\u0301\u200d\xa0"
    texts = ["".join(draw.choices(letters, k=draw.randrange(60))) for _ in range(3000)]
    texts += [
        "".join(chr(draw.randrange(32, 127)) for _ in range(draw.randrange(120)))
        for _ in range(3000)
    ]
    assert torch.equal(ours(texts), theirs(texts))


def test_dataset_captions_have_open_clips_ids(ours, theirs):
    source = OpenMoji(samples=300, size=32, objects=(1, 2))
    texts = [source.decode(index)["text"] for index in range(300)]
    assert torch.equal(ours(texts), theirs(texts))


@pytest.mark.parametrize("length", [3, 8, 77, 200])
def test_rows_are_cut_and_padded_as_open_clip_does(theirs, length):
    texts = ["", "a cat", "a photo of a very long caption " * 40]
    ids = ClipTokenizer(context_length=length)(texts)
    assert ids.dtype == torch.int64
    assert ids.shape == (3, length)
    assert torch.equal(ids, theirs(texts, context_length=length))
    assert ids[2, -1] == 49407


def test_known_ids(ours):
    assert ours("a diagram")[0, :4].tolist() == [49406, 320, 22697, 49407]  # from CLIP's own README
    assert ours.vocab_size == 49408
    assert ours([]).shape == (0, 77)


def test_decoding_gives_the_words_back(ours):
    assert ours.decode(ours("A photo of 2 cats, naïve 日本")[0]) == "a photo of 2 cats , naïve 日本"
    assert ours.decode(ours("a photo")[0].tolist()) == "a photo"
    assert ours.decode([]) == ""


def test_pieces_are_forgotten_when_there_are_too_many(monkeypatch, theirs):
    monkeypatch.setattr(tokenizers, "_MOST_PIECES", 50)
    texts = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)} <end_of_text>" for i in range(400)]
    assert torch.equal(ClipTokenizer()(texts), theirs(texts))
    assert len(tokenizers._vocabulary(49_408).known) <= 51


@pytest.mark.parametrize("size", [514, 600, 8192])
def test_a_part_of_the_vocabulary_leaves_out_the_last_merges(ours, size):
    part, seen = ClipTokenizer(vocab_size=size), 0
    for text in [*TRICKY, "a photo of the cat and the dog"]:
        whole, ids = ours.encode(text), part.encode(text)
        assert all(token < size for token in ids)
        assert part.decode(ids) == ours.decode(whole)
        if all(token < size - 2 for token in whole):  # then nothing that was left out is missed
            assert ids == whole
            seen += len(ids) > 0
    assert seen > 0
    assert part("a b")[0, [0, 3, 4]].tolist() == [size - 2, size - 1, 0]
    assert part.encode("<start_of_text><end_of_text>") == [size - 2, size - 1]


def test_it_is_pickled_small(ours):
    ours("a photo")
    content = pickle.dumps(build("tokenizer", "clip_bpe", {"context_length": 20}))
    assert len(content) < 300
    assert torch.equal(pickle.loads(content)("a photo"), ours("a photo")[:, :20])


def test_open_clip_is_not_imported():
    code = ("import sys; from corekit.data.tokenizers.clip_bpe import ClipTokenizer; made = "
            "ClipTokenizer(); "
            "print('torch' in sys.modules); made('a'); print('torch' in sys.modules, 'open_clip' "
            "in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True", "False"], done.stderr


def test_captions_have_clips_ids_also_without_open_clip(ours):
    """As OpenAI's notebook prints them."""
    assert ours("a photo of a cat")[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(CorekitError, match="vocab_size must be 514"):
        ClipTokenizer(vocab_size=513)
    with pytest.raises(CorekitError, match="vocab_size must be 514"):
        ClipTokenizer(vocab_size=49_409)
    with pytest.raises(CorekitError, match="context_length must be"):
        ClipTokenizer(context_length=2)
