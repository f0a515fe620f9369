"""Watches a run for signs that it cannot learn: one call a step, and each sign is told once."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from corekit.checkpoint.initial.weights_file import preprocess_beside
from corekit.data.datasets.base import Batch
from corekit.train.assemble import Parts
from corekit.train.logger import RunLogger
from corekit.train.materialise import Run
from corekit.train.symptoms import looks, of_recipe, of_training
from corekit.train.symptoms.guesses import Guesses, figure, standing
from corekit.train.symptoms.history import History, Rates
from corekit.train.symptoms.symptom import Symptom

EVERY = 5  # steps, between looks at the losses
EARLY = 1000  # steps: later on a parameter may well reach its limit


class Watch:
    """Looks at batches on the CPU, and at figures that are there anyway.

    In steps that are powers of two alone, counted from where this process begins, it looks at the
    content of a batch, at gradients and at parameters. Only the first rank speaks.

    Args:
        run, parts: what is trained.
        logger: gets what is seen.
        first: the step that this process begins at, counted from 0.
    """

    def __init__(self, run: Run, parts: Parts, logger: RunLogger, first: int) -> None:
        self.run, self.parts, self.logger, self.first = run, parts, logger, first
        self.guesses, self.done = Guesses(parts), 0
        self.rates = Rates(run.learning_rate, run.config.engine.steps)
        self.history = History(self.rates)
        self.skipped: deque[bool] = deque(maxlen=of_training.OF_STEPS)
        self.told: dict[str, Symptom] = {}
        self.sizes: list[float] = []  # of the weights when training began
        self.dead: set[str] = set()
        self.limited: dict[str, str] = {}  # what stood at its limit in the weights it began with

    def begin(self) -> None:
        """Tell what shows before the first step; all ranks call this."""
        self.sizes = looks.matrix_norms(self.run.plain_model)
        limits = looks.at_limits(self.run.plain_model)
        if self.first or self.run.config.init.places():
            self.limited = limits
        self._tell(0, self._at_limits(0, limits))
        if self.run.ranks.is_first and not self.first:
            self._tell(0, self._of_recipe())
            batch = looks.as_stored(self.run.streams, self.run.preprocess)
            if batch:
                self._tell(0, looks.batch_symptoms(batch, self.run.streams, self.run.config.data))

    def step(self, step: int, read: Sequence[Batch], losses: Mapping[str, float], rate: float,
             skipped: bool) -> None:
        """A step is done, with these micro-batches and figures; its gradients are still there."""
        self.done += 1
        is_power_of_two = self.done & (self.done - 1) == 0
        if is_power_of_two and not skipped:
            self._tell(step, self._of_model(step))
        if not self.run.ranks.is_first:
            return
        self.guesses.see(read)
        if is_power_of_two:
            self._tell(step, self._of_batch(read[0]))
        self.skipped.append(skipped)
        if skipped:
            precision = self.run.config.engine.precision
            self._tell(step, [of_training.overflows(self.skipped, precision)])
            return
        self.history.add({loss.label: figure(loss, losses) for loss in self.parts.losses}, rate)
        if self.done == 1 or self.done % EVERY == 0:
            self._tell(step, self._of_losses(step))

    def report(self, step: int) -> list[str]:
        """How far each loss ended from guessing, a line each; recorded, too."""
        lines, guesses = [], self.guesses.known
        for label in self.history.last:
            mean, steps = self.history.mean(label)
            guess = guesses.get(label)
            lines.append(f"  {standing(label, mean, steps, guess)}")
            self.logger.report({"step": step, "loss": label, "mean": mean, "steps": steps,
                                "guessing": guess and guess.loss})
        return lines

    def _tell(self, step: int, symptoms: Iterable[Symptom | None]) -> None:
        for symptom in symptoms:
            if symptom is not None and symptom.name not in self.told and self.run.ranks.is_first:
                self.told[symptom.name] = symptom
                self.logger.symptom(step, symptom.name, symptom.sentence)

    def _of_recipe(self) -> Iterator[Symptom | None]:
        run = self.run
        numbers = sum(value.numel() for value in run.plain_model.parameters())
        yield of_recipe.only_numbers(looks.trained_sizes(run.plain_model), numbers)
        yield of_recipe.rate_is_zero(self.rates.sampled, run.peak_learning_rate)
        for key, path in run.config.init.places().items():
            if (weights := preprocess_beside(path)) is not None:
                yield of_recipe.prepared_otherwise(run.preprocess, weights, f"{key}={path}")

    def _of_batch(self, batch: Batch) -> Iterator[Symptom | None]:
        run, fields = self.run, self.run.streams.fields
        yield from looks.batch_symptoms(batch, run.streams, run.config.data)
        yield from looks.pixel_symptoms(batch, fields, run.preprocess)
        entries = self.guesses.update()
        yield from looks.label_symptoms(entries, self.guesses.fields, run.config.data)

    def _of_model(self, step: int) -> Iterator[Symptom | None]:
        model = self.run.plain_model
        norms, limits = looks.gradient_norms(model), looks.at_limits(model)
        dead = set(of_training.dead(norms))
        for name in sorted(dead & self.dead):  # twice: a head that begins at 0 gives none at first
            size = sum(value.numel() for value in model.get_submodule(name).parameters())
            yield of_training.dead_part(name, size, step)
        self.dead = dead
        growth = [new / old for new, old in zip(looks.matrix_norms(model), self.sizes) if old]
        if step <= EARLY:
            yield of_training.outgrown(growth, self.rates.peak, step)
            yield from self._at_limits(step, limits)

    def _at_limits(self, step: int, limits: Mapping[str, str]) -> Iterator[Symptom | None]:
        for name in sorted(limits.keys() - self.limited.keys()):
            yield of_training.at_limit(limits[name], name, step)

    def _of_losses(self, step: int) -> Iterator[Symptom | None]:
        guesses, init = self.guesses.known, self.run.config.init
        if self.done == 1 and not self.first and init.path and not (init.exclude or init.head):
            for label, guess in guesses.items():
                symptom = of_training.knows_nothing(self.history.first[label][0], guess, init.path)
                if symptom is not None:
                    yield symptom
                    yield from (of_training.at_limit(each, name, 0)
                                for name, each in self.limited.items())
        if not any(symptom.explains for symptom in self.told.values()):
            seen, samples = step * self.run.streams.samples(0), self.parts.source.shard_sizes.sum()
            yield from self.history.symptoms(step, guesses, bool(seen > samples))
