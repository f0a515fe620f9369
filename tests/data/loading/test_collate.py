"""Batches field by field: what belongs together stays together when workers' parts are joined."""

import pytest
import torch
from torch import Tensor

from corekit.data.datasets.base import BadSampleError
from corekit.data.fields import find_fields
from corekit.data.loading.collate import collate, concatenate, example_batch, join, to_device
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError

PIXELS = Preprocess(4, "bilinear", (0, 0, 0), (1, 1, 1))


def test_captions_are_joined_beside_their_tokens() -> None:
    fields, tokenizer = find_fields(["text"]), ClipTokenizer(8)
    captions = [["a dog", "a cat"], ["two birds"]]
    parts = [collate([{"key": text, "text": text} for text in texts], fields, tokenizer)
             for texts in captions]
    joined = join(parts, fields)
    assert joined["key"] == joined["caption"] == ["a dog", "a cat", "two birds"]
    assert torch.equal(joined["text"], tokenizer(joined["caption"]))


def test_tensors_of_one_width_become_one_and_others_a_list_in_order() -> None:
    one = concatenate([torch.zeros(2, 3), torch.ones(1, 3)])
    assert isinstance(one, Tensor)
    assert one.tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3]
    several = concatenate([torch.zeros(2, 3), torch.ones(1, 5)])
    assert isinstance(several, list)
    assert [item.tolist() for item in several] == [[0.0] * 3, [0.0] * 3, [1.0] * 5]


def test_fields_that_share_rows_must_have_as_many() -> None:
    fields = find_fields(["boxes", "box_labels"])
    boxes = torch.zeros(2, 4)
    batch = collate([{"key": "a", "boxes": boxes, "box_labels": [5, 6]}], fields, None)
    assert batch["box_labels"].tolist() == [5, 6]
    with pytest.raises(CorekitError, match="field 'box_labels' has not as many rows in each "
                                           "sample as the fields before it"):
        collate([{"key": "a", "boxes": boxes, "box_labels": [5]}], fields, None)


def test_pictures_alone_are_laid_out_with_their_channels_last() -> None:
    fields, device = find_fields(["image", "masks"]), torch.device("cpu")
    batch = {"key": ["a"], "image": torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
             "masks": torch.zeros(1, 2, 4, 4)}
    for channels_last in (False, True):
        moved = to_device(batch, fields, PIXELS, device, channels_last)
        layout = torch.channels_last
        assert moved["image"].is_contiguous(memory_format=layout) == channels_last
        assert not moved["masks"].is_contiguous(memory_format=layout)


def test_an_example_of_ragged_rows_has_an_offset_more_than_samples() -> None:
    fields = find_fields(["label_rows"])
    example = example_batch(fields, PIXELS, None, 3)
    batch = collate([{"key": str(row), "label_rows": [row]} for row in range(3)], fields, None)
    for name in ("label_rows", "label_offsets"):
        assert (example[name].shape, example[name].dtype) == (batch[name].shape, batch[name].dtype)


@pytest.mark.parametrize("number", [-2**63, 2**63 - 1])
def test_a_label_is_a_number_of_64_bits(number: int) -> None:
    label = find_fields(["label"])["label"]
    assert label.decode(str(number).encode(), "here") == number
    beyond = number + (1 if number > 0 else -1)
    with pytest.raises(BadSampleError, match="here: label is no number of 64 bits"):
        label.decode(str(beyond).encode(), "here")


def test_a_field_that_is_declared_under_an_unknown_entry_is_refused() -> None:
    with pytest.raises(CorekitError, match="no field is called 'labels'"):
        find_fields({"kind_of_animal": "labels"})
