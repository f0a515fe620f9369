"""What is wrong with a batch, and what looks like it and is not."""

from collections import Counter

import pytest
import torch

from corekit.data.fields import find_field
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.train.symptoms import of_data
from corekit.train.symptoms.symptom import Symptom


def sentence(symptom: Symptom | None) -> str:
    assert symptom is not None
    return symptom.sentence


def test_captions_and_pictures_that_do_not_differ() -> None:
    said = sentence(of_data.alike(
        "caption", Counter(["a \x1b photo"] * 60 + ["b", "c", "d", "e"]), "Look."))
    assert said.startswith(r"60 of 64 captions are the same one ('a \x1b photo')")
    assert said.endswith("Look.")
    assert "64 pictures are only 3 different ones:" in sentence(
        of_data.alike("picture", Counter([b"1", b"2", b"3"] * 21 + [b"1"]), ""))
    for fine in ([str(number % 10) for number in range(64)], ["same"] * 31, []):
        assert of_data.alike("caption", Counter(fine), "") is None


@pytest.mark.parametrize("name", ["label", "label_rows"])
def test_labels_of_one_class(name: str) -> None:
    field = find_field(name)
    batch = field.collate([3 if name == "label" else [3, 7]] * 64, None)
    assert "all of the first 64" in sentence(
        of_data.one_class(field.noun, Counter(field.comparable(batch)), ""))
    other = field.collate([3 if name == "label" else [3, 7]] * 63 +
                          [4 if name == "label" else [7]], None)
    assert of_data.one_class(field.noun, Counter(field.comparable(other)), "") is None


def test_labels_that_count_from_1() -> None:
    from_one = Counter([*range(1, 10)] * 12)
    assert "are 1 to 9, and none is 0" in sentence(of_data.off_by_one(from_one, ""))
    for fine in ([*range(10)] * 12, [*range(1, 10)] * 5, [2, 4] * 50, [1, 2, 4] * 50, []):
        assert of_data.off_by_one(Counter(fine), "") is None, fine


def test_captions_that_are_cut() -> None:
    tokenizer, long = ClipTokenizer(context_length=8), "one two three four five six seven"
    fits = "one two three four five six"
    assert sentence(of_data.cut_captions([long] * 20 + [fits] * 20, tokenizer, 8, "KEY")
                    ).startswith("20 of 40 captions are longer than the 8 tokens")
    for fine in ([fits] * 40, [long] * 7 + [fits] * 33, ["word"] * 40, [long] * 31):
        assert of_data.cut_captions(fine, tokenizer, 8, "KEY") is None


def test_positions_that_are_padding() -> None:
    captions = [f"a photo of a {word}" for word in ("cat", "dog", "car", "bus")] * 10
    padded = of_data.padding(ClipTokenizer(context_length=77)(captions), "KEY")
    assert "90% of the 77 positions" in sentence(padded)
    assert "needs more than 8" in sentence(padded)  # start, five words, end, and one to spare
    assert of_data.padding(ClipTokenizer(context_length=16)(captions), "KEY") is None
    assert of_data.padding(ClipTokenizer(context_length=77)([" ".join(captions[:3])] * 40),
                           "KEY") is None


def test_tokens_that_are_one_and_the_same() -> None:
    unknown = torch.tensor([[1, 0, 0, 0, 5, 0, 2, 3, 3]] * 40)
    assert "0: probably one that stands for all" in sentence(
        of_data.one_token(unknown, [str(number) for number in range(40)]))
    for captions in ([f"a photo of {number}" for number in range(40)], ["cat"] * 40):
        for length in (16, 6, 3):
            tokens = ClipTokenizer(context_length=length)(captions)
            assert of_data.one_token(tokens, captions) is None


def test_pixels_that_are_no_pixels() -> None:
    picture = torch.randint(256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    unit = picture / 255
    twice = of_data.odd_pixels(unit / 255, are_bytes=False)
    assert "between 0 and 0.0039" in sentence(twice)
    assert "does it once more" in sentence(twice)
    of_bytes = of_data.odd_pixels((unit - 123.7) / 58.4, are_bytes=True)
    assert "so divide both by 255" in sentence(of_bytes)
    assert of_data.odd_pixels(picture.float(), are_bytes=True) is not None
    for fine in (unit, unit * 2 - 1, (unit - 0.45) / 0.26, torch.full_like(unit, 0.3)):
        assert of_data.odd_pixels(fine, are_bytes=True) is None
