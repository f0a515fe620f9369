"""The photographs in two packages of Debian, and what is known of each."""

import csv
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from PIL import Image

from corekit.data.datasets.base import BadSampleError
from corekit.data.photographs.qt_resources import Resources, read_resources
from corekit.data.transforms.decode import MAX_PIXELS
from corekit.errors import CorekitError

STAMPS, GCOMPRIS = "tuxpaint-stamps-default", "gcompris-qt-data"
FOLDERS = {STAMPS: "usr/share/tuxpaint/stamps", GCOMPRIS: "usr/share/gcompris-qt/rcc"}
GREY = (128, 128, 128)  # behind pictures that are cut out
LONGEST = 1024  # pixels of a side


@dataclass(frozen=True)
class Photograph:
    """A line of ``stamps.tsv`` or ``gcompris.tsv``.

    Attributes:
        package: where it is from.
        path: below the package's folder, without its ending.
        category, name: what it shows, in general and in particular.
        caption: a sentence; '': the package's own.
    """

    package: str
    path: str
    category: str
    name: str
    caption: str

    @property
    def key(self) -> str:
        """A key of its own."""
        return f"{self.package.partition('-')[0]}_{self.path.replace('/', '_')}"


def photographs(package: str) -> list[Photograph]:
    """The photographs of a package, as they were picked by eye."""
    table = "stamps.tsv" if package == STAMPS else "gcompris.tsv"
    text = files(__package__).joinpath(table).read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [Photograph(package, **row) for row in rows]


def installed(root: Path) -> list[str]:
    """The packages that lie under a root folder."""
    return [package for package, folder in FOLDERS.items() if (root / folder).is_dir()]


def read_photograph(root: Path, photograph: Photograph) -> Image.Image:
    """The picture, RGB: what is cut out lies on grey, in a square.

    Raises:
        BadSampleError: the package does not hold it, or it is damaged.
    """
    try:
        content = _content(root, photograph)
        image: Image.Image = Image.open(io.BytesIO(content), formats=("PNG", "WEBP"))
        if image.width * image.height > MAX_PIXELS:
            raise BadSampleError("bomb", f"{photograph.path}: {image.width} x {image.height}")
        image = image.convert("RGBA") if photograph.package == STAMPS else image.convert("RGB")
    except (BadSampleError, MemoryError):
        raise
    except (CorekitError, FileNotFoundError) as error:
        raise BadSampleError("missing_file", str(error)) from None
    except Exception as error:  # bad bytes raise anything in Pillow
        raise BadSampleError("image", f"{photograph.path}: {error}") from None
    if image.mode == "RGBA":
        image = _on_grey(image)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return image


def caption_of(root: Path, photograph: Photograph) -> str:
    """The caption of a photograph; a BadSampleError where there is none."""
    if photograph.caption:
        return photograph.caption
    path = root / FOLDERS[photograph.package] / f"{photograph.path}.txt"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSampleError("missing_file", f"{path}: {error}") from None
    if not lines[0].strip():
        raise BadSampleError("empty_text", f"{path} begins with an empty line")
    return lines[0].strip()


def notices(root: Path, packages: Sequence[str]) -> str:
    """Who made the pictures of some packages, and how they may be used, as the packages have it.

    Raises:
        CorekitError: a package says nothing of it.
    """
    parts = ["# Attribution\n\nThe pictures were made smaller where they were large, and what is "
             "cut out was put on grey.\n"]
    for package in packages:
        path = root / "usr/share/doc" / package / "copyright"
        if not path.is_file():
            raise CorekitError(f"{path} does not exist: it says who made the pictures and how they "
                               "may be used")
        text = path.read_text(encoding="utf-8", errors="replace")
        parts.append(f"## {package}\n\n{_quoted(text)}")
        if package == GCOMPRIS:
            parts += [f"### {name}\n\n{_quoted(text)}" for name, text in _readmes(root).items()]
    return "\n".join(parts)


def _readmes(root: Path) -> dict[str, str]:
    """The notices beside the pictures of gcompris, by their places."""
    activities = sorted({each.path.partition("/")[0] for each in photographs(GCOMPRIS)})
    texts = {}
    for activity in activities:
        resources = _resources(root / FOLDERS[GCOMPRIS] / f"{activity}.rcc")
        for path in sorted(resources.files):
            if path.endswith("/README"):
                texts[path] = resources.read(path).decode("utf-8", "replace")
    return texts


def _content(root: Path, photograph: Photograph) -> bytes:
    folder = root / FOLDERS[photograph.package]
    if photograph.package == STAMPS:
        return (folder / f"{photograph.path}.png").read_bytes()
    activity, _, path = photograph.path.partition("/")
    resources = _resources(folder / f"{activity}.rcc")
    return resources.read(f"/gcompris/src/activities/{activity}/resource/{path}.webp")


@functools.lru_cache(maxsize=2)  # a few MB each
def _resources(path: Path) -> Resources:
    return read_resources(path.read_bytes(), str(path))


def _on_grey(image: Image.Image) -> Image.Image:
    side = max(image.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2), image)
    return square


def _quoted(text: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in text.strip().split("\n"))
