"""COCO's layout and LVIS's annotations of the same pictures: boxes and masks of objects."""

import logging
from collections.abc import Sequence
from typing import Any

from corekit.data.datasets.base import Sample
from corekit.data.datasets.dense.coco_json import (
    Annotations,
    coco_number,
    parse_file,
    read_annotations,
)
from corekit.data.datasets.dense.pictures import Pictures, check_size
from corekit.data.shards.members import RawSample
from corekit.errors import CorekitError
from corekit.registry import register

log = logging.getLogger(__name__)


class AnnotatedPictures(Pictures):
    """Pictures with their objects from one annotation file in COCO's form.

    Attributes:
        category_ids: the file's number of each class.
        damage: annotations that are left out, by kind.
    """

    def __init__(self, root: str | None, split: str, name: str, masks: bool, crowds: bool | None,
                 unannotated: bool | None, without: Sequence[str] = ()) -> None:
        fields = ("image", "image_id", "boxes", "box_labels", "iscrowd", "areas")
        super().__init__(root, (*fields, "masks") if masks else fields, name)
        self.split, self.masks, self.without = split, masks, list(without)
        is_training = split.startswith("train")
        self.crowds = not is_training if crowds is None else crowds
        self.unannotated = not is_training if unannotated is None else unannotated
        self.category_ids: list[int] = []
        if root is not None:
            self._open()

    def annotation_files(self) -> list[str]:
        """The names that the annotation file may have."""
        raise NotImplementedError

    def picture_name(self, picture: dict[str, Any]) -> str:
        """The name of a picture's file below one of ``folders``."""
        raise NotImplementedError

    def folders(self) -> list[str]:
        """The folders that pictures may lie in, each with a / at its end."""
        raise NotImplementedError

    def _open(self) -> None:
        annotations = self._read()
        categories, pictures = annotations.categories, annotations.pictures
        self.class_names = [str(category["name"]) for category in categories]
        self.category_ids = [int(category["id"]) for category in categories]
        self.num_classes, self.objects = len(categories), annotations.objects
        self.damage = annotations.damage
        self.image_ids = [int(picture["id"]) for picture in pictures]
        names = [self.picture_name(picture) for picture in pictures]
        folder = self.folder_of(names, self.folders())
        rules = " ".join([str(self.masks), str(self.crowds), str(self.unannotated), *self.without])
        self.number([{"image": folder + name} for name in names],
                    f"{annotations.fingerprint} {rules}")
        self.keep(pictures, categories)

    def keep(self, pictures: list[dict[str, Any]], categories: list[dict[str, Any]]) -> None:
        """Keep more of what the file says."""

    def _read(self) -> Annotations:
        names = self.annotation_files()
        for name in names:
            content = self.storage.read_if_there(name)
            if content is not None:
                where = self.storage.where(name)
                annotations = read_annotations(content, where, self.crowds, self.unannotated,
                                               self.masks, self._left_out())
                annotations.damage.warn(where)
                if self.without:
                    log.info("%s: %d pictures are left out, which are in %s", where,
                             annotations.left_out, ", ".join(self.without))
                return annotations
        raise CorekitError(f"{self.storage.where(names[0])} does not exist: data.root is a folder "
                           f"with COCO's annotations/ and {self.folders()[0]}")

    def _left_out(self) -> set[int]:
        """COCO's numbers of the pictures in the files of ``without``."""
        result: set[int] = set()
        for name in self.without:
            where, content = self.storage.where(name), self.storage.read_if_there(name)
            if content is None:
                raise CorekitError(f"{where} does not exist: data.dataset.without names annotation "
                                   "files below data.root")
            result |= {coco_number(picture) for picture in parse_file(content, where)["images"]}
        return result

    def annotation(self, number: int, sample: Sample, raw: RawSample) -> Sample:
        """The objects of a picture."""
        width, height = self.objects.sizes[number].tolist()
        check_size(sample["image"], width, height, f"{raw.where}: {raw.key}")
        return {"image_id": self.image_ids[number], **self.objects.sample(number, self.masks)}


