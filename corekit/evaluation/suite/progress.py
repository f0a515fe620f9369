"""How far a suite is: a line a set, and how long the rest may take."""

import logging
import time
from collections.abc import Mapping
from datetime import timedelta

from corekit.evaluation.suite.store import SetRecord

EVERY = 30.0  # seconds between two lines within a set
log = logging.getLogger(__name__)


class Progress:
    """Counts samples over all sets of a suite; sets that were kept cost nothing."""

    def __init__(self, table: str, samples: Mapping[str, int]) -> None:
        self.table, self.samples = table, dict(samples)
        self.place = {key: number for number, key in enumerate(samples, 1)}
        self.left, self.seen, self.done = sum(samples.values()), 0, 0
        self.started = self.last = time.monotonic()
        self.current = ""

    def begin(self, key: str) -> None:
        """A set is begun."""
        self.current, self.done = key, 0

    def advance(self, samples: int) -> None:
        """So many samples more went through the model, over all ranks."""
        self.done = min(self.done + samples, self.samples.get(self.current, 0))
        if time.monotonic() - self.last > EVERY:
            self.last = time.monotonic()
            log.info("%s %s: %s of %s samples; %s left", self._count(self.current), self.current,
                     f"{self.done:,}", f"{self.samples[self.current]:,}", self._rest())

    def end(self, key: str, record: SetRecord, seconds: float, was_kept: bool) -> None:
        """A set is done, or was before."""
        self.left -= self.samples[key]
        self.done = 0
        self.seen += 0 if was_kept else self.samples[key]
        value = "-" if record.value is None else f"{record.value:.2%}"
        how = "kept from before" if was_kept else f"{seconds:.0f} s; {self._rest()} left"
        log.info("%s %s: %s %s of %s samples (%s)", self._count(key), key, record.metric, value,
                 f"{record.samples:,}", how)

    def _count(self, key: str) -> str:
        return f"{self.table} {self.place[key]}/{len(self.place)}"

    def _rest(self) -> str:
        """The time that the samples that are left take at the speed so far."""
        seen = self.seen + self.done
        if not seen:
            return "an unknown time"
        seconds = (time.monotonic() - self.started) / seen * (self.left - self.done)
        return str(timedelta(seconds=round(seconds)))
