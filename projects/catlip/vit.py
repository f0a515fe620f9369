"""CatLIP's image encoder: a ViT behind a convolutional stem, its head as wide as a vocabulary."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from corekit.linear_output import LinearOutput
from corekit.models.conv_stem import ConvStem
from corekit.models.layers.linear import LinearHead
from corekit.models.layers.positions import Interpolation
from corekit.models.vit import ViT

NORM_EPS = 1e-6
# logits start near 0, so that the loss starts at K ln 2 and rows without a counterpart are no noise
HEAD_STD = 0.001


class CatLIP(ViT):
    """A ViT of CoreNet's form (Mehta et al., 2024, section 3), for sizes in steps of 16 pixels.

    The stem makes a patch of 16x16 pixels in three convolutions, the first with a pixel of padding
    and the first two with batch norm; the class token has no position. It wants pixels in [0, 1]
    without mean and std. ``forward`` gives ``logits``, a ``LinearOutput`` [B, K]; ``pooled`` [B,
    D], the class token after the last norm; and, in evaluation, ``tokens`` [B, 1 + L, D], all of
    them after that norm, the class token first.

    Weights start as those of ``corekit.models.vit.ViT``, and those of the head as a normal of
    ``head_std``. CoreNet's settings are known for convolutions alone (kaiming normal), whose scale
    two of the three norms of the stem undo.

    Args:
        num_classes: K.
        image_size: height and width in pixels that the position table is made for.
        pos_embed_interp: how the position table is stretched to other sizes, as of ``ViT``; CoreNet
            has ``flat1d``.
        drop_path_rate: stochastic depth of the last block; the others' grows linearly from 0.
        prior: probability that every class starts at, by the head's bias (Lin et al., 2017, section
            4.1), so that a short training need not first learn that most classes are absent. None:
            the bias starts at 0, as CoreNet's does.
        first_stride: of the stem: 4 for patches side by side, 2 for a map at stride 8.
        head_std: of the head's weights. Small ones keep the loss of many classes near K ln 2 at
            first; but while they are small, the encoder learns only what all classes have in
            common, for which a short training has no time.
    """

    of_last_layer = ("norm",)  # in layer-wise decay it has the last block's rate, as in CoreNet

    def __init__(self, num_classes: int, image_size: int, width: int, layers: int, heads: int, *,
                 pos_embed_interp: Interpolation = "grid2d", drop_path_rate: float = 0.0,
                 prior: float | None = None, head_std: float = HEAD_STD,
                 first_stride: int = 4) -> None:
        super().__init__(ConvStem(width, 1, first_stride), image_size // 16, width, layers, heads,
                         num_classes, class_position=False, pos_embed_interp=pos_embed_interp,
                         norm_eps=NORM_EPS, head_bias=True, drop_path_rate=drop_path_rate,
                         head_layer=LinearHead)
        nn.init.trunc_normal_(self.head.weight, std=head_std)
        if prior is not None:
            nn.init.constant_(self.head.bias, math.log(prior / (1 - prior)))

    def forward(self, image: Tensor) -> dict[str, Tensor | LinearOutput]:  # type: ignore[override]
        tokens = self.norm(self.trunk(image, class_only=self.training))
        pooled = tokens[:, 0]
        outputs: dict[str, Tensor | LinearOutput] = {} if self.training else {"tokens": tokens}
        return {"logits": self.head(pooled), "pooled": pooled, **outputs}

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Features [B, D], ``pooled``; of unit length and float32 if ``normalize``."""
        pooled: Tensor = self.norm(self.trunk(image, class_only=True)[:, 0])
        return F.normalize(pooled.float(), dim=-1) if normalize else pooled
