"""WinoGAViL: pictures that people associate with a cue."""

import json

from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.choices.base import Choice, ChoicePictures, Row
from corekit.registry import register


@register("dataset", "winogavil")
class Winogavil(ChoicePictures):
    """WinoGAViL: which of 5 to 12 pictures go with a word (Bitton et al., 2022).

    ``winogavil_dataset.csv``, or the same rows as ``winogavil.jsonl``, has ``cue``, ``candidates``
    and ``associations``, lists of names of pictures; those lie in ``winogavil_images/`` or
    ``images/`` as ``NAME.jpg``. The sentence of a choice is the cue in lower case behind "A" or
    "An", as DataComp asks for it.

    Args:
        root: the folder; ``data.root`` where the recipe gives none. None: no samples, as a dry run
            needs it.

    Raises:
        CorekitError: the file is missing or cut off, or no picture is there.
    """

    def __init__(self, root: str | None) -> None:
        super().__init__(root, "winogavil")
        if root is not None:
            names = ["winogavil_dataset.csv", "winogavil.csv", "winogavil.jsonl", "winogavil.json"]
            self.open([names], ["winogavil_images/", "images/", ""], [".jpg", "", ".png"])

    def choice(self, row: Row) -> Choice:
        """The sentence with the cue, and the places of the associated pictures."""
        candidates, associations = _names(row["candidates"]), _names(row["associations"])
        if not set(associations) <= set(candidates) or len(set(candidates)) < len(candidates):
            raise BadSampleError("right", "")
        return Choice([(name, None) for name in candidates], [_sentence(row["cue"])],
                      [place for place, name in enumerate(candidates) if name in associations])


def _sentence(cue: str) -> str:
    cue = cue.strip().lower()
    return f"{'An' if cue[:1] in tuple('aeiou') else 'A'} {cue}" if cue else ""


def _names(value: object) -> list[str]:
    """A list of names, which a CSV file has as JSON."""
    names = json.loads(value) if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("no list of names")
    return names
