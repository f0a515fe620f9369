"""Lazily decoded pictures and the crops made of them: against Pillow and torchvision, at full and
at smaller size.
"""

import io
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from corekit.data.datasets.base import BadSampleError
from corekit.data.transforms.decode import LazyJpeg, decode_image
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def photo(width: int = 640, height: int = 480, quality: int = 90, seed: int = 0) -> bytes:
    """A JPEG with detail at every size, as photos have it."""
    generator = np.random.default_rng(seed)
    total = np.full((height, width, 3), 120, np.float32)
    for size, amplitude in ((4, 60), (16, 35), (64, 18), (256, 9)):
        noise = generator.normal(0, amplitude, (size, size, 3)).astype(np.float32)
        total += np.stack([
            np.asarray(
                Image.fromarray(noise[..., channel]).resize(
                    (width, height), Image.Resampling.BICUBIC)) for channel in range(3)
        ], -1)
    return encoded(Image.fromarray(total.clip(0, 255).astype(np.uint8)), quality=quality)


def encoded(image: Image.Image, name: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def seeded(crop: object, image: object, seed: int) -> torch.Tensor:
    torch.default_generator.manual_seed(seed)
    return crop(image)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [(0.9, 1.0), (0.08, 1.0)])
def test_crops_are_torchvisions(scale: tuple[float, float], interpolation: str) -> None:
    ours = RandomResizedCrop(Preprocess(64, interpolation, MEAN, STD), scale, scaled_decoding=False)
    theirs = v2.RandomResizedCrop(64, scale, (0.75, 1.3333), InterpolationMode(interpolation))
    for seed, (width, height) in enumerate([(160, 120), (120, 160), (70, 66), (300, 50),
                                            (40, 40)] * 4):
        content = photo(width, height, seed=seed)
        cropped = seeded(ours, decode_image(content, ""), seed)
        wanted = np.asarray(seeded(theirs, Image.open(io.BytesIO(content)),
                                   seed)).transpose(2, 0, 1)
        assert np.abs(cropped.numpy().astype(int) - wanted).max() <= 2


@pytest.mark.parametrize(("width", "factor"), [(640, 2), (1280, 4), (3008, 8)])
def test_decoding_smaller_gives_the_same_crop_to_a_level_its_edges_half_a_pixel_off(
        width: int, factor: int) -> None:
    height = width * 3 // 4
    crop = RandomResizedCrop(Preprocess(224, "bicubic", MEAN, STD), (0.9, 1.0))
    for seed in range(3 if width < 3000 else 1):
        content = photo(width, height, seed=seed)
        image = decode_image(content, "")
        cropped = seeded(crop, image, seed).float()
        assert image.size == (width // factor, height // factor), "decoded at the smaller size"
        torch.default_generator.manual_seed(seed)
        drawn = v2.RandomResizedCrop(224, (0.9, 1.0), (0.75, 1.3333)).make_params(
            [Image.new("RGB", (width, height))])
        top, left, high, wide = drawn.values()
        edges = (left, top, left + wide, top + high)
        snapped = [factor * round(edge / factor) for edge in edges]
        assert max(abs(edge - other)
                   for edge, other in zip(edges, snapped)) <= min(high, wide) / 224 / 2
        part = decode_image(content, "").resize((224, 224), Image.Resampling.BICUBIC,
                                                box=tuple(snapped))
        wanted = torch.from_numpy(np.array(part)).permute(2, 0, 1).float()
        assert (cropped - wanted).abs().mean() < 1.5, "of 255 levels"
        for axis in (1, 2):  # a pixel further it would be another crop
            assert (cropped - wanted.roll(1, axis)).abs().mean() > 3


def test_what_is_decoded_is_never_smaller_than_the_result() -> None:
    crop = RandomResizedCrop(Preprocess(64, "bilinear", MEAN, STD), (0.05, 1.0))
    content, factors = photo(500, 400), set()
    for seed in range(60):
        image = decode_image(content, "")
        torch.default_generator.manual_seed(seed)
        _, _, height, width = v2.RandomResizedCrop(64, (0.05, 1.0),
                                                   (0.75, 1.3333)).make_params([image]).values()
        seeded(crop, image, seed)
        factor = 500 // image.width
        factors.add(factor)
        assert min(height, width) >= 64 * factor or factor == 1
        assert min(height, width) < 64 * 2 * factor, "nor larger than is needed"
    assert factors == {1, 2, 4}


def test_evaluation_decodes_in_full() -> None:
    content = photo(640, 480)
    preprocess = Preprocess(64, "bicubic", MEAN, STD)
    assert torch.equal(preprocess(decode_image(content, "")),
                       preprocess(Image.open(io.BytesIO(content)).convert("RGB")))


def test_a_picture_is_decoded_once_its_pixels_are_asked_for_and_then_keeps_its_size() -> None:
    image = decode_image(photo(640, 480), "")
    assert isinstance(image, LazyJpeg)
    assert image.size == (640, 480)
    image.load()
    assert image.shrink(4) == 1
    assert image.size == (640, 480)
    assert decode_image(photo(640, 480), "").shrink(3) == 2  # type: ignore[attr-defined]
    assert decode_image(photo(9, 7), "").shrink(8) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.97])