@register("dataset", "coco_instances")
class CocoInstances(AnnotatedPictures):
    """COCO's pictures with the boxes and masks of their objects (Lin et al., 2014).

    ``annotations/instances_SPLIT.json`` says what is in the pictures under ``SPLIT/`` or
    ``images/SPLIT/``. A sample has ``image``, ``image_id``, ``boxes``, ``box_labels`` (places of
    the categories in the order of their numbers), ``iscrowd``, ``areas`` as annotated, and
    ``masks``, polygons or run lengths. Damaged annotations are left out, counted by kind, with one
    warning; a picture that is not there, or has another size than the file says, is a bad sample.

    Args:
        root: the folder or URL of COCO; ``data.root`` where the recipe gives none. None: no
            samples, as a dry run needs it.
        split: such as train2017 or val2017.
        masks: False: boxes alone, for less memory.
        crowds: whether annotations of crowds are kept; None: except in splits called train...
        unannotated: whether pictures without any annotation are kept; None: likewise. Others stay
            also where only crowds are in them.
        without: annotation files below the root whose pictures are left out, such as RefCOCO's for
            tests, which are pictures of train2017: annotations/finetune_refcoco_testA.json.

    Raises:
        CorekitError: the annotations are missing, cut off, or not COCO's.
    """

    def __init__(self, root: str | None, split: str = "train2017", masks: bool = True,
                 crowds: bool | None = None, unannotated: bool | None = None,
                 without: Sequence[str] = ()) -> None:
        super().__init__(root, split, f"coco_{split}", masks, crowds, unannotated, without)

    def annotation_files(self) -> list[str]:
        """The names that the annotation file may have."""
        return [f"annotations/instances_{self.split}.json"]

    def picture_name(self, picture: dict[str, Any]) -> str:
        """The name of a picture's file below one of ``folders``."""
        return str(picture.get("file_name", ""))

    def folders(self) -> list[str]:
        """The folders that pictures may lie in, each with a / at its end."""
        return [f"{self.split}/", f"images/{self.split}/"]


@register("dataset", "lvis")
class Lvis(AnnotatedPictures):
    """LVIS's annotations of COCO's pictures, 1,203 categories (Gupta et al., 2019).

    ``lvis_v1_SPLIT.json``, beside COCO's folders or in ``annotations/``, names pictures of
    train2017 and val2017 in either split. Fields are those of ``coco_instances``.

    Args:
        root: the folder or URL of COCO's pictures; ``data.root`` where the recipe gives none. None:
            no samples, as a dry run needs it.
        split: train or val.
        masks: False: boxes alone, for less memory.
        unannotated: whether pictures without any annotation are kept; None: except in train.

    Attributes:
        frequencies: r, c or f of each class: in few, some or many pictures.
        negative_ids: image -> numbers of categories that are known not to be there.
        not_exhaustive_ids: image -> numbers of categories of which some objects may be missing.

    Raises:
        CorekitError: the annotations are missing, cut off, or of another form.
    """

    def __init__(self, root: str | None, split: str = "train", masks: bool = True,
                 unannotated: bool | None = None) -> None:
        self.frequencies: list[str] = []
        self.negative_ids: dict[int, list[int]] = {}
        self.not_exhaustive_ids: dict[int, list[int]] = {}
        super().__init__(root, split, f"lvis_{split}", masks, None, unannotated)

    def annotation_files(self) -> list[str]:
        """The names that the annotation file may have."""
        return [f"annotations/lvis_v1_{self.split}.json", f"lvis_v1_{self.split}.json"]

    def picture_name(self, picture: dict[str, Any]) -> str:
        """The name of a picture's file below one of ``folders``."""
        url = str(picture.get("coco_url") or picture.get("file_name", ""))
        return "/".join(url.split("/")[-2:])

    def folders(self) -> list[str]:
        """The folders that pictures may lie in, each with a / at its end."""
        return ["", "images/"]

    def keep(self, pictures: list[dict[str, Any]], categories: list[dict[str, Any]]) -> None:
        """Keep what LVIS's figures need beside the objects."""
        self.frequencies = [str(category.get("frequency", "")) for category in categories]
        for picture in pictures:
            self.negative_ids[picture["id"]] = picture.get("neg_category_ids", [])
            self.not_exhaustive_ids[picture["id"]] = picture.get("not_exhaustive_category_ids", [])
