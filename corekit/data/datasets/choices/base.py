"""Pictures as files, and an annotation file whose rows are choices among them."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from posixpath import basename, splitext
from typing import Any

from PIL import Image

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.choices.instances import Instance, check_instance
from corekit.data.datasets.dense.damage import Damage
from corekit.data.datasets.dense.pictures import PROBED, Pictures
from corekit.data.shards.members import RawSample
from corekit.data.transforms.decode import MAX_PIXELS
from corekit.errors import CorekitError
from corekit.files import leaves_folder

Row = Mapping[str, Any]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Picture = tuple[str, Box | None]  # name of the file, and what is cut out of it


@dataclass(frozen=True)
class Choice:
    """A row of an annotation file: an ``Instance`` whose pictures have names instead of numbers."""

    pictures: Sequence[Picture]
    sentences: Sequence[str]
    right: Sequence[int]


class ChoicePictures(Pictures):
    """Pictures, each once, and the choices among them; an ``InstanceSource``.

    Damaged rows are left out and counted by kind, with one warning; a picture that is not there is
    a bad sample.

    Attributes:
        instances: the choices, in the order of the rows.
        damage: rows that are left out, by kind.
    """

    def __init__(self, root: str | None, name: str) -> None:
        super().__init__(root, ("image", ), name)
        self.instances: list[Instance] = []
        self.damage = Damage()
        self.pictures: dict[Picture, int] = {}

    def choice(self, row: Row) -> Choice:
        """The choice that a row says; a KeyError, TypeError or ValueError where it says none."""
        raise NotImplementedError

    def open(self, files: Sequence[Sequence[str]], folders: Sequence[str],
             endings: Sequence[str] = ("", )) -> None:
        """Read the choices and set the samples.

        Args:
            files: of each annotation file the names that it may have, the first there is counts.
            folders: that the pictures may lie in, each with a / at its end.
            endings: that the names of pictures may lack.

        Raises:
            CorekitError: a file is missing or cut off, or holds no choice; no picture is there.
        """
        digest = hashlib.sha256()
        for names in files:
            name = next((name for name in names if self.storage.is_file(name)), None)
            if name is None:
                raise CorekitError(f"{self.storage.where(names[0])} does not exist")
            content = self.storage.read(name)
            digest.update(content)
            self._read_rows(content, self.storage.where(name))
        folder, ending = self._place(folders, endings)
        self.boxes = [box for _, box in self.pictures]
        self.keys = _keys(self.pictures)
        self.number([{"image": folder + name + ending} for name, _ in self.pictures],
                    digest.hexdigest())

    def _read_rows(self, content: bytes, where: str) -> None:
        damage, before = Damage(), len(self.instances)
        for number, row in enumerate(parse_rows(content, where), 1):
            try:
                self._add(self.choice(row))
            except BadSampleError as error:
                damage.add(error.kind, f"row {number}")
            except (KeyError, TypeError, ValueError, AttributeError):
                damage.add("row", f"row {number}")
        damage.warn(where)
        if len(self.instances) == before:
            raise CorekitError(f"{where} holds no choice: " + "; ".join(damage.sentences()))
        for kind, count in damage.counts.items():
            self.damage.counts[kind] = self.damage.counts.get(kind, 0) + count
            self.damage.examples.setdefault(kind, f"{damage.examples[kind]} of {where}")

    def _add(self, choice: Choice) -> None:
        for name, _ in choice.pictures:
            if not isinstance(name, str) or not name or leaves_folder(name):
                raise BadSampleError("picture_name", "")
        for sentence in choice.sentences:
            if not isinstance(sentence, str):
                raise BadSampleError("empty_caption", "")
        check_instance(Instance(tuple(range(len(choice.pictures))), tuple(choice.sentences),
                                tuple(choice.right)))
        numbers = [self.pictures.setdefault(each, len(self.pictures)) for each in choice.pictures]
        self.instances.append(Instance(tuple(numbers), tuple(choice.sentences),
                                       tuple(choice.right)))

    def _place(self, folders: Sequence[str], endings: Sequence[str]) -> tuple[str, str]:
        """The folder and the ending with which one of the first pictures is there."""
        names = [name for name, _ in self.pictures][:PROBED]
        for name in names:
            for folder in folders:
                for ending in endings:
                    if self.storage.is_file(folder + name + ending):
                        return folder, ending
        raise CorekitError(f"{self.storage.root} holds none of the pictures, such as {names[0]}: "
                           f"they lie in {' or '.join(filter(None, folders))}")

    def key(self, number: int) -> str:
        """The key of a picture: its name, and what is cut out of it."""
        return self.keys[number]

    def annotation(self, number: int, sample: Sample, raw: RawSample) -> Sample:
        """What is cut out of the picture; black where that lies outside."""
        box = self.boxes[number]
        if box is None:
            return {}
        image: Image.Image = sample["image"]
        return {"image": image.crop(box)}


def parse_rows(content: bytes, where: str) -> list[Row]:
    """The rows of an annotation file: a JSON list or object of them, JSON lines, or CSV.

    Lines that are no JSON objects are empty rows.

    Raises:
        CorekitError: it is cut off, or something else.
    """
    try:
        text = content.decode("utf-8-sig")
        if where.endswith(".csv"):
            return list(csv.DictReader(io.StringIO(text, newline="")))
        if where.endswith(".jsonl"):
            return [_object(line) for line in text.split("\n") if line.strip()]
        parsed = json.loads(text)
    except (ValueError, RecursionError, csv.Error) as error:
        raise CorekitError(f"{where} cannot be read: {error}") from None
    rows = list(parsed.values()) if isinstance(parsed, dict) else parsed
    if not isinstance(rows, list):
        raise CorekitError(f"{where} holds no list of choices")
    return [row if isinstance(row, dict) else {} for row in rows]


def box_of(row: Row) -> Box | None:
    """The box of a row with ``bbox_x``, ``bbox_y``, ``bbox_w`` and ``bbox_h``, if it has one."""
    if "bbox_x" not in row:
        return None
    left, top, width, height = (int(row[f"bbox_{side}"]) for side in "xywh")
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise BadSampleError("box", "")
    return left, top, left + width, top + height


def _object(line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _keys(pictures: Mapping[Picture, int]) -> list[str]:
    """A key of its own for each picture."""
    keys: dict[str, None] = {}
    for (name, box), number in pictures.items():
        stem = splitext(basename(name))[0].replace(".", "_")
        key = "_".join([stem, *map(str, box or ())])
        keys[key if key not in keys else f"{key}_picture{number}"] = None
    return list(keys)
