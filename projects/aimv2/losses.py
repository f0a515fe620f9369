"""AIM's regression of the next patch's pixels (El-Nouby et al., 2024; Fini et al., 2024)."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from corekit.linear_output import LinearOutput, dense, select
from corekit.registry import register

from .blocks import PATCH_SIZE, Images, patch_counts
from .prefix import prefix_lengths


@register("loss", "next_patch")
class NextPatch:
    """Mean squared error of the predicted pixels, averaged over the step's patches.

    El-Nouby et al., 2024, section 3; Fini et al., 2024, section 2.1. Only the N - M patches of a
    sample outside the prefix count: those inside were seen by the one that predicts them. The true
    pixels of each patch, as the model sees them, have mean 0 and variance 1 (unbiased, 1e-6 added),
    as in masked autoencoders (He et al., 2022).

    Args:
        normalize: False: the true pixels as they are.
    """

    on_cpu = ("uniform",)  # which patches count is worked out there, without waiting for the GPU

    def __init__(self, normalize: bool = True) -> None:
        self.normalize = normalize

    def weights(self, image: Images, uniform: Tensor) -> Tensor:
        """How many patches count."""
        patches = patch_counts(image, uniform.device)
        return (patches - prefix_lengths(uniform, patches)).sum()

    def __call__(self, patch_predictions: Tensor | LinearOutput, image: Images,
                 uniform: Tensor) -> Tensor:
        """The sum over the patches of these samples that count, [] in at least float32.

        Args:
            patch_predictions: [B, N - 1, 588]; those at i are of patch i + 1.
            image: [B, 3, H, W] as the model sees it, or a list of [3, H, W].
            uniform: [B], the model's.
        """
        true, patches = patchify(image), patch_counts(image, uniform.device)
        number = torch.arange(1, true.shape[1], device=uniform.device)
        outside_prefix = number >= prefix_lengths(uniform, patches)[:, None]
        counted = outside_prefix & (number < patches[:, None])
        true = true[:, 1:][counted]
        predicted = dense(select(patch_predictions, counted))
        true = true.to(torch.promote_types(true.dtype, torch.float32))
        if self.normalize and len(true):  # torch warns of a variance of nothing
            variance, mean = torch.var_mean(true, -1, keepdim=True)
            true = (true - mean) / (variance + 1e-6).sqrt()
        return (predicted.to(true.dtype) - true).square().mean(-1).sum()


def patchify(image: Images) -> Tensor:
    """Pixels of the patches, line after line: [B, 3, H, W] to [B, N, 14 · 14 · 3].

    A patch's pixels are ordered by row, column, channel. Smaller pictures of a list end in zeros.
    """
    if isinstance(image, list):
        return pad_sequence([patchify(each[None])[0] for each in image], batch_first=True)
    rows, columns = (side // PATCH_SIZE for side in image.shape[2:])
    cropped = image[:, :, :rows * PATCH_SIZE, :columns * PATCH_SIZE]
    patches = cropped.reshape(len(image), 3, rows, PATCH_SIZE, columns, PATCH_SIZE)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(len(image), rows * columns, -1)
