"""Epochs, samples and scales of the recipes are those of the reference."""

import pytest

from tests.plain import sampler_of
from tests.projects.recipe_tables import composed, names

NAMES = names("catlip")
PICTURES = {"imagenet": 1_281_167, "places365": 1_803_460, "coco": 118_287}


DETECTION = {"coco_detection_b": 100, "coco_detection_l": 100, "coco_detection_h": 80}  # passes
ANNOTATED = 117_266  # pictures of COCO's, of which detection is trained


def seen(name: str) -> int:
    """The samples of a recipe's training."""
    recipe = composed("catlip", name)
    draws: int = sampler_of(recipe).draws(recipe["engine"]["steps"]).start
    return int(recipe["data"]["streams"]) * draws


@pytest.mark.parametrize("name", [name for name in NAMES if name.split("_")[0] in PICTURES
                                  and name not in DETECTION])
def test_steps_are_ten_epochs(name: str) -> None:
    assert seen(name) == pytest.approx(10 * PICTURES[name.split("_")[0]], rel=2e-3)


@pytest.mark.parametrize(("name", "passes"), DETECTION.items())
def test_detection_passes_over_the_annotated_pictures(name: str, passes: int) -> None:
    assert seen(name) == pytest.approx(passes * ANNOTATED, rel=2e-3)


COCO_MEAN = sum((512 / (16 * round((256 + 512 * size / 24) / 16))) ** 2 for size in range(25)) / 25


# of CoreNet's samplers: distinct sizes, mean batch over the nominal one
@pytest.mark.parametrize(("name", "scales", "mean"), [("b", 13, 1.27), ("imagenet_b", 7, 1.32),
                                                      ("imagenet_h_512", 9, 2.06),
                                                      ("coco_b", 25, COCO_MEAN), ("clip", 6, 1.03)])
def test_sizes_are_the_references(name: str, scales: int, mean: float) -> None:
    recipe = composed("catlip", name)
    sampler, batch = sampler_of(recipe), recipe["engine"]["batch_size"]
    assert len(sampler.table) == scales
    if name == "clip":  # CoreNet's own number, which 25 scales come to as well
        finer = {**recipe, "sampler": {**recipe["sampler"], "scales": 25}}
        assert recipe["sampler"]["scales"] == 5
        assert sampler_of(finer).table == sampler.table
    # a stream gives whole samples, rounded down, where CoreNet rounds those of a GPU
    assert sampler.total * recipe["data"]["streams"] / scales / batch == pytest.approx(
        mean, rel=0.04)
