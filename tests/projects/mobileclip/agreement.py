"""How far a model's outputs are from another implementation's."""

from torch import Tensor


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest output; the two inputs must be told apart."""
    largest = theirs.abs().max()
    assert (theirs[0] - theirs[1]).abs().max() > 0.01 * largest, "the two inputs give the same"
    return ((ours - theirs).abs().max() / largest).item()
