"""Pascal VOC's pictures with class maps or boxes."""

import hashlib
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.dense.damage import clipped_box
from corekit.data.datasets.dense.label_maps import LabelMaps
from corekit.data.datasets.dense.pictures import check_size
from corekit.data.fields import Field, find_fields
from corekit.data.segmentation import IGNORED
from corekit.data.shards.members import RawSample
from corekit.data.storage import read_lines
from corekit.errors import CorekitError
from corekit.registry import register

CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
           "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
           "train", "tvmonitor")


class _Xml(Field):
    """An XML file, whose content the dataset reads with the picture beside it."""

    def decode(self, content: bytes, where: str) -> ElementTree.Element:
        try:
            return ElementTree.fromstring(content)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise BadSampleError("xml", f"{where}: {error}") from None


@register("dataset", "pascal_voc")
class PascalVoc(LabelMaps):
    """Pascal VOC's pictures with class maps or boxes (Everingham et al., 2010).

    With ``segmentation`` a sample has ``image`` and the map of that name: 0 is background, 1 to 20
    are the classes, 255 their borders. With ``boxes`` it has ``boxes``, ``box_labels`` of 20
    classes, and ``iscrowd``, which is 1 for objects marked as difficult: evaluation leaves both
    out. A picture with a damaged annotation is a bad sample.

    Args:
        root: the folder or URL of VOCdevkit, of VOC2012 in it, or the one around it; ``data.root``
            where the recipe gives none. None: no samples, as a dry run needs it.
        split: a list of ImageSets/Segmentation or ImageSets/Main, such as train, val or trainval.
        annotations: what a sample has beside the picture.
        difficult: whether objects marked as difficult are kept; None: except in train....
        year: of the folder's name.

    Raises:
        CorekitError: the list of pictures is missing.
    """

    classes = {number: number for number in [*range(len(CLASSES) + 1), IGNORED]}

    def __init__(self, root: str | None, split: str = "train",
                 annotations: Literal["segmentation", "boxes"] = "segmentation",
                 difficult: bool | None = None, year: int = 2012) -> None:
        super().__init__(root, split, f"voc{year}")
        self.has_boxes = annotations == "boxes"
        self.difficult = not split.startswith("train") if difficult is None else difficult
        self.class_names = [*CLASSES] if self.has_boxes else ["background", *CLASSES]
        self.num_classes = len(self.class_names)
        if self.has_boxes:
            self.fields = ("image", "boxes", "box_labels", "iscrowd")
            self.decoders = find_fields({"image": "image", "xml": _Xml()})
        if root is not None:
            self._list(split, [f"VOCdevkit/VOC{year}/", f"VOC{year}/", ""])

    def _list(self, split: str, folders: list[str]) -> None:
        kind = "Main" if self.has_boxes else "Segmentation"
        for folder in folders:
            name = f"{folder}ImageSets/{kind}/{split}.txt"
            names = [line.split()[0] for line in read_lines(self.storage.root, name)]
            if names:
                break
        else:
            raise CorekitError(f"data.root={self.storage.root} holds no "
                               f"{folders[0]}ImageSets/{kind}/{split}.txt")
        beside = ("xml", "Annotations", "xml") if self.has_boxes else (
            "segmentation", "SegmentationClass", "png")
        field, below, extension = beside
        decides = f"{folder} {kind} {self.difficult} {names}"
        self.number([{"image": f"{folder}JPEGImages/{name}.jpg",
                      field: f"{folder}{below}/{name}.{extension}"} for name in names],
                    hashlib.sha256(decides.encode()).hexdigest())

    def annotation(self, number: int, sample: Sample, raw: RawSample) -> Sample:
        """The class map, or the boxes in the XML file."""
        if not self.has_boxes:
            return super().annotation(number, sample, raw)
        where = f"{raw.where}: {raw.key}"
        root: ElementTree.Element = sample.pop("xml")
        try:
            size = [int(root.findtext(f"size/{side}", "")) for side in ("width", "height")]
            check_size(sample["image"], size[0], size[1], where)
            rows = [self._object(each, size) for each in root.iter("object")]
        except (ValueError, TypeError):
            raise BadSampleError("xml", f"{where}: an object without a name or box") from None
        except BadSampleError as error:
            raise BadSampleError(error.kind, error.message or f"{where}: a box") from None
        kept = [row for row in rows if self.difficult or not row[2]]
        return {"boxes": np.array([row[0] for row in kept], dtype=np.float32).reshape(-1, 4),
                "box_labels": np.array([row[1] for row in kept], dtype=np.int64),
                "iscrowd": np.array([row[2] for row in kept], dtype=np.uint8)}

    def _object(self, item: ElementTree.Element,
                size: list[int]) -> tuple[tuple[float, ...], int, bool]:
        """(box, label, whether it is difficult) of one object; their pixels begin at 1."""
        name = item.findtext("name", "").strip()
        if name not in CLASSES:
            raise BadSampleError("unknown_category", "")
        edges = [float(item.findtext(f"bndbox/{edge}", ""))
                 for edge in ("xmin", "ymin", "xmax", "ymax")]
        box = clipped_box((edges[0] - 1, edges[1] - 1, edges[2], edges[3]), size[0], size[1])
        return box, CLASSES.index(name), item.findtext("difficult", "0").strip() == "1"
