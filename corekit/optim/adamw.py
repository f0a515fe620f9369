"""AdamW, with the weight decay of torch and with that of the paper."""

from collections.abc import Callable

import torch
from torch import nn

from corekit.errors import CorekitError
from corekit.optim.layer_decay import depths
from corekit.optim.parameter_groups import matching, undecayed
from corekit.registry import register

FUSED = ("cpu", "cuda", "mps")  # devices that torch has a fused AdamW for


@register("optimizer", "adamw")
def adamw(model: nn.Module, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999),
          eps: float = 1e-8, weight_decay: float = 0.0, no_decay: list[str] | None = None,
          layer_decay: float = 1.0,
          rate_factors: dict[str, float] | None = None) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), torch's fused form.

    Args:
        model: whose trainable parameters are optimised.
        learning_rate: the largest one; the schedule scales it.
        betas: of the two moments.
        eps: added to the root of the second moment.
        weight_decay: times the learning rate, of every parameter not named by ``no_decay``.
        no_decay: groups (norms, biases, positions, vectors) or patterns of parameter names.
        layer_decay: the learning rate of a layer over that of the next one (Clark et al., 2020; Bao
            et al., 2022): in a tower of n layers, the k-th learns at layer_decay^(n + 1 - k), what
            comes before the layers (k = 0) included.
        rate_factors: patterns of parameter names, and what the learning rate of these is times the
            others'; where several match, the last one counts.
    """
    return _adamw(model, learning_rate, betas, eps, no_decay, layer_decay, rate_factors,
                  lambda scale: weight_decay)


@register("optimizer", "adamw_decoupled")
def adamw_decoupled(model: nn.Module, learning_rate: float,
                    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                    weight_decay: float = 0.0, no_decay: list[str] | None = None,
                    layer_decay: float = 1.0,
                    rate_factors: dict[str, float] | None = None) -> torch.optim.Optimizer:
    """AdamW with a weight decay that the schedule scales, and the learning rate does not.

    A step first takes ``weight_decay`` · (learning rate of the step / ``learning_rate``) of each
    weight away (Loshchilov and Hutter, 2019, algorithm 2). torch's AdamW multiplies by the learning
    rate instead. With weight_decay / learning_rate there it does the same.

    Args:
        model, learning_rate, betas, eps, no_decay: as of adamw.
        weight_decay: what a step at the largest rate takes away, of every parameter not named by
            ``no_decay``.
        layer_decay, rate_factors: as of adamw; what learns at a lower rate decays as fast as the
            others.

    Raises:
        CorekitError: learning_rate, layer_decay or a factor is not above 0.
    """
    for key, value in (("learning_rate", learning_rate), ("layer_decay", layer_decay),
                       *_named(rate_factors)):
        if value <= 0:
            raise CorekitError(f"optimizer.{key}={value:g} must be above 0: adamw_decoupled decays "
                               "relative to it")
    return _adamw(model, learning_rate, betas, eps, no_decay, layer_decay, rate_factors,
                  lambda scale: weight_decay / (learning_rate * scale))


def _adamw(model: nn.Module, learning_rate: float, betas: tuple[float, float], eps: float,
           no_decay: list[str] | None, layer_decay: float, rate_factors: dict[str, float] | None,
           decay_at: Callable[[float], float]) -> torch.optim.Optimizer:
    """torch's AdamW; ``decay_at`` is the weight decay at a multiple of the learning rate."""
    for key, number in (("weight_decay", decay_at(1.0)), ("layer_decay", layer_decay),
                        *_named(rate_factors)):
        if number < 0:
            raise CorekitError(f"optimizer.{key} must be 0 or more")
    exempt, depth_of = undecayed(model, list(no_decay or [])), depths(model)
    factor_of = {name: factor for pattern, factor in (rate_factors or {}).items()
                 for name in matching(model, pattern, "optimizer.rate_factors")}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            depth, last = depth_of[name]
            scale = layer_decay ** (last - depth) * factor_of.get(name, 1.0)
            decay = 0.0 if name in exempt else decay_at(scale)
            groups.setdefault((decay, scale), []).append(value)
    fused = all(value.device.type in FUSED for value in model.parameters() if value.requires_grad)
    return torch.optim.AdamW([{"params": values, "weight_decay": decay, "lr_scale": scale}
                              for (decay, scale), values in groups.items()],
                             lr=learning_rate, betas=(betas[0], betas[1]), eps=eps, fused=fused)


def _named(rate_factors: dict[str, float] | None) -> list[tuple[str, float]]:
    """The factors by their keys in a recipe."""
    return [(f"rate_factors.{pattern}", factor)
            for pattern, factor in (rate_factors or {}).items()]
