"""What is wrong with annotations: counted by kind, each kind with an example."""

import logging
import math
from dataclasses import dataclass, field

from corekit.data.datasets.base import BadSampleError

log = logging.getLogger(__name__)


@dataclass
class Damage:
    """Kinds of damage -> how many there are, and the first one."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        """Count one."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.examples.setdefault(kind, example)

    def sentences(self) -> list[str]:
        """One line for each kind."""
        return [f"{kind}: {count:,}, such as {self.examples[kind]}"
                for kind, count in sorted(self.counts.items())]

    def warn(self, where: str) -> None:
        """Log what was left out."""
        if self.counts:
            log.warning("%s: damaged annotations are left out: %s", where,
                        "; ".join(self.sentences()))


def clipped_box(box: tuple[float, float, float, float], width: int,
                height: int) -> tuple[float, float, float, float]:
    """A box x1 y1 x2 y2 as far as it is in its picture.

    Raises:
        BadSampleError: ``not_finite``, ``no_area`` or ``outside``; its message is empty.
    """
    if not all(math.isfinite(edge) for edge in box):
        raise BadSampleError("not_finite", "")
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        raise BadSampleError("no_area", "")
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        raise BadSampleError("outside", "")
    return left, top, right, bottom
