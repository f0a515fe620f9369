"""Stochastic depth (Huang et al., 2016)."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves out a residual branch for some samples in training, and scales the others up."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate  # the probability that a sample goes without, in [0, 1)

    def forward(self, update: Tensor) -> Tensor:
        """[B, ...], what the branch adds, as it is added."""
        if self.rate == 0.0 or not self.training:
            return update
        shape = (update.shape[0],) + (1,) * (update.ndim - 1)
        mask = update.new_empty(shape).bernoulli_(1 - self.rate)
        return update * mask.div_(1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """The rate of each block: growing linearly from 0 at the first one to ``rate`` at the last."""
    return [rate * index / max(blocks - 1, 1) for index in range(blocks)]