def test_a_cut_jpeg_is_a_bad_sample_whoever_asks_for_its_pixels(keep: float) -> None:
    content = photo(640, 480)
    preprocess = Preprocess(64, "bicubic", MEAN, STD)
    in_full = RandomResizedCrop(preprocess, scaled_decoding=False)
    for use in (preprocess, preprocess.crop, RandomResizedCrop(preprocess), in_full, np.asarray,
                lambda image: image.convert("RGB"), lambda image: image.resize((8, 8))):
        with pytest.raises(BadSampleError) as caught:
            use(decode_image(content[:int(keep * len(content))], "shard: key"))
        assert caught.value.kind == "image"
        assert caught.value.message.startswith("shard: key: ")


@pytest.mark.parametrize(("mode", "name"), [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"),
                                            ("P", "PNG"), ("1", "PNG"), ("I;16", "PNG"),
                                            ("RGB", "WEBP"), ("LA", "PNG")])
def test_other_modes_and_formats_are_decoded_as_pillow_does(mode: str, name: str) -> None:
    source = Image.open(io.BytesIO(photo(64, 48)))
    content = encoded(
        source.convert("L").convert(mode) if mode == "I;16" else source.convert(mode), name)
    assert np.array_equal(np.asarray(decode_image(content, "")),
                          np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_transparent_palettes_and_turned_jpegs() -> None:
    palette = Image.open(io.BytesIO(photo(64, 48))).convert("P")
    content = encoded(palette, "PNG", transparency=3)
    wanted = Image.open(io.BytesIO(content)).convert("RGBA").convert("RGB")
    assert np.array_equal(np.asarray(decode_image(content, "")), np.asarray(wanted))
    turned = Image.Exif()
    turned[0x0112] = 6
    content = encoded(Image.open(io.BytesIO(photo(64, 48))), exif=turned)
    assert decode_image(content, "").size == (64, 48), "orientation is left as it is stored"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_upper_eight(kind: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256), (4, 1)).astype(np.uint16)
    content = io.BytesIO()
    Image.fromarray(ramp).save(content, kind)
    decoded = np.asarray(decode_image(content.getvalue(), "here"))
    assert (decoded == (ramp >> 8).astype(np.uint8)[..., None]).all()


@pytest.mark.parametrize(("values", "wanted"), [
    (np.full((4, 4), 0.5, np.float32), 128), (np.full((4, 4), 100, np.float32), 100),
    (np.full((4, 4), 51_300, np.int32), 200), (np.full((4, 4), 200, np.int32), 200),
    (np.full((4, 4), np.nan, np.float32), None), (np.full((4, 4), 30_000, np.float32), None),
    (np.full((4, 4), -5, np.int32), None), (np.full((4, 4), 100_000, np.int32), None),
])
def test_other_greys_keep_their_levels_or_are_bad(values: NDArray[Any], wanted: int | None) -> None:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "TIFF")
    if wanted is None:
        with pytest.raises(BadSampleError, match="levels of grey"):
            decode_image(content.getvalue(), "x")
    else:
        assert (np.asarray(decode_image(content.getvalue(), "x")) == wanted).all()


@pytest.mark.parametrize(("content", "message"), [
    (b"", "it is empty"), (b"<!DOCTYPE html>", "it begins with b'<!DOCTYPE html>'")])
def test_what_is_no_picture_is_shown(content: bytes, message: str) -> None:
    with pytest.raises(BadSampleError, match=message):
        decode_image(content, "x")
