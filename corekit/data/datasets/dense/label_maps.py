"""Pictures with a class map beside each, whose numbers become those of the classes."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.dense.pictures import Pictures
from corekit.data.segmentation import IGNORED
from corekit.data.shards.members import RawSample
from corekit.data.storage import read_lines
from corekit.errors import CorekitError
from corekit.registry import register


class LabelMaps(Pictures):
    """A dataset of pictures and PNGs of numbers, for datasets to inherit from.

    Attributes:
        classes: number in a file -> class, or 255 for a number that is ignored; a file that holds
            any other number is a bad sample.
    """

    stored = ("image", "segmentation")
    classes: Mapping[int, int] = {}

    def __init__(self, root: str | None, split: str, name: str) -> None:
        super().__init__(root, self.stored, f"{name}_{split}")
        self.split = split

    def pair(self, folders: Sequence[str], pattern: str, replaced: Sequence[tuple[str, str]]
             ) -> str:
        """Set the samples: pictures below the first folder that holds any, and their maps.

        Args:
            folders: each with a / at its end, or empty.
            pattern: of the pictures below one of them.
            replaced: what in a picture's name becomes what in that of its map.

        Returns:
            the folder.
        """
        for folder in folders:
            files = self.storage.files(folder + pattern)
            if files:
                break
        else:
            raise CorekitError(f"data.root={self.storage.root} holds no {folders[0]}{pattern}")
        digest = hashlib.sha256()
        pairs = []
        for name, size, _ in files:
            digest.update(f"{name} {size}\n".encode("utf-8", "surrogateescape"))
            map_name = name[len(folder):]
            for old, new in replaced:
                map_name = map_name.replace(old, new)
            pairs.append({"image": name, "segmentation": folder + map_name})
        self.number(pairs, digest.hexdigest())
        return folder

    def annotation(self, number: int, sample: Sample, raw: RawSample) -> Sample:
        """The class map with the numbers of the classes."""
        table = np.full(256, IGNORED, dtype=np.uint8)
        table[list(self.classes)] = list(self.classes.values())
        unknown = np.ones(256, dtype=bool)
        unknown[list(self.classes)] = False
        numbers = sample["segmentation"]
        if (unknown[numbers]).any():
            first = int(numbers[unknown[numbers]][0])
            raise BadSampleError("unknown_class", f"{raw.where}: {raw.key}: number {first} in its "
                                 "class map is of no class")
        return {"segmentation": table[numbers]}


@register("dataset", "ade20k")
class Ade20k(LabelMaps):
    """ADE20k's pictures with 150 classes, as of the scene parsing challenge (Zhou et al., 2017).

    A sample has ``image`` and ``segmentation``: 0 to 149, and 255 where the file has 0.

    Args:
        root: the folder or URL of ADEChallengeData2016, or the one around it; ``data.root`` where
            the recipe gives none. None: no samples, as a dry run needs it.
        split: training or validation.

    Raises:
        CorekitError: no pictures of the split.
    """

    classes = {0: IGNORED, **{number: number - 1 for number in range(1, 151)}}

    def __init__(self, root: str | None, split: str = "training") -> None:
        super().__init__(root, split, "ade20k")
        self.num_classes = 150
        if root is not None:
            folder = self.pair(["", "ADEChallengeData2016/"], f"images/{split}/*.jpg",
                               [("images/", "annotations/"), (".jpg", ".png")])
            self.class_names = self._read_names(f"{self.storage.root}/{folder}".rstrip("/"))

    def _read_names(self, folder: str) -> list[str]:
        """The last column of ``objectInfo150.txt``, which begins with a line of headings."""
        names = [line.split("\t")[-1].strip() for line in read_lines(folder, "objectInfo150.txt")]
        return names[1:] if len(names) == 151 else [str(number) for number in range(1, 151)]


# of the 34 numbers in Cityscapes' files, those of the 19 classes that are evaluated
_CITYSCAPES = {7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
               19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
               24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train",
               32: "motorcycle", 33: "bicycle"}


@register("dataset", "cityscapes")
class Cityscapes(LabelMaps):
    """Cityscapes' pictures of streets with the 19 classes that are evaluated (Cordts et al., 2016).

    A sample has ``image`` and ``segmentation``: 0 to 18, and 255 for the 15 other numbers of
    ``gtFine/.../*_gtFine_labelIds.png``.

    Args:
        root: the folder or URL with leftImg8bit/ and gtFine/; ``data.root`` where the recipe gives
            none. None: no samples, as a dry run needs it.
        split: train or val.

    Raises:
        CorekitError: no pictures of the split.
    """

    classes = {**dict.fromkeys([*range(34), IGNORED], IGNORED),
               **{number: place for place, number in enumerate(_CITYSCAPES)}}

    def __init__(self, root: str | None, split: str = "train") -> None:
        super().__init__(root, split, "cityscapes")
        self.class_names = list(_CITYSCAPES.values())
        self.num_classes = len(_CITYSCAPES)
        if root is not None:
            self.pair([""], f"leftImg8bit/{split}/*/*_leftImg8bit.png",
                      [("leftImg8bit/", "gtFine/"), ("_leftImg8bit", "_gtFine_labelIds")])
