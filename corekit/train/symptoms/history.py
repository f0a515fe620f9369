"""The losses of a run so far, and what they say once there are enough."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

from corekit.losses.guess import Guess
from corekit.train.symptoms import of_training
from corekit.train.symptoms.symptom import Symptom

FIRST = 5  # losses that a run begins with
FULL_STEPS, SHARE, MOST_STEPS = 45, 0.2, 1000  # at the full rate, of a run's, until a loss moves
SAMPLED = 1000  # steps of a schedule


class Rates:
    """What a run's schedule gives: a pure function of the step.

    Attributes:
        sampled: learning rates of steps spread over the run.
        patience: how many steps at the full rate a loss may take to leave guessing.
    """

    def __init__(self, rate: Callable[[int], float], steps: int) -> None:
        every = max(1, steps // SAMPLED)
        self.sampled = [rate(step) for step in range(0, steps, every)]
        self.peak = max(self.sampled)
        self.warmed_up = next((number * every for number, value in enumerate(self.sampled)
                               if value >= 0.95 * self.peak), 0)
        budget = every * sum(self.sampled) / self.peak if self.peak else 0.0
        self.patience = min(max(FULL_STEPS, SHARE * budget), MOST_STEPS)


class History:
    """The last losses by label, and the learning rates that they came of."""

    def __init__(self, rates: Rates) -> None:
        self.rates, self.full_steps = rates, 0.0
        self.first: dict[str, list[float]] = defaultdict(list)
        self.last: dict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=2 * of_training.WINDOW))

    def add(self, losses: Mapping[str, float], rate: float) -> None:
        """Add a step."""
        for label, value in losses.items():
            if len(self.first[label]) < FIRST:
                self.first[label].append(value)
            self.last[label].append(value)
        self.full_steps += rate / self.rates.peak if self.rates.peak else 0.0

    def symptoms(self, step: int, guesses: Mapping[str, Guess], repeated: bool
                 ) -> Iterator[Symptom]:
        """Of every loss after ``step`` steps, in which samples were ``repeated`` or were not."""
        for label, recent in self.last.items():
            losses, guess = list(recent), guesses.get(label)
            found = of_training.risen(losses, self.first[label], guess, self.rates.peak)
            if guess is not None and found is None and self._is_late(step):
                found = of_training.at_guessing(losses, guess, self.rates.peak, repeated)
            if found is not None:
                yield found

    def mean(self, label: str) -> tuple[float, int]:
        """The mean of the last losses, and how many these are."""
        window = list(self.last[label])[-of_training.WINDOW:]
        return fmean(window), len(window)

    def _is_late(self, step: int) -> bool:
        """Whether the warm-up is over for long enough that a loss should have moved."""
        return (step >= self.rates.warmed_up + of_training.WINDOW
                and self.full_steps >= self.rates.patience)
