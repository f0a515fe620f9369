"""Samples with pictures of their own, any number of them: prepared for training and evaluation."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from corekit.data.datasets.base import Batch, Sample
from corekit.data.fields import Field, find_fields
from corekit.data.fields import Image as ImageField
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.eval_loader import chunks
from corekit.data.loading.loader import Streams, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.base import Transform
from corekit.data.transforms.geometric import CenterCrop, RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.train.verify import verify
from tests.plain import compose, parts

PREPROCESS = Preprocess(8, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize="pad", tiles=4)


class Shown(Field):
    """The tiles of each picture, listed."""

    geometry = "pictures"

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        return {self.name: list(values)}


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8 + 8 * number, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Album:
    """Samples with 0, 1, 2 and 0, 1, 2, ... pictures, the n-th of n tiles beside the whole."""

    fields = {"pictures": Shown()}
    fingerprint = "album"

    def __init__(self, count: int = 12) -> None:
        self.shard_sizes = np.array([count])

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def decode(self, handle: int) -> Sample:
        return {"key": str(handle), "pictures": [picture(each) for each in range(handle % 3)]}


def test_training_and_evaluation_prepare_every_picture_alike() -> None:
    album, crop = Album(), CenterCrop(PREPROCESS)
    streams = Streams(album, ShuffledOrder(album.shard_sizes, 2, 2, 0), FixedSize(4, 2),
                      range(2), 0, crop, None)
    batch = next(step_batches(streams, 0, 1, 0)).batch
    for key, tiles in zip(batch["key"], batch["pictures"], strict=True):
        assert [len(each) for each in tiles] == [1, 3][:int(key) % 3]
        assert all(torch.equal(each, PREPROCESS.tiles_of(picture(number)))
                   for number, each in enumerate(tiles))
    evaluated = [chunk for rank in range(2) for chunk in chunks(album, PREPROCESS, 4, rank, 2)]
    seen = {key: tiles for chunk in evaluated
            for key, tiles in zip(chunk["key"], chunk["pictures"], strict=True)}
    assert sorted(seen, key=int) == [str(number) for number in range(12)]
    assert all(chunk["problem"] is None and "image" not in chunk for chunk in evaluated)
    for key, tiles in zip(batch["key"], batch["pictures"], strict=True):
        assert all(torch.equal(*pair) for pair in zip(tiles, seen[key], strict=True))


def test_the_image_of_a_sample_is_prepared_beside_its_pictures() -> None:
    crop = CenterCrop(PREPROCESS)
    output = crop({"image": picture(1), "pictures": [picture(2)], "key": "k"})
    assert torch.equal(output["image"], PREPROCESS.crop(picture(1)))
    assert torch.equal(output["pictures"][0], PREPROCESS.tiles_of(picture(2)))
    assert crop({"pictures": [picture(1)]}, 16)["pictures"][0].shape == (1, 3, 16, 16)


def test_a_transform_that_does_not_prepare_pictures_is_refused() -> None:
    fields = find_fields({"pictures": Shown(), "image": ImageField()})
    Transform.of(CenterCrop(PREPROCESS)).check("transform `center_crop`", fields)
    for function in (RandomResizedCrop(PREPROCESS), lambda image: image):
        with pytest.raises(CorekitError, match="transform `it` does not prepare `pictures`, of whi"
                                               "ch .* or set data.transform.name=center_crop"):
            Transform.of(function).check("transform `it`", fields)


@pytest.mark.parametrize(("words", "message"), [
    (["data.transform.name=random_resized_crop"], "`random_resized_crop` does not prepare `pictu"),
    (["sampler={name: variable_size, smallest: 56, largest: 84, divisor: 14}"],
     "sampler `variable_size` draws a size .* in a conversation keeps as many tokens"),
])
def test_what_does_not_suit_pictures_is_refused_before_training(words: list[str], message: str
                                                                ) -> None:
    pytest.importorskip("transformers")
    assembled = parts(compose("+recipe=aimv2/multimodal_quickstart", *words))
    with pytest.raises(CorekitError, match=message):
        verify(assembled)
