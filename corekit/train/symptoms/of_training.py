"""Signs in the figures of training: a loss that stands or rises, dead parts, skipped steps."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev

from corekit.losses.guess import Guess
from corekit.train.symptoms.symptom import Symptom

WINDOW = 30  # steps that a loss is the mean of
RISEN = 10  # steps of a loss that is far above the first ones
CLOSE, BY_HEART = 1e-3, 0.03  # to guessing, of what that gives
RISE = 0.2  # of what guessing gives
SKIPPED, OF_STEPS = 8, 32
DEAD = 1e-7  # of the largest gradient norm
GROWTH = 3.0  # of weights, in the first steps of a run
LEARNING_RATE = "optimizer.learning_rate"
AGAIN = ("begin anew, in another run_dir, with a tenth or a hundredth of it, and with "
         "schedule.warmup_steps")


def knows_nothing(first: float, guess: Guess, path: str) -> Symptom | None:
    """The first loss of weights that were trained elsewhere is that of guessing."""
    if first < 0.9 * guess.loss:
        return None
    return Symptom("weights_know_nothing", f"with the weights of init.path={path} the loss "
                   f"begins at {first:.4g}, and guessing is {of(guess)}: what they know does not "
                   "help here. Probably pictures and captions do not belong together, or pixels "
                   "(data.preprocess) or captions (data.tokenizer) are prepared otherwise than in "
                   "their training")


def at_guessing(losses: Sequence[float], guess: Guess, rate: float, repeated: bool
                ) -> Symptom | None:
    """The mean of the last losses is that of guessing, and is not on its way down.

    Args:
        losses: of the last 2 x ``WINDOW`` steps or fewer.
        guess: what guessing gives.
        rate: the largest learning rate of the run.
        repeated: samples were seen before, so that a model may know some of them by heart.
    """
    before, last = losses[:-WINDOW], losses[-WINDOW:]
    if len(last) < WINDOW or len(before) < WINDOW // 2:
        return None
    mean, tolerance = fmean(last), (BY_HEART if repeated else CLOSE) * guess.loss
    errors = [stdev(part) / math.sqrt(len(part)) for part in (before, last)]
    falls = fmean(before) - mean > 3 * math.hypot(*errors) + tolerance / 3
    if falls or mean < guess.loss - 3 * errors[1] - tolerance:
        return None
    better = "no better" if mean >= guess.loss else "hardly better"
    return Symptom("stands_at_guessing", f"the loss of the last {len(last)} steps is "
                   f"{mean:.4g}, {better} than guessing, {of(guess)}: nothing of use has been "
                   "learnt yet. Probably pictures do not belong to their captions or labels (look "
                   f"at some), or the learning rate does not fit: {LEARNING_RATE} is {rate:.2g}; "
                   "try a tenth of it, and ten times as much. Where the loss falls later, the run "
                   "only begins slowly")


def outgrown(growth: Sequence[float], rate: float, step: int) -> Symptom | None:
    """Weights many times as large as a few steps ago; ``growth`` is the factor of each matrix."""
    factor = median(growth) if growth else 1.0
    if factor < GROWTH:
        return None
    return Symptom("weights_outgrown", f"at step {step} the weights are {factor:.2g} times as "
                   f"large as at the start (the median of {len(growth)} matrices), where less than "
                   "1.5 is usual: each step is too large. Probably the learning rate is far too "
                   f"high: {LEARNING_RATE} is {rate:.2g}; {AGAIN}")


def risen(losses: Sequence[float], first: Sequence[float], guess: Guess | None,
          rate: float) -> Symptom | None:
    """All of the last losses are far above the first ones."""
    last, start = losses[-RISEN:], fmean(first)
    allowed = 0.5 * abs(start) if guess is None else RISE * guess.loss
    if len(last) < RISEN or min(last) < start + allowed:
        return None
    guessing = "" if guess is None else f"; guessing is {of(guess)}"
    return Symptom("loss_rises", f"the loss rose from {start:.4g} to {fmean(last):.4g}{guessing}: "
                   "the steps are too large. Probably the learning rate is too high: "
                   f"{LEARNING_RATE} is {rate:.2g}; {AGAIN}")


def dead(norms: Mapping[str, float]) -> list[str]:
    """The parts of a model, by the norms of their gradients, that get none."""
    return [name for name, norm in norms.items() if norm <= DEAD * max(norms.values())]


def dead_part(name: str, parameters: int, step: int) -> Symptom:
    """A part of the model that gets no gradient."""
    return Symptom(f"no_gradient_{name}", f"`{name}`, {parameters:,} of the model's parameters, "
                   f"gets no gradient (step {step}), so it does not learn. Probably its output is "
                   "cut off (detach, no_grad, a frozen layer above), constant, or not what the "
                   f"loss reads. If it is not to learn, say so: model.frozen=[{name}]")


def at_limit(sentence: str, name: str, step: int) -> Symptom:
    """A parameter that stands at the largest value that the model allows."""
    return Symptom(f"{name}_at_limit", f"at step {step} {sentence}", explains=False)


def overflows(skipped: Sequence[bool], precision: str) -> Symptom | None:
    """Many of the last steps changed nothing, as their numbers were not finite."""
    count = sum(skipped)
    if count < SKIPPED:
        return None
    why = ("fp16 has no numbers above 65,504, and gradients overflow at every loss scale that was "
           "tried: type engine.precision=bf16, which has fp32's range, or fp32"
           if precision == "fp16" else "their losses or gradients were not finite")
    return Symptom("steps_skipped", f"{count} of the last {len(skipped)} steps were skipped: "
                   f"{why}. If that does not help, lower {LEARNING_RATE}")


def of(guess: Guess) -> str:
    """A guess in words."""
    return f"{guess.formula} = {guess.loss:.4g}"
