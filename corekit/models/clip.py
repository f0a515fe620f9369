"""Contrastive image-text models (CLIP: Radford et al., 2021)."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.dense.encoder import dense_encoder

MAX_LOGIT_SCALE = 100.0
STANDS_AT_LIMIT = (
    "the logit scale stands at its largest value, 100, where training usually begins at 14 and "
    "gets there late, if ever: similarities that are multiplied so much give most pairs no "
    "gradient. Lower optimizer.learning_rate, or begin with a smaller scale where the model takes "
    "one")


class ImageEncoder(nn.Module):
    """The image half of a CLIP: ``forward`` gives ``image_features`` [B, D] of unit length."""

    def __init__(self, image_tower: nn.Module) -> None:
        super().__init__()
        self.image_tower = image_tower

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Features [B, D] of images [B, 3, H, W]; of unit length and float32 if ``normalize``."""
        features: Tensor = self.image_tower(image)
        return F.normalize(features.float(), dim=-1) if normalize else features

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"image_features": self.encode_image(image, normalize=True)}

    def dense(self) -> nn.Module:
        """The image tower as an encoder of maps."""
        return dense_encoder(self.image_tower)


class CLIP(ImageEncoder):
    """Two towers into one space, and the scale of their similarities.

    ``forward`` gives ``image_features`` [B, D], ``text_features`` [B, D], with ``synthetic_text``
    also ``synthetic_text_features`` [B, D], and ``logit_scale`` []. Features have unit length and
    are float32 under autocast too: similarities are multiplied by up to 100, which bfloat16's 8
    bits would not stand. The parameter of the scale is its logarithm. It is held at 100 at most,
    and at least at ``least_logit_scale``, where there is one: OpenAI's training has none.
    """

    def __init__(self, image_tower: nn.Module, text_tower: nn.Module,
                 init_logit_scale: float = 1 / 0.07, least_logit_scale: float = 0.0) -> None:
        super().__init__(image_tower)
        self.least_logit_scale = least_logit_scale
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(math.log(init_logit_scale)))

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Features [B, D] of token ids [B, L]; of unit length and float32 if ``normalize``."""
        features: Tensor = self.text_tower(text)
        return F.normalize(features.float(), dim=-1) if normalize else features

    def forward(self, image: Tensor, text: Tensor,  # type: ignore[override]
                synthetic_text: Tensor | None = None) -> dict[str, Tensor]:
        outputs = {"image_features": self.encode_image(image, normalize=True)}
        if synthetic_text is None:
            outputs["text_features"] = self.encode_text(text, normalize=True)
        else:
            # one run over both: the tower's batch statistics are then those of all captions
            both = self.encode_text(torch.cat([text, synthetic_text]), normalize=True)
            outputs["text_features"] = both[:text.shape[0]]
            outputs["synthetic_text_features"] = both[text.shape[0]:]
        scale = self.logit_scale.exp()
        limited = scale.clamp(self.least_logit_scale, MAX_LOGIT_SCALE)
        # the gradient of the scale itself, also where it is cut off: it must be able to come down
        outputs["logit_scale"] = scale + (limited - scale).detach()
        return outputs

    @torch.no_grad()
    def after_step(self) -> None:
        """Hold the scale within its limits, as OpenAI's training did; the trainer calls this."""
        least = math.log(self.least_logit_scale) if self.least_logit_scale else None
        self.logit_scale.clamp_(least, math.log(MAX_LOGIT_SCALE))

    def limits(self) -> Mapping[str, tuple[Tensor, float, str]]:
        """The parameter that ``after_step`` holds: its value, the largest, what that means."""
        return {"logit_scale": (self.logit_scale, math.log(MAX_LOGIT_SCALE), STANDS_AT_LIMIT)}
