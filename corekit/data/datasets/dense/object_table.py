"""The objects of many pictures as a few arrays, which processes share and pickle quickly."""

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Sample
from corekit.data.outlines import Outline, Outlines, RunLengths


@dataclass
class ObjectColumns:
    """Objects in the order they are added, before they are sorted by picture."""

    pictures: "array[int]" = field(default_factory=lambda: array("q"))
    boxes: "array[float]" = field(default_factory=lambda: array("d"))  # x1 y1 x2 y2
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    crowds: "array[int]" = field(default_factory=lambda: array("q"))
    areas: "array[float]" = field(default_factory=lambda: array("d"))
    points: "array[float]" = field(default_factory=lambda: array("d"))  # of all polygons, x y
    polygon_ends: "array[int]" = field(default_factory=lambda: array("q"))  # in ``points``
    object_ends: "array[int]" = field(default_factory=lambda: array("q"))  # in ``polygon_ends``
    run_lengths: dict[int, RunLengths] = field(default_factory=dict)  # of objects that have these

    def add(self, picture: int, box: tuple[float, float, float, float], label: int, crowd: bool,
            area: float, outline: Outline | None) -> None:
        """Add an object of a picture; ``outline`` is None where masks are not wanted."""
        self.pictures.append(picture)
        self.boxes.extend(box)
        self.labels.append(label)
        self.crowds.append(int(crowd))
        self.areas.append(area)
        if isinstance(outline, dict):
            self.run_lengths[len(self.labels) - 1] = outline
        else:
            for polygon in outline or ():
                self.points.frombytes(polygon.tobytes())
                self.polygon_ends.append(len(self.points))
        self.object_ends.append(len(self.polygon_ends))


class ObjectTable:
    """The objects of numbered pictures.

    Args:
        columns: all objects.
        sizes: (width, height) of each picture.
    """

    def __init__(self, columns: ObjectColumns, sizes: list[tuple[int, int]]) -> None:
        pictures = np.array(columns.pictures, dtype=np.int64)
        self.sizes = np.array(sizes, dtype=np.int32).reshape(-1, 2)
        self.order = np.argsort(pictures, kind="stable")
        self.starts = np.searchsorted(pictures[self.order], np.arange(len(sizes) + 1))
        self.boxes = np.array(columns.boxes, dtype=np.float32).reshape(-1, 4)
        self.labels = np.array(columns.labels, dtype=np.int64)
        self.crowds = np.array(columns.crowds, dtype=np.uint8)
        self.areas = np.array(columns.areas, dtype=np.float64)
        self.points = np.array(columns.points, dtype=np.float64)
        self.polygon_ends = np.array(columns.polygon_ends, dtype=np.int64)
        self.object_ends = np.array(columns.object_ends, dtype=np.int64)
        self.run_lengths = columns.run_lengths

    def sample(self, picture: int, masks: bool) -> Sample:
        """The fields of a picture's objects."""
        rows = self.order[self.starts[picture]:self.starts[picture + 1]]
        fields: Sample = {"boxes": self.boxes[rows], "box_labels": self.labels[rows],
                          "iscrowd": self.crowds[rows], "areas": self.areas[rows]}
        if masks:
            width, height = self.sizes[picture].tolist()
            outlines = [self._outline(row) for row in rows.tolist()]
            fields["masks"] = Outlines.of(outlines, height, width)
        return fields

    def _outline(self, row: int) -> Outline:
        if row in self.run_lengths:
            return self.run_lengths[row]
        first, last = self.object_ends[row - 1] if row else 0, self.object_ends[row]
        return [self._polygon(number) for number in range(first, last)]

    def _polygon(self, number: int) -> NDArray[np.float64]:
        first = self.polygon_ends[number - 1] if number else 0
        return self.points[first:self.polygon_ends[number]].reshape(-1, 2)
