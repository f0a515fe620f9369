"""Samplers: what the batch of a step holds. They keep no state."""

from corekit.errors import CorekitError
from corekit.registry import register


@register("sampler", "fixed_size")
class FixedSize:
    """Every batch holds ``batch_size`` samples of one image size, the same number from each lane.

    Args:
        batch_size: samples of one step, over all ranks.
        lanes: stretches that the data is read in; divides ``batch_size``.

    Raises:
        CorekitError: the lanes do not divide the batch.
    """

    def __init__(self, batch_size: int, lanes: int) -> None:
        if lanes < 1 or batch_size % lanes:
            raise CorekitError(f"data.lanes={lanes} must divide engine.batch_size={batch_size}: every lane gives "
                               "the same number of samples to each batch")
        self.per_lane = batch_size // lanes

    def draws(self, step: int) -> range:
        """The draws that every lane makes for the batch of a step."""
        return range(step * self.per_lane, (step + 1) * self.per_lane)
