"""What each loss of a run is for a model that guesses, and how far the run is from there."""

from collections.abc import Mapping, Sequence

from corekit.data.datasets.base import Batch
from corekit.data.loading.collate import example_batch, join
from corekit.losses.guess import Guess
from corekit.models.shapes import ShapesOnly
from corekit.train.assemble import Parts
from corekit.train.step.loss_terms import WeightedLoss
from corekit.train.symptoms.of_training import of
from corekit.train.verify import example_offers
from corekit.wiring import Outputs, rename_outputs

KEPT = 16_384  # samples whose labels and the like are kept


class Guesses:
    """The guesses of a run's losses, of the batch entries of the first steps.

    Entries of fields that are classes, or that a loss asks for, are kept of the batches it gets.

    Attributes:
        known: label of a loss -> its guess as of the last ``update``, where that is known.
    """

    def __init__(self, parts: Parts) -> None:
        self.losses = [loss for loss in parts.losses if loss.guessing is not None]
        names = {name for loss in self.losses if loss.guessing is not None
                 for name in loss.guessing.reads.values()}
        self.fields = {name: field for name, field in parts.fields.items()
                       if field.is_class or not names.isdisjoint(field.entries)}
        self.offers: Batch = {}
        if not parts.sizes:  # else a step's samples change
            streams = parts.config.data.streams
            self.offers["samples"] = streams * len(parts.sampler.draws(0))
        if names - self.offers.keys():
            self.offers.update(_outputs(parts))
        self.seen: list[Batch] = []
        self.samples = 0
        self.known: dict[str, Guess] = {}

    def see(self, read: Sequence[Batch]) -> None:
        """Keep what the losses need of some micro-batches, until there are enough."""
        if not self.fields or self.samples >= KEPT:
            return
        for batch in read:
            self.samples += len(batch["key"])
            entries = {entry: batch[entry] for field in self.fields.values()
                       for entry in field.entries if entry in batch}
            self.seen.append({"key": batch["key"], **entries})

    def update(self) -> Batch:
        """Guess anew, of the entries kept so far, which it returns."""
        entries = join(self.seen, self.fields) if self.seen else {}
        values = {**self.offers, **entries}
        self.known = {loss.label: loss.guessing(values) for loss in self.losses
                      if loss.guessing is not None and not loss.guessing.missing(values)}
        return entries


def _outputs(parts: Parts) -> Outputs:
    """The model's outputs, which have a shape and nothing else."""
    values = {**example_batch(parts.fields, parts.preprocess, parts.tokenizer, 2),
              **example_offers(parts.config.engine.steps, 2)}
    with ShapesOnly():
        outputs = parts.model(**parts.wiring.pick(values))
    return rename_outputs(outputs, parts.config.model.outputs)


def figure(loss: WeightedLoss, losses: Mapping[str, float]) -> float:
    """The value of one loss among a step's figures, without its weight."""
    parts = [value for name, value in losses.items() if name != "loss"
             and name.split("/")[0] == loss.label]
    return sum(parts) if parts else losses["loss"] / (loss.weight or 1.0)


def standing(label: str, mean: float, steps: int, guess: Guess | None) -> str:
    """How far a loss ended from guessing, as a line for people."""
    ended = f"{label} {mean:.4g} in the last {steps} steps"
    if guess is None:
        return f"{ended}; what guessing gives is not known for this loss"
    gap = guess.loss - mean
    how_far = f"{gap:.3g} below it" if gap > 0.01 * guess.loss else "no better than that"
    return f"{ended}; guessing is {of(guess)}: {how_far}"
