"""Reinforced training's loss over the global batch, in blocks of the matrix of logits."""

from functools import partial

import torch
from torch import Tensor

from corekit.errors import CorekitError
from corekit.losses.contrastive import blockwise_cross_entropy
from corekit.losses.guess import Guess, one_of
from corekit.registry import register

COLUMNS = 2048  # of the teachers' features that are widened at one time


@register("loss", "reinforced_contrastive")
class ReinforcedContrastive:
    """CLIP's loss and distillation from an ensemble of teachers (Vasu et al., 2024, section 4.2).

    With f, g the student's unit-norm image and text features of the B samples of the global batch
    and s its logit scale, P_i = softmax_j(s f_i . g_j). With p_k, q_k those of teacher k and t_k
    its logit scale, Q_i = mean_k softmax_j(t_k p_ki . q_kj): the mean over teachers follows the
    softmax. Images to texts, and likewise texts to images, give mean_i [contrastive_weight * CE(i,
    P_i) + distillation_weight * CE(Q_i, P_i)]; the loss is half the sum of both. Where there are
    synthetic captions, theirs is added to that of the real ones, with the same image features.
    CE(Q, P) is the paper's KL divergence but for the entropy of Q, which no gradient depends on.

    The paper has lambda = distillation_weight = 1 - contrastive_weight: 1 for S0 to S2, 0.75 for B.

    Args:
        teacher_widths: of each teacher's features, as they are concatenated.
        teacher_logit_scales: of each teacher, the factor of its similarities: 1 / temperature.
        contrastive_weight, distillation_weight: of the two terms.
        block: rows of a B x B matrix of logits that exist at one time.

    Raises:
        CorekitError: not one logit scale a teacher, or sizes that are not positive.
    """

    compares_samples = True
    # constants, of which the loss needs three digits: gathering them takes half the bytes
    gathered_as = dict.fromkeys(("teacher_image_features", "teacher_text_features",
                                 "teacher_synthetic_text_features"), torch.bfloat16)

    def __init__(self, teacher_widths: list[int], teacher_logit_scales: list[float],
                 contrastive_weight: float = 0.0, distillation_weight: float = 1.0,
                 block: int = 256) -> None:
        name = "loss 'reinforced_contrastive'"
        if not teacher_widths or len(teacher_widths) != len(teacher_logit_scales):
            raise CorekitError(f"{name}: teacher_widths={teacher_widths} and teacher_logit_scales="
                               f"{teacher_logit_scales} must have one number for each teacher")
        if min(*teacher_widths, block) < 1 or min(teacher_logit_scales) <= 0:
            raise CorekitError(f"{name}: teacher_widths, teacher_logit_scales and block must be "
                               "above 0")
        self.widths, self.scales = list(teacher_widths), list(teacher_logit_scales)
        self.hard, self.soft, self.block = contrastive_weight, distillation_weight, block

    def __call__(self, image_features: Tensor, text_features: Tensor, logit_scale: Tensor,
                 teacher_image_features: Tensor, teacher_text_features: Tensor,
                 synthetic_text_features: Tensor | None = None,
                 teacher_synthetic_text_features: Tensor | None = None,
                 rows: slice | None = None) -> dict[str, Tensor]:
        """This rank's share of the loss: the shares of all ranks add up to the loss.

        Args:
            image_features, text_features, synthetic_text_features: global [B, D], unit norm.
            logit_scale: [] positive.
            teacher_image_features, teacher_text_features, teacher_synthetic_text_features: [B, sum
                of the teachers' widths], each teacher's part of unit norm, in any floating dtype;
                taken as constants.
            rows: the samples whose cross-entropies this rank computes; None: all.

        Returns:
            ``real`` and, with synthetic captions, ``synthetic``: [] each, to be added up.

        Raises:
            CorekitError: teachers of another width, or synthetic captions on one side alone.
        """
        if (synthetic_text_features is None) != (teacher_synthetic_text_features is None):
            raise CorekitError("loss 'reinforced_contrastive' needs synthetic_text_features of the "
                               "student (does the dataset give `synthetic_text`?) and "
                               "teacher_synthetic_text_features, or neither")
        rows = rows if rows is not None else slice(0, len(image_features))
        teacher_images = self._teachers(teacher_image_features)
        captions = {"real": (text_features, teacher_text_features)}
        if synthetic_text_features is not None and teacher_synthetic_text_features is not None:
            captions["synthetic"] = synthetic_text_features, teacher_synthetic_text_features
        shares: dict[str, Tensor] = {}
        dtype = torch.promote_types(image_features.dtype, torch.float32)
        for part, (text, teacher_text) in captions.items():
            targets = partial(self._targets, teacher_images, self._teachers(teacher_text), dtype)
            shares[part] = blockwise_cross_entropy(
                image_features, text, logit_scale, rows, self.block, self.hard, self.soft,
                targets if self.soft else None)
        return shares

    def guessing(self, samples: int, synthetic_text_features: Tensor | None = None) -> Guess:
        """Every sample of the batch is as likely as the others, whatever the teachers say."""
        kinds_of_captions = 1 if synthetic_text_features is None else 2
        return one_of(samples, (self.hard + self.soft) * kinds_of_captions)

    def _teachers(self, features: Tensor) -> tuple[Tensor, ...]:
        """Each teacher's own features."""
        if features.shape[1] != sum(self.widths):
            raise CorekitError("loss 'reinforced_contrastive': the teachers' features are "
                               f"{features.shape[1]} wide, but loss.teacher_widths={self.widths} "
                               f"adds up to {sum(self.widths)}")
        return torch.split(features.detach(), self.widths, 1)

    def _targets(self, images: tuple[Tensor, ...], texts: tuple[Tensor, ...], dtype: torch.dtype,
                 part: slice, of_images: bool) -> Tensor:
        """Q of some rows: [rows, B]."""
        total: Tensor | None = None
        for image, text, scale in zip(images, texts, self.scales):
            queries, targets = (image, text) if of_images else (text, image)
            logits = _similarities(queries[part].to(dtype), targets).mul_(scale)
            share = logits.softmax(1).div_(len(self.scales))
            total = share if total is None else total.add_(share)
        assert total is not None
        return total


def _similarities(queries: Tensor, targets: Tensor) -> Tensor:
    """[b, B] in the queries' dtype, exact for narrower targets, which are widened in parts."""
    similarities = queries.new_empty(len(queries), len(targets))
    for first in range(0, len(targets), COLUMNS):
        columns = slice(first, min(first + COLUMNS, len(targets)))
        similarities[:, columns] = queries @ targets[columns].to(queries.dtype).T
    return similarities
