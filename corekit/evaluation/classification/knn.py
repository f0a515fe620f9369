"""k nearest neighbours: how well frozen features classify without any training."""

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.data.datasets.base import Source
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import check_field, in_classes_of, labelled_features
from corekit.evaluation.metrics.accuracy import accuracy
from corekit.evaluation.metrics.ties import best_classes
from corekit.registry import register


@register("evaluator", "knn")
class NearestNeighbours:
    """Top-1, top-5 and mean per-class recall of the labels of the nearest training samples.

    Features have unit length; each of the k neighbours votes for its class with exp(cosine /
    temperature) (Wu et al. 2018, section 3.4; Caron et al. 2021, appendix F.1). Figures of several
    k are called ``top1_k10`` and so on. Every rank holds the training features and finds the
    neighbours of its share of the test samples.

    Args:
        dataset: what is reported on, with a ``label`` field.
        train_dataset: where the neighbours are.
        k: how many, or a list of several numbers to report.
        temperature: of the votes.
        features: name of the model's output to use; None: as ``features.encode`` has it.
        batch_size: images of one forward pass.
        block: training samples that are compared with one batch at once.

    Raises:
        CorekitError: a data set without labels, or an argument out of range.
    """

    def __init__(self, dataset: Source, train_dataset: Source, k: int | list[int] = 20,
                 temperature: float = 0.07, features: str | None = None, batch_size: int = 256,
                 block: int = 65536) -> None:
        check_field("knn", "dataset", dataset, "label")
        check_field("knn", "train_dataset", train_dataset, "label")
        self.ks = [k] if isinstance(k, int) else list(k)
        if not self.ks or min(*self.ks, batch_size, block) < 1 or temperature <= 0:
            raise CorekitError("evaluator 'knn' needs k, batch_size and block of 1 or more, and a "
                               "temperature above 0")
        self.dataset, self.train_dataset, self.features = dataset, train_dataset, features
        self.temperature, self.batch_size, self.block = temperature, batch_size, block

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every sample counts once, whatever the number of ranks."""
        train, train_label = labelled_features(eval_model, self.train_dataset, self.batch_size,
                                               self.features)
        if train.dim() != 2:
            raise CorekitError("evaluator 'knn' needs one vector for each image, not "
                               f"{list(train.shape[1:])}")
        if max(self.ks) > len(train):
            raise CorekitError(f"evaluator 'knn' cannot find k={max(self.ks)} neighbours among "
                               f"{len(train)} training samples")
        train = F.normalize(train, dim=-1)
        classes = int(train_label.max()) + 1

        def guesses(features: Tensor) -> Tensor:
            """[n, D] to int64 [n, ks, 5]."""
            cosine, near = nearest(F.normalize(features, dim=-1), train, max(self.ks), self.block)
            # the nearest one's is 1, whatever the temperature
            ballots = ((cosine - cosine[:, :1]) / self.temperature).exp()
            elected = [_elect(train_label[near[:, :k]], ballots[:, :k], classes) for k in self.ks]
            return torch.stack(elected, 1)

        best, label = labelled_features(eval_model, self.dataset, self.batch_size, self.features,
                                        guesses)
        label = in_classes_of(self.train_dataset, self.dataset, label)
        metrics: dict[str, float] = {}
        for number, k in enumerate(self.ks):
            suffix = f"_k{k}" if len(self.ks) > 1 else ""
            for name, value in accuracy(best[:, number], label).items():
                metrics[name + suffix] = value
        return Result.on(self.dataset, len(label), metrics)


def _elect(candidates: Tensor, ballots: Tensor, classes: int) -> Tensor:
    """The classes with the most votes, int64 [n, 5], filled up with -1.

    ``candidates`` int64 [n, k] are the neighbours' classes, ``ballots`` [n, k] are above 0.
    """
    votes = ballots.new_zeros(len(ballots), classes).scatter_add_(1, candidates, ballots)
    best = best_classes(votes)
    return best.masked_fill(votes.gather(1, best) == 0, -1)


def nearest(queries: Tensor, keys: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """The k highest products of queries [n, D] with keys [N, D], and their numbers: [n, k] each.

    Of equal products the first key comes first. ``block`` keys are compared at once, so that [n, N]
    is never held.
    """
    products = queries.new_empty(len(queries), 0)
    numbers = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for first in range(0, len(keys), block):
        of_block = queries @ keys[first:first + block].T
        places = best_classes(of_block, k)
        products = torch.cat([products, of_block.gather(1, places)], 1)
        numbers = torch.cat([numbers, places + first], 1)
        order = best_classes(products, k)
        products, numbers = products.gather(1, order), numbers.gather(1, order)
    return products, numbers
