"""The table of a suite as a picture: a bar for each set, with its 95 % interval."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from corekit.data.image_grid import Picture
from corekit.evaluation.figure import Figure
from corekit.evaluation.metrics.uncertainty import interval
from corekit.evaluation.suite.report.averages import averages, main_figure
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.sets import EvalSet

FINE = 2  # drawn so many times larger, for smooth edges
ROW, TOP, BOTTOM = 22, 86, 16  # pixels
LETTERS = 26  # of a name
LEGEND = 44  # from the top
LEFT, BARS, RIGHT = 190, 640, 120  # of names, of 0 to 100 %, of numbers
BAR, AVERAGE, INK, GRID, CHANCE = "#9db8d9", "#6f9bcb", "#222222", "#e4e4e4", "#777777"
NOTHING = Figure(None, 0)
MARKS = ("#d1495b", "#2e8b57", "#e08e0b", "#7b4fa3")  # of published rows, as many as are drawn


def suite_picture(sets: Sequence[EvalSet], results: Results,
                  published: Sequence[Results] = ()) -> Picture:
    """Bars of the sets that were evaluated and of their averages, beside published rows.

    A black line is the 95 % interval, a grey one chance, a diamond what a published row has. An
    average is there only where all of its sets are.
    """
    present = [each for each in sets if each.key in results.records]
    of_table = averages(sets, results.records)
    rows = [(each.name, main_figure(results.records[each.key]), each.chance,
             [_value(other, each.key) for other in published[:len(MARKS)]]) for each in present]
    of_others = [averages(sets, other.records) for other in published[:len(MARKS)]]
    means = [(average.name.replace("_", " "), average.figure, None,
              [(others[number].figure or NOTHING).value for others in of_others])
             for number, average in enumerate(of_table) if average.figure is not None]
    height = TOP + ROW * (len(rows) + len(means)) + (ROW // 2 if means else 0) + BOTTOM
    sheet = Image.new("RGB", (FINE * (LEFT + BARS + RIGHT), FINE * height), "white")
    canvas = _Canvas(sheet)
    title = f"{results.name[-90:]}: {len(present)} of {len(sets)} sets"
    canvas.text(12, 16, title, size=16)
    _legend(canvas, published)
    bottom = height - BOTTOM
    for percent in range(0, 101, 10):
        canvas.line(_x(percent / 100), TOP - 4, _x(percent / 100), bottom, GRID, 1)
        canvas.text(_x(percent / 100), TOP - 14, str(percent), size=11, anchor="mm")
    top = TOP
    for name, figure, chance, marks in rows:
        _row(canvas, top, name, figure, BAR, chance, marks)
        top += ROW
    if means:
        canvas.line(12, top + ROW // 4, LEFT + BARS + RIGHT - 12, top + ROW // 4, CHANCE, 1)
        top += ROW // 2
    for name, mean, chance, marks in means:
        assert mean is not None
        _row(canvas, top, name, mean, AVERAGE, chance, marks)
        top += ROW
    return np.asarray(sheet.resize((sheet.width // FINE, sheet.height // FINE),
                                   Image.Resampling.LANCZOS))


class _Canvas:
    """Draws in pixels of the picture as it will be."""

    def __init__(self, sheet: Image.Image) -> None:
        self.draw = ImageDraw.Draw(sheet)

    def line(self, left: float, top: float, right: float, bottom: float, colour: str,
             width: float) -> None:
        self.draw.line((left * FINE, top * FINE, right * FINE, bottom * FINE), colour,
                       round(width * FINE))

    def bar(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        self.draw.rectangle((left * FINE, top * FINE, max(left, right) * FINE, bottom * FINE),
                            colour)

    def diamond(self, x: float, y: float, colour: str) -> None:
        corners = ((x - 4.5, y), (x, y - 4.5), (x + 4.5, y), (x, y + 4.5))
        self.draw.polygon([(FINE * across, FINE * down) for across, down in corners], colour,
                          "white")

    def interval(self, low: float, high: float, y: float) -> None:
        self.line(low, y, high, y, INK, 1.5)
        for end in (low, high):
            self.line(end, y - 4, end, y + 4, INK, 1.5)

    def text(self, x: float, y: float, text: str, size: int = 13, anchor: str = "lm") -> None:
        self.draw.text((x * FINE, y * FINE), text, INK, ImageFont.load_default(size * FINE),
                       anchor=anchor)

    def label(self, right: float, text: str) -> float:
        """Write text that ends here, in the head of the picture; returns where it begins."""
        self.text(right, LEGEND, text, anchor="rm")
        return right - self.draw.textlength(text, ImageFont.load_default(13 * FINE)) / FINE


def _row(canvas: _Canvas, top: float, name: str, figure: Figure, colour: str,
         chance: float | None, marks: Sequence[float | None]) -> None:
    middle = top + ROW / 2
    shown = name if len(name) <= LETTERS else name[:LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
    canvas.text(LEFT - 10, middle, shown, anchor="rm")
    if figure.value is None:
        canvas.text(LEFT + 6, middle, "no figure")
        return
    canvas.bar(LEFT, top + 4, _x(figure.value), top + ROW - 4, colour)
    if chance is not None:
        canvas.line(_x(chance), top + 2, _x(chance), top + ROW - 2, CHANCE, 1.5)
    for value, mark in zip(marks, MARKS):
        if value is not None:
            canvas.diamond(_x(value), middle, mark)
    bounds = interval(figure)
    if bounds is not None:
        canvas.interval(_x(bounds[0]), _x(bounds[1]), middle)
    error = "" if figure.standard_error is None else f" ± {100 * figure.standard_error:.1f}"
    canvas.text(LEFT + BARS + 14, middle, f"{100 * figure.value:.1f}{error}")


def _legend(canvas: _Canvas, published: Sequence[Results]) -> None:
    """What marks mean, from the right edge to the left."""
    right = LEFT + BARS + RIGHT - 12.0
    for other, mark in reversed([*zip(published, MARKS)]):
        right = canvas.label(right, other.name) - 10
        canvas.diamond(right, LEGEND, mark)
        right -= 18
    right = canvas.label(right, "chance") - 8
    canvas.line(right, LEGEND - 8, right, LEGEND + 8, CHANCE, 1.5)
    right = canvas.label(right - 16, "95 % interval") - 8
    canvas.interval(right - 22, right, LEGEND)


def _value(results: Results, key: str) -> float | None:
    record = results.records.get(key)
    return None if record is None else main_figure(record).value


def _x(share: float) -> float:
    return LEFT + BARS * share
