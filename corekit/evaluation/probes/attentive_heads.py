"""The heads of an attentive probe: trained at once over the same tokens, and judged."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.func import functional_call

from corekit.errors import CorekitError
from corekit.evaluation.metrics.accuracy import count_hits
from corekit.evaluation.metrics.ties import best_classes
from corekit.evaluation.probes.grid import Grid, cross_entropies
from corekit.evaluation.probes.probe import Score, scores

Labelled = tuple[Tensor, Tensor]  # tokens [B, N, D] and labels int64 [B] of this rank
MOMENTUM, EPSILON = 0.1, 1e-6  # of the norm: a step's share in running ones; added to variances


class TokenNorm:
    """Batch norm without parameters over the channels of tokens [B, N, D] of all ranks.

    Evaluation uses running ones. ``add`` adds a tensor up over the ranks.
    """

    def __init__(self, width: int, device: torch.device, add: Callable[[Tensor], Tensor]) -> None:
        self.mean = torch.zeros(width, device=device)
        self.variance, self.add = torch.ones(width, device=device), add

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens by the running mean and variance."""
        return (tokens - self.mean) * (self.variance + EPSILON).rsqrt()

    def of_step(self, tokens: Tensor) -> Tensor:
        """Tokens of a training step by their own mean and variance, which update running ones."""
        count = self.add(torch.tensor(float(tokens[..., 0].numel()), device=tokens.device))
        mean = self.add(tokens.sum((0, 1))) / count
        centred = tokens - mean
        variance = self.add(centred.square().sum((0, 1))) / count
        self.mean.lerp_(mean, MOMENTUM)
        self.variance.lerp_(variance * count / (count - 1).clamp(min=1), MOMENTUM)
        return centred.mul_((variance + EPSILON).rsqrt())


class Heads:
    """A grid of heads and the norm that they share: it does not depend on a head."""

    def __init__(self, grid: Grid, norm: TokenNorm, add: Callable[[Tensor], Tensor]) -> None:
        self.grid, self.norm, self.add = grid, norm, add

    def step(self, tokens: Tensor, label: Tensor, samples: int) -> None:
        """One step of every head on this rank's share of the samples."""
        self.grid.step(self.norm.of_step(tokens), label, samples, self.add)

    @torch.no_grad()
    def scores(self, validation: Iterable[Labelled]) -> list[Score]:
        """What each head reaches on these samples and those of the other ranks."""
        heads = len(self.grid.points)
        # hits, losses, samples
        sums = torch.zeros(2 * heads + 1, dtype=torch.float64, device=self.norm.mean.device)
        for tokens, label in validation:
            logits = self.grid(self.norm(tokens))
            sums[:heads] += (logits.argmax(2) == label).sum(1)
            sums[heads:-1] += cross_entropies(logits, label).double().sum(1)
            sums[-1] += len(label)
        hits, losses, samples = torch.tensor_split(self.add(sums), (heads, 2 * heads))
        if not samples:
            raise CorekitError("the validation samples of evaluator 'attentive_probe' hold none "
                               "that can be read")
        return scores(self.grid.points, hits, losses, int(samples))

    @torch.no_grad()
    def hits(self, point: int, test: Iterable[Labelled]) -> Tensor:
        """``count_hits`` of one head's guesses at the samples of all ranks."""
        parameters, counts = self.grid.one(point), []
        for tokens, label in test:
            logits = functional_call(self.grid.head, parameters, (self.norm(tokens),))
            counts.append(count_hits(best_classes(logits), label, logits.shape[1]))
        return self.add(torch.stack(counts).sum(0))
