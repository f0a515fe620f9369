"""Evaluation sets of photographs, as table ``photographs`` names them."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from corekit.data.datasets.base import Sample
from corekit.data.photographs.pictures import (
    GCOMPRIS,
    STAMPS,
    Photograph,
    caption_of,
    installed,
    notices,
    photographs,
    read_photograph,
)
from corekit.data.shards.writer import write_shards
from corekit.errors import CorekitError

MAKER = 1  # raise it with every change that makes other samples
TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "a close-up photo of a {}.")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotographSet:
    """A set: what is to be told of the photographs of some packages."""

    name: str
    packages: tuple[str, ...]
    label: Literal["name", "category"] | None  # None: their captions


SETS = (
    PhotographSet("cutouts", (STAMPS, ), "name"),
    PhotographSet("scenes", (GCOMPRIS, ), "name"),
    PhotographSet("categories", (STAMPS, GCOMPRIS), "category"),
    PhotographSet("captions", (STAMPS, GCOMPRIS), None),
)


class Photographs:
    """The samples of a set: pictures with a class, and which package they are from, or a caption.

    Of pictures with the same caption the first alone is taken.

    Args:
        root: the folder that the packages lie under.
        photograph_set: which.
    """

    def __init__(self, root: Path, photograph_set: PhotographSet) -> None:
        self.root, self.label = root, photograph_set.label
        self.name = f"photographs_{photograph_set.name}"
        self.packages = photograph_set.packages
        self.items = [each for package in self.packages for each in photographs(package)]
        self.templates, self.class_names = list[str](), list[str]()
        if self.label is None:
            self.fields: tuple[str, ...] = ("image", "text")
            captions = {caption_of(root, each): each for each in reversed(self.items)}
            self.items = [each for each in self.items if captions[caption_of(root, each)] == each]
        else:
            self.fields, self.templates = ("image", "label", "metadata"), list(TEMPLATES)
            self.class_names = sorted({self._class(each) for each in self.items})
        self.shard_sizes = np.array([len(self.items)], dtype=np.int64)
        decides = [MAKER, self.label, [astuple(each) for each in self.items]]
        self.fingerprint = hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    def _class(self, photograph: Photograph) -> str:
        return photograph.name if self.label == "name" else photograph.category

    def read(self, shard: int, first: int, count: int) -> Sequence[Photograph]:
        """What is known of neighbouring photographs."""
        return self.items[first:first + count]

    def decode(self, handle: Photograph) -> Sample:
        """One photograph with its class or caption."""
        sample: Sample = {"key": handle.key, "image": read_photograph(self.root, handle)}
        if self.label is None:
            return sample | {"text": caption_of(self.root, handle)}
        return sample | {"label": self.class_names.index(self._class(handle)),
                         "metadata": np.array([self.packages.index(handle.package)])}


def write_photographs(root: Path, out: Path, workers: int = 0) -> dict[str, int]:
    """Write the sets whose packages are there, and say how many samples each has.

    Raises:
        CorekitError: no package is there.
    """
    packages = installed(root)
    if not packages:
        raise CorekitError(
            f"neither {STAMPS} nor {GCOMPRIS} lies under {root}: `apt-get install "
            f"--no-install-recommends {STAMPS} {GCOMPRIS}` installs them on Debian, or unpack them "
            "with `dpkg-deb -x FILE.deb FOLDER` and type --packages FOLDER")
    counts = {}
    for each in SETS:
        missing = [package for package in each.packages if package not in packages]
        if missing:
            log.warning("set '%s' is left out: package %s does not lie under %s", each.name,
                        " and ".join(missing), root)
            continue
        source = Photographs(root, each)
        manifest = write_shards(source, out / f"wds_photographs-{each.name}_test",
                                attribution=notices(root, each.packages), workers=workers,
                                split="test")
        counts[each.name] = sum(shard.samples for shard in manifest.shards)
    return counts
