"""Winoground: two pictures and two captions with the same words."""

from corekit.data.datasets.choices.base import Choice, ChoicePictures, Row
from corekit.registry import register


@register("dataset", "winoground")
class Winoground(ChoicePictures):
    """Winoground: which of two captions belongs to which of two pictures (Thrush et al., 2022).

    ``examples.jsonl``, in the folder or in ``data/``, has ``image_0``, ``image_1``, ``caption_0``
    and ``caption_1``; pictures lie in ``images/`` or ``data/images/``, and their names may lack
    ``.png`` or ``.jpg``.

    Args:
        root: the folder; ``data.root`` where the recipe gives none. None: no samples, as a dry run
            needs it.

    Raises:
        CorekitError: the file is missing or cut off, or no picture is there.
    """

    def __init__(self, root: str | None) -> None:
        super().__init__(root, "winoground")
        if root is not None:
            names = ["examples.jsonl", "data/examples.jsonl", "winoground.jsonl", "winoground.json"]
            self.open([names], ["images/", "data/images/", "data/", ""], ["", ".png", ".jpg"])

    def choice(self, row: Row) -> Choice:
        """Each picture's own caption stands at its place."""
        return Choice([(row["image_0"], None), (row["image_1"], None)],
                      [row["caption_0"], row["caption_1"]], [0, 1])
