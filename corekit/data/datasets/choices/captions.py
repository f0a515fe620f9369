"""Captions of one picture, one of them right: SugarCrepe, and the four sets of ARO."""

from typing import Literal

from corekit.data.datasets.choices.base import Choice, ChoicePictures, Row, box_of
from corekit.registry import register

SUGAR_CREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att",
               "swap_obj")
ARO = {"vg_relation": "visual_genome_relation", "vg_attribution": "visual_genome_attribution",
       "coco_order": "coco_order", "flickr_order": "flickr_order"}


@register("dataset", "sugar_crepe")
class SugarCrepe(ChoicePictures):
    """SugarCrepe: COCO's pictures with a right and a wrong caption (Hsieh et al., 2023).

    ``PART.json``, in the folder or in ``data/``, names pictures of COCO's val2017, which lie in
    ``val2017/`` or ``images/val2017/``.

    Args:
        root: the folder; ``data.root`` where the recipe gives none. None: no samples, as a dry run
            needs it.
        part: one of the seven, or all of them as one.

    Raises:
        CorekitError: a file is missing or cut off, or no picture is there.
    """

    def __init__(self, root: str | None,
                 part: Literal["all", "add_att", "add_obj", "replace_att", "replace_obj",
                               "replace_rel", "swap_att", "swap_obj"] = "all") -> None:
        super().__init__(root, f"sugar_crepe-{part}")
        if root is not None:
            parts = SUGAR_CREPE if part == "all" else (part, )
            self.open([(f"{each}.json", f"data/{each}.json") for each in parts],
                      ["val2017/", "images/val2017/", "images/", ""])

    def choice(self, row: Row) -> Choice:
        """The right caption and the wrong one."""
        return Choice([(row["filename"], None)], [row["caption"], row["negative_caption"]], [0])


@register("dataset", "aro")
class Aro(ChoicePictures):
    """One of ARO's sets: pictures with a right caption and wrong ones (Yuksekgonul et al., 2023).

    ``visual_genome_relation.json`` and ``visual_genome_attribution.json`` have ``image_path``, a
    box of the part of the picture that counts, ``true_caption`` and ``false_caption``; pictures lie
    in ``images/``. ARO draws the orders of words anew each time, so ``coco_order.json`` and
    ``flickr_order.json`` are lists that were drawn once: rows with ``image`` and
    ``caption_options``, of which the first is right.

    Args:
        root: the folder; ``data.root`` where the recipe gives none. None: no samples, as a dry run
            needs it.
        part: which set.

    Raises:
        CorekitError: the file is missing or cut off, or no picture is there.
    """

    def __init__(self, root: str | None,
                 part: Literal["vg_relation", "vg_attribution", "coco_order",
                               "flickr_order"] = "vg_relation") -> None:
        super().__init__(root, f"aro-{part}")
        if root is not None:
            self.open([(f"{ARO[part]}.json", )], ["images/", "", "flickr30k-images/"])

    def choice(self, row: Row) -> Choice:
        """The right caption and the wrong ones."""
        if "caption_options" in row:
            return Choice([(row["image"], box_of(row))], row["caption_options"], [0])
        return Choice([(row["image_path"], box_of(row))],
                      [row["true_caption"], row["false_caption"]], [0])
