"""What a loss is where a model knows how often each answer occurs, and looks at nothing."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_COVERAGE = 0.95  # of the classes that labels seen so far stand for, by Good and Turing


class Guess(NamedTuple):
    """The loss of a model that guesses."""

    loss: float
    formula: str  # how it comes about, as in "ln 128"


def one_of(candidates: int, times: float = 1.0) -> Guess:
    """Of a cross-entropy over candidates that are all as likely, such as those of a batch."""
    factor = "" if times == 1 else f"{times:g} "
    return Guess(times * math.log(candidates), f"{factor}ln {candidates}")


def of_classes(label: Tensor, classes: int, smoothing: float = 0.0,
               noun: str = "labels") -> Guess:
    """Of a cross-entropy over classes: the entropy of the labels, int64 [N].

    It is that of the frequencies seen, corrected as Miller and Madow do. Where there are too few
    labels for that, it is the logarithm of the number of classes.
    """
    counts = torch.bincount(label, minlength=classes).double()
    total, singles = counts.sum(), (counts == 1).sum()
    if total == 0 or 1 - singles / total < LEAST_COVERAGE:
        return one_of(classes)
    shares = (1 - smoothing) * counts / total + smoothing / classes
    bias = (1 - smoothing) * ((counts > 0).sum() - 1) / (2 * total)
    entropy = torch.special.entr(shares).sum() + bias
    return Guess(min(float(entropy), math.log(classes)), f"the entropy of the {noun}")


def of_many_labels(label_rows: Tensor, samples: int) -> Guess:
    """Of a binary cross-entropy summed over classes: the entropies of the classes' frequencies.

    ``label_rows`` [N] are the classes that are there, of all samples.
    """
    counts = torch.bincount(label_rows).double()
    shares = (counts[counts > 0] / samples).clamp(max=1)
    entropies = torch.special.entr(shares) + torch.special.entr(1 - shares) + 1 / (2 * samples)
    return Guess(float(entropies.sum()), "the entropy of how often each class occurs")
