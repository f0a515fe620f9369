"""Phrases of drawn scenes fit one object alone."""

from random import Random

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.openmoji.referring import OpenMojiReferring, refer

BOXES = np.array([[0, 0, 10, 10], [40, 0, 50, 10], [20, 40, 44, 64]], dtype=np.float32)


def phrases(nouns: list[str], boxes: NDArray[np.float32] = BOXES) -> set[tuple[str, int]]:
    return {refer(Random(seed), boxes, nouns, 64) for seed in range(200)}


def test_a_noun_names_the_only_one_of_its_kind() -> None:
    named = {each for each in phrases(["apple", "pear", "house"]) if not each[0].endswith(" one")}
    assert named == {("the apple", 0), ("the pear", 1), ("the house", 2)}


def test_of_several_of_a_kind_place_or_size_tells() -> None:
    named = {each for each in phrases(["apple", "apple", "house"]) if not each[0].endswith(" one")}
    assert named == {("the left apple", 0), ("the right apple", 1), ("the house", 2)}


def test_a_place_alone_is_clear() -> None:
    alone = {each for each in phrases(["apple", "pear", "house"]) if each[0].endswith(" one")}
    assert alone == {("the left one", 0), ("the right one", 1), ("the bottom one", 2),
                     ("the large one", 2)}


def test_two_alike_beside_each_other_still_have_a_phrase() -> None:
    boxes = np.array([[2, 0, 12, 10], [0, 3, 10, 13]], dtype=np.float32)
    assert phrases(["apple", "apple"], boxes) == {("the left apple", 1)}


def test_samples_are_a_function_of_seed_and_number() -> None:
    one, other = OpenMojiReferring(50), OpenMojiReferring(50, seed=1)
    samples = [one.decode(handle) for handle in range(20)]
    again = [OpenMojiReferring(50).decode(handle)["text"] for handle in range(20)]
    assert [sample["text"] for sample in samples] == again
    assert again != [other.decode(handle)["text"] for handle in range(20)]
    assert all(sample["boxes"].shape == (1, 4) for sample in samples)
    assert one.fingerprint != other.fingerprint
