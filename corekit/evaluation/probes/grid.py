"""Copies of one head trained at once, each with its own learning rate and weight decay."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap


@runtime_checkable
class HeadWithCopies(Protocol):
    """A head with a quicker way to run many copies of itself."""

    def copies(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Logits [G, B, K] of stacked parameters [G, ...] and inputs [B, ...]."""
        ...


class Grid:
    """G copies of a head trained side by side with AdamW, each as if it were alone.

    Any module from inputs to logits is a head. Its parameters are stacked to [G, ...], so that a
    forward pass of all copies is one batched operation and the inputs, which come from a frozen
    model, are computed once for all. A head may be a ``HeadWithCopies``.

    Args:
        head: inputs [B, ...] to logits [B, K]; all copies start with its parameters.
        points: learning rate and weight decay, of all parameters, of each copy.
        steps: of the whole training; the learning rates rise for ``warmup_steps``, then fall along
            half a cosine to ``final_learning_rate``.
        grad_clip: largest L2 norm of the gradient of one copy; None: any.
    """

    def __init__(self, head: nn.Module, points: Sequence[tuple[float, float]], steps: int,
                 warmup_steps: int = 0, final_learning_rate: float = 0.0,
                 grad_clip: float | None = None) -> None:
        self.head, self.points = head, list(points)
        self.steps, self.warmup_steps = steps, warmup_steps
        self.final_learning_rate, self.grad_clip, self.done = final_learning_rate, grad_clip, 0
        copies = len(self.points)
        self.parameters = {name: value.detach().expand(copies, *value.shape).clone()
                           .requires_grad_() for name, value in head.named_parameters()}
        # a group of the optimizer holds a copy's slices of the stacked parameters: views, so what
        # it writes is theirs
        self.slices = [[nn.Parameter(value.detach()[copy]) for value in self.parameters.values()]
                       for copy in range(copies)]
        groups = [{"params": slices, "lr": rate, "weight_decay": decay}
                  for slices, (rate, decay) in zip(self.slices, self.points)]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self._forward: Callable[[dict[str, Tensor], Tensor], Tensor] = (
            head.copies if isinstance(head, HeadWithCopies)
            else vmap(self._alone, in_dims=(0, None)))

    def _alone(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.head, parameters, (inputs,))
        return logits

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits of every copy: [G, B, K]."""
        return self._forward(self.parameters, inputs)

    def step(self, inputs: Tensor, label: Tensor, samples: int | None = None,
             add: Callable[[Tensor], Tensor] = lambda gradient: gradient) -> None:
        """One step of every copy on this rank's inputs [B, ...] with labels int64 [B].

        ``samples`` counts those of all ranks, None: these are all; ``add`` adds a tensor up over
        the ranks, which so end with the same heads.
        """
        with torch.enable_grad():
            losses = cross_entropies(self(inputs), label).sum(1)
            losses = losses / (len(label) if samples is None else samples)
            # no copy sees another's parameters, so the gradient of the sum holds that of each
            gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        # as CPUs' fused AdamW takes them to be
        gradients = tuple(add(gradient.contiguous()) for gradient in gradients)
        if self.grad_clip is not None:
            squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
            norms = torch.stack(squares).sum(0).sqrt()
            shrink = (self.grad_clip / (norms + 1e-6)).clamp(max=1)
            gradients = tuple(gradient * shrink.view(-1, *[1] * (gradient.dim() - 1))
                              for gradient in gradients)
        for copy, (slices, group) in enumerate(zip(self.slices, self.optimizer.param_groups)):
            group["lr"] = self.learning_rate(self.points[copy][0])
            for value, gradient in zip(slices, gradients):
                value.grad = gradient[copy]
        self.optimizer.step()
        self.done += 1

    def learning_rate(self, highest: float) -> float:
        """The learning rate of the next step for a copy whose highest one is given."""
        if self.done < self.warmup_steps:
            return highest * (self.done + 1) / self.warmup_steps
        progress = (self.done - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.final_learning_rate + (highest - self.final_learning_rate) * 0.5 * (
            1 + math.cos(math.pi * progress))

    def one(self, copy: int) -> dict[str, Tensor]:
        """The parameters of one copy, by their names in the head."""
        return {name: value.detach()[copy] for name, value in self.parameters.items()}


def cross_entropies(logits: Tensor, label: Tensor) -> Tensor:
    """[G, B] of logits [G, B, K] and labels int64 [B]."""
    copies, samples, classes = logits.shape
    losses = F.cross_entropy(logits.reshape(copies * samples, classes), label.repeat(copies),
                             reduction="none")
    return losses.view(copies, samples)
