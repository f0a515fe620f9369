"""Which data set a folder holds, by what lies in it."""

from corekit import registry
from corekit.data.datasets.base import Source
from corekit.data.storage import Storage
from corekit.errors import CorekitError

# data set -> patterns of files, the * of which is the split
LAYOUTS = {
    "coco_instances": ("annotations/instances_*.json", ),
    "lvis": ("lvis_v1_*.json", "annotations/lvis_v1_*.json"),
    "ade20k": ("images/*/ADE_*_00000001.jpg", "ADEChallengeData2016/images/*/ADE_*_00000001.jpg"),
    "cityscapes": ("leftImg8bit/*/*/*_leftImg8bit.png", ),
    "pascal_voc": ("VOCdevkit/VOC2012/ImageSets/Segmentation/*.txt",
                   "VOC2012/ImageSets/Segmentation/*.txt", "ImageSets/Segmentation/*.txt"),
}


def layouts(root: str) -> dict[str, list[str]]:
    """The data sets that lie in a folder, and the splits of each."""
    storage, splits = Storage(root), dict[str, list[str]]()
    if not storage.is_folder():
        return {}
    for name, patterns in LAYOUTS.items():
        for pattern in patterns:
            before, _, after = pattern.partition("*")
            ends = after.partition("/")[1] or after
            names = [file.name[len(before):] for file in storage.files(pattern)]
            if names:
                splits[name] = sorted({each[:each.index(ends)] for each in names})
                break
    return splits


def open_source(source: str, arguments: dict[str, object]) -> Source:
    """A data set by its name, or that which lies in a folder.

    Raises:
        CorekitError: there is none such, or the folder's layout is of none or of several.
    """
    if source in registry.names("dataset"):
        return _build(source, arguments)
    present = list(layouts(source))
    if len(present) != 1:
        names = ", ".join(present or LAYOUTS)
        holds = f"more than one: {names}" if present else f"none of {names}"
        raise CorekitError(f"{source} is no data set of `corekit list datasets`, and as a folder "
                           f"it holds {holds}; type the data set's name, and root=FOLDER")
    return _build(present[0], {"root": source, **arguments})


def _build(name: str, arguments: dict[str, object]) -> Source:
    dataset: Source = registry.build("dataset", name, arguments)
    return dataset
