"""Notes beside the shards of a data set, as CLIP_benchmark reads and writes them.

``classnames.txt``, ``zeroshot_classification_templates.txt`` and ``dataset_type.txt`` lie in the
folder of the set, and ``nshards.txt`` with the shards in the folder of a split.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from corekit.data.datasets.base import DatasetInfo, Fields
from corekit.data.datasets.choices.instances import Instance
from corekit.data.storage import Storage, read_text
from corekit.errors import CorekitError
from corekit.files import write_text

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
TYPE, SHARD_COUNT = "dataset_type.txt", "nshards.txt"
INSTANCES = "instances.jsonl"
TYPES = ("classification", "retrieval", "multilabel")


def read_set_names(root: str) -> tuple[list[str], list[str]]:
    """The class names and templates in the folder of an evaluation set; none where it has none.

    Every line is a class name, also a blank one; blank lines are no templates.

    Raises:
        CorekitError: a file is not in UTF-8.
    """
    storage = Storage(root)
    names, templates = (read_text(storage, file) or "" for file in (CLASS_NAMES, TEMPLATES))
    lines = names.removesuffix("\n").split("\n") if names else []
    return ([line.strip() for line in lines],
            [line.strip() for line in templates.split("\n") if line.strip()])


def read_set_type(root: str) -> str:
    """What ``dataset_type.txt`` says: one of ``TYPES``; classification where there is none.

    Raises:
        CorekitError: it says something else.
    """
    text = (read_text(Storage(root), TYPE) or TYPES[0]).strip().lower()
    if text not in TYPES:
        raise CorekitError(f"{root}/{TYPE} says '{text[:80]}': it must be one of "
                           f"{', '.join(TYPES)}")
    return text


def missing_shards(folder: str) -> list[str]:
    """Names of the shards that ``nshards.txt`` counts and the folder lacks; none without that file.

    Raises:
        CorekitError: it holds no number.
    """
    storage = Storage(folder)
    text = read_text(storage, SHARD_COUNT)
    if text is None:
        return []
    if not text.strip().isdecimal() or len(text.strip()) > 9:
        raise CorekitError(f"{folder}/{SHARD_COUNT} says '{text.strip()[:80]}': it must be how "
                           "many shards there are")
    present = {file.name for file in storage.files("*.tar")}
    count = int(text)
    if count > len(present) + 1000:  # more than anyone wants to read the names of
        raise CorekitError(f"{folder} holds {len(present)} of the {count} shards that its "
                           f"{SHARD_COUNT} counts")
    return [name for number in range(count) if (name := f"{number}.tar") not in present]


def write_notes(info: DatasetInfo, out: Path, attribution: str | None) -> None:
    """Write class names, templates and attribution of a data set, as far as it has them."""
    if info.class_names:
        write_text(out / CLASS_NAMES, "".join(f"{name}\n" for name in info.class_names))
    if info.templates:
        write_text(out / TEMPLATES, "".join(template.replace("{}", "{c}") + "\n"
                                            for template in info.templates))
    if attribution or info.attribution:
        write_text(out / "ATTRIBUTION.md", attribution or str(info.attribution))


def write_split_notes(fields: Fields, out: Path, split: str, shards: int) -> None:
    """Write what CLIP_benchmark wants to know of a split, and of what is evaluated on it."""
    write_text(out / split / SHARD_COUNT, f"{shards}\n")
    if "label_vector" in fields:
        write_text(out / TYPE, "multilabel\n")
    elif "text" in fields and "label" not in fields:
        write_text(out / TYPE, "retrieval\n")


def write_instances(instances: Sequence[Instance], keys: Sequence[str], path: Path) -> None:
    """Write choices as lines of JSON, with the pictures' keys in the place of their numbers."""
    rows = [{"pictures": [keys[number] for number in instance.pictures],
             "sentences": instance.sentences, "right": instance.right} for instance in instances]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
