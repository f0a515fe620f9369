"""The contrastive loss over the global batch, one block of logits at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from corekit.losses.blockwise import Context, check_block
from corekit.losses.guess import Guess, one_of
from corekit.registry import register

Grads = tuple[Tensor, Tensor, Tensor]
SoftTargets = Callable[[slice, bool], Tensor]


@register("loss", "contrastive")
class Contrastive:
    """CLIP's symmetric cross-entropy (Radford et al. 2021, figure 3).

    With s the logit scale and f, g the normalised image and text features of the B samples of the
    global batch: 1/2 [mean_i CE(s f_i G^T, i) + mean_i CE(s g_i F^T, i)].

    Args:
        block: rows of the B x B matrix of logits that exist at one time.
    """

    compares_samples = True

    def __init__(self, block: int = 1024) -> None:
        check_block("contrastive", block)
        self.block = block

    def __call__(self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor,
                 rows: slice | None = None) -> Tensor:
        """This rank's share of the loss, [] in the features' dtype: all shares add up to it.

        Features are [B, D] of the global batch, of unit norm; ``rows`` are the samples whose
        cross-entropies this rank computes, None: all.
        """
        rows = rows if rows is not None else slice(0, len(image_features))
        return blockwise_cross_entropy(image_features, text_features, logit_scale, rows, self.block)

    def guessing(self, samples: int) -> Guess:
        """Every sample of the batch is as likely as the others."""
        return one_of(samples)


def blockwise_cross_entropy(image: Tensor, text: Tensor, scale: Tensor, rows: slice, block: int,
                            hard: float = 1.0, soft: float = 0.0,
                            soft_targets: SoftTargets | None = None) -> Tensor:
    """Some rows' share of the symmetric cross-entropy, one block of logits at a time.

    1/2 [mean_i C(s f_i G^T, i) + mean_i C(s g_i F^T, i)], where C is ``hard`` times the
    cross-entropy with the true pair plus ``soft`` times the cross-entropy with other targets.

    Args:
        image, text: F and G, [B, D] of the global batch.
        scale: s, [].
        rows: the samples whose cross-entropies are computed.
        block: rows of the B x B matrix that exist at one time.
        hard, soft: weights.
        soft_targets: (rows, whether the images' rows are meant, or the texts') -> [rows, B], each
            row of which adds up to one, constants of at least float32; None: there are none,
            whatever ``soft`` says.

    Returns:
        [] in the images' dtype.
    """
    share: Tensor = _BlockwiseCrossEntropy.apply(image, text, scale, rows, block, hard, soft,
                                                 soft_targets)
    return share


class _BlockwiseCrossEntropy(torch.autograd.Function):
    """Value and gradients, block by block in the forward pass: no block outlives its turn."""

    @staticmethod
    def forward(ctx: Context, image: Tensor, text: Tensor, scale: Tensor, rows: slice, block: int,
                hard: float, soft: float, soft_targets: SoftTargets | None) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            wide = torch.promote_types(image.dtype, torch.float32)
            images, texts, factor = image.to(wide), text.to(wide), scale.to(wide)
            image_grad, text_grad = torch.zeros_like(images), torch.zeros_like(texts)
            scale_grad, total = torch.zeros_like(factor), factor.new_zeros(())
            sides = ((True, images, texts, (image_grad, text_grad, scale_grad)),
                     (False, texts, images, (text_grad, image_grad, scale_grad)))
            for first in range(rows.start, rows.stop, block):
                part = slice(first, min(first + block, rows.stop))
                for of_images, queries, keys, grads in sides:
                    targets = None if soft_targets is None else soft_targets(part, of_images)
                    total += _block(queries, keys, factor, part, grads, hard, soft, targets)
        ctx.save_for_backward(image_grad.to(image.dtype), text_grad.to(text.dtype),
                              scale_grad.to(scale.dtype))
        return total.to(image.dtype)

    @staticmethod
    def backward(ctx: Context, *outer: Tensor) -> tuple[Tensor | None, ...]:
        image_grad, text_grad, scale_grad = ctx.saved_tensors
        return image_grad * outer[0], text_grad * outer[0], scale_grad * outer[0], *[None] * 5


def _block(queries: Tensor, keys: Tensor, scale: Tensor, part: slice, gradients: Grads,
           hard: float, soft: float, soft_targets: Tensor | None) -> Tensor:
    """Half the summed cross-entropy of some rows over B; adds to the gradients of its inputs."""
    weight = 0.5 / len(queries)
    similarity = queries[part] @ keys.T  # [b, B]
    # of differences to the largest: exact where that is the true pair
    log_probability = (similarity * scale).log_softmax(1)
    pairs = torch.arange(part.start, part.stop, device=queries.device)
    rows = torch.arange(len(pairs), device=queries.device)
    loss = -log_probability[rows, pairs].sum() * (hard * weight)
    if soft_targets is None:
        grad = log_probability.exp_().mul_(hard)  # softmax, minus the targets
    else:
        loss -= (soft_targets * log_probability).sum() * (soft * weight)
        grad = log_probability.exp_().mul_(hard + soft).sub_(soft_targets, alpha=soft)
    grad[rows, pairs] -= hard
    grad *= weight
    query_grad, key_grad, scale_grad = gradients
    scale_grad.add_((grad * similarity).sum())
    grad *= scale
    query_grad[part] += grad @ keys
    key_grad.addmm_(grad.T, queries[part])
    return loss
