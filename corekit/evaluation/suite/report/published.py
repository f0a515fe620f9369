"""Published rows, beside which a run is printed: kind ``reference``, or files of one's own."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from corekit import registry
from corekit.errors import CorekitError
from corekit.evaluation.suite.report.formats import read_file
from corekit.evaluation.suite.report.results import Results, find_store, read_store
from corekit.evaluation.suite.sets import EvalSet
from corekit.registry import register
from corekit.signatures import nearest


@register("reference", "open_clip")
def open_clip() -> Path:
    """The 121 rows of 38 sets in open_clip's docs/openclip_results.csv, to four decimals."""
    return Path(__file__).with_name("open_clip.csv")


def find_results(word: str, sets: Sequence[EvalSet]) -> list[Results]:
    """The models that a word means.

    It is REFERENCE/MODEL, a kind ``reference`` and a pattern of its models, such as
    ``mobileclip/mobileclip_s0`` or ``open_clip/ViT-B-16 openai``; REFERENCE alone; a file of
    figures; or a place where a suite was evaluated (see ``find_store``).

    Raises:
        CorekitError: it means none of them, or what it means cannot be read.
    """
    reference, _, pattern = word.partition("/")
    references = registry.names("reference")
    if reference in references:
        models = read_file(registry.build("reference", reference), sets)
        matching = [each for each in models if fnmatch.fnmatchcase(each.name, pattern or "*")]
        if not matching:
            hint = nearest(pattern, [each.name for each in models])
            raise CorekitError(f"reference '{reference}' has no model '{pattern}'{hint}")
        return matching
    place = Path(word).expanduser()
    store = find_store(place)
    if store is not None:
        return [read_store(store, word)]
    if place.exists():
        return read_file(place, sets)
    raise CorekitError(f"'{word}' is no file or folder with results of evaluation sets, and no "
                       f"published row{nearest(reference, references)}: those are "
                       f"{', '.join(references)} (such as mobileclip/mobileclip_s0)")
