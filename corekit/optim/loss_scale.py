"""Arithmetic of the forward pass, and the loss scale that fp16 needs."""

from contextlib import AbstractContextManager

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_SCALE = 2.0**16
GROWTH_STEPS = 2000  # good steps until the scale is doubled


class Precision:
    """fp32, or autocast to bf16 or fp16; parameters, norms and losses stay fp32.

    fp16 gradients underflow, so the loss is scaled up before the backward pass (Micikevicius et
    al., 2018, section 3.2): the scale is halved where gradients overflow, and doubled after 2,000
    steps in which they did not.
    """

    def __init__(self, name: str) -> None:
        self.dtype = _DTYPES.get(name)
        self.scales = name == "fp16"
        self.loss_scale = FIRST_SCALE if self.scales else 1.0
        self.good_steps = 0

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def resume(self, loss_scale: float | None, good_steps: int) -> None:
        """Go on from a saved loss scale."""
        if self.scales and loss_scale is not None:
            self.loss_scale, self.good_steps = loss_scale, good_steps

    def update(self, finite: bool) -> None:
        """After a step whose gradients were finite or not."""
        if self.scales and not finite:
            self.loss_scale, self.good_steps = self.loss_scale / 2, 0
        elif self.scales:
            self.good_steps += 1
            if self.good_steps == GROWTH_STEPS:
                self.loss_scale, self.good_steps = self.loss_scale * 2, 0
