"""Linear probes: how well a linear layer on frozen features classifies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from corekit.data.datasets.base import Source, dataset_info
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import in_classes_of, labelled_features
from corekit.evaluation.metrics.accuracy import accuracy
from corekit.evaluation.metrics.ties import best_classes
from corekit.evaluation.probes.grid import Grid, cross_entropies
from corekit.evaluation.probes.probe import Probe, Score, best, scores, shuffled
from corekit.registry import register

LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@register("evaluator", "linear_probe")
@dataclass
class LinearProbe(Probe):
    """Top-1, top-5 and mean per-class recall of a linear classifier on a frozen model's features.

    Every image passes through the model once. A head for each learning rate and weight decay is
    trained on the features, all heads at once; the best on the validation samples is reported on
    the data set, and the record holds the whole ``grid`` and the ``chosen`` point. Heads start at
    zero and are trained by AdamW with cross-entropy on features that are standardised by mean and
    deviation of the training samples. Every rank holds all features (see
    ``features.labelled_features``) and trains the same heads: more ranks make the features faster,
    not the heads.

    Args:
        dataset: what is reported on, with a ``label`` field.
        train_dataset: what the heads are trained on.
        validation_dataset: what the best head is chosen on; None: a part of ``train_dataset``, not
            trained on.
        validation_fraction: how large that part is.
        features: name of the model's output to use; None: as ``features.encode`` has it.
        learning_rates: the highest ones of the heads.
        weight_decays: each with every learning rate.
        epochs: passes over the features.
        batch_size: samples of a step of the heads.
        warmup_fraction: share of the steps in which the learning rates rise; they fall along half a
            cosine.
        forward_batch_size: images of one forward pass of the model.
        seed: of the order of samples and of the validation part.

    Raises:
        CorekitError: a data set without labels, or an argument out of range.
    """

    NAME = "linear_probe"

    learning_rates: Sequence[float] = LEARNING_RATES

    def __call__(self, eval_model: EvalModel) -> Result:
        """Compute features, train the heads, choose one, and report it."""
        train, train_label = self._features(eval_model, self.train_dataset)
        if self.validation_dataset is None:
            train, train_label, validation, validation_label = self._hold_out(train, train_label)
        else:
            validation, validation_label = self._features(eval_model, self.validation_dataset)
        mean = train.mean(0)
        # what varies by less than this share of its mean is rounding, not to be blown up
        deviation = torch.maximum(train.std(0, correction=0), 1e-5 * mean.abs()).clamp(min=1e-12)
        for features in (train, validation):
            features.sub_(mean).div_(deviation)
        classes = max(int(train_label.max()) + 1, int(validation_label.max()) + 1,
                      len(dataset_info(self.train_dataset).class_names))
        grid = self._train(train, train_label, classes)
        of_points = self._scores(grid, validation, validation_label)
        point = best(of_points)
        # only now is there anything of the test samples
        test, label = self._features(eval_model, self.dataset)
        test.sub_(mean).div_(deviation)
        guesses = torch.cat([best_classes(functional_call(grid.head, grid.one(point), (part,)))
                             for part in torch.split(test, self.batch_size)])
        return Result.on(self.dataset, len(label), accuracy(guesses, label),
                         chosen=of_points[point], grid=of_points)

    def _features(self, eval_model: EvalModel, dataset: Source) -> tuple[Tensor, Tensor]:
        features, label = labelled_features(eval_model, dataset, self.forward_batch_size,
                                            self.features)
        label = in_classes_of(self.train_dataset, dataset, label)
        if features.dim() != 2:
            raise CorekitError("evaluator 'linear_probe' needs one vector for each image, not "
                               f"{list(features.shape[1:])}")
        return features, label

    def _hold_out(self, features: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        order = shuffled(len(label), self.seed_for("validation")).to(label.device)
        count = max(1, round(len(label) * self.validation_fraction))
        if count >= len(label):
            raise CorekitError(f"evaluator 'linear_probe' cannot train on {len(label)} samples and "
                               "hold some out")
        training, validation = order[count:], order[:count]
        return features[training], label[training], features[validation], label[validation]

    def _train(self, features: Tensor, label: Tensor, classes: int) -> Grid:
        head = nn.Linear(features.shape[1], classes, device="meta").to_empty(device=features.device)
        for parameter in head.parameters():
            nn.init.zeros_(parameter)
        batches = math.ceil(len(label) / self.batch_size)
        steps = self.epochs * batches
        grid = Grid(head, self.points, steps, round(self.warmup_fraction * steps))
        for epoch in range(self.epochs):
            order = shuffled(len(label), self.seed_for("order", epoch)).to(label.device)
            for rows in order.tensor_split(batches):
                grid.step(features[rows], label[rows])
        return grid

    @torch.no_grad()
    def _scores(self, grid: Grid, features: Tensor, label: Tensor) -> list[Score]:
        """What each point of the grid reaches on the validation samples."""
        hits = torch.zeros(len(self.points), device=label.device)
        losses = torch.zeros_like(hits)
        for part, answer in zip(torch.split(features, self.batch_size),
                                torch.split(label, self.batch_size)):
            logits = grid(part)
            hits += (logits.argmax(2) == answer).sum(1)
            losses += cross_entropies(logits, answer).sum(1)
        return scores(self.points, hits, losses, len(label))
