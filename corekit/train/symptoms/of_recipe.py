"""Signs that show before the first step: what is trained, how fast, and from which weights."""

from collections.abc import Mapping, Sequence

from corekit.data.transforms.preprocess import Preprocess
from corekit.train.symptoms.symptom import Symptom


def prepared_otherwise(own: Preprocess, weights: Preprocess, where: str) -> Symptom | None:
    """Pixels that are normalised otherwise than those that the weights were trained on."""
    if _close(own.mean, weights.mean) and _close(own.std, weights.std):
        return None
    return Symptom("pixels_prepared_otherwise", f"the weights of {where} were trained on "
                   f"pixels with mean {list(weights.mean)} and std {list(weights.std)}, and this "
                   f"run gives them mean {list(own.mean)} and std {list(own.std)}: much of what "
                   "they know is lost. Type "
                   f"'data.preprocess.mean={_list(weights.mean)}' "
                   f"'data.preprocess.std={_list(weights.std)}'")


def rate_is_zero(rates: Sequence[float], peak: float) -> Symptom | None:
    """A learning rate that is 0 in all steps, or next to it."""
    if max(rates) > 1e-3 * peak > 0:
        return None
    return Symptom("no_learning_rate", f"the learning rate is at most {max(rates):.2g} in this run "
                   f"(optimizer.learning_rate={peak:g}), so nothing changes: set "
                   "optimizer.learning_rate, and schedule.warmup_steps below engine.steps")


def only_numbers(trained: Mapping[str, int], total: int) -> Symptom | None:
    """Nothing is trained but parameters of one number each; ``trained`` has their sizes."""
    if max(trained.values()) > 1:
        return None
    return Symptom("almost_all_frozen", f"{len(trained)} of {total:,} numbers are trained "
                   f"({', '.join(trained)}), all others are frozen: hardly anything can be learnt. "
                   "Take a pattern out of model.frozen")


def _close(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(abs(a - b) < 0.01 for a, b in zip(first, second, strict=True))


def _list(values: Sequence[float]) -> str:
    return f"[{','.join(f'{value:g}' for value in values)}]"
