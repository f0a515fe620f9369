"""The losses of a Mask R-CNN, which the model computes over the regions that it samples."""

from torch import Tensor

from corekit.registry import register


@register("loss", "mask_rcnn")
class MaskRCNNLoss:
    """The five losses of a Mask R-CNN (He et al., 2017), each with weight 1.

    They are means over the regions that were sampled of a micro-batch, so the loss of a step is
    the mean over its micro-batches.
    """

    weights = 1

    def __call__(self, loss_objectness: Tensor, loss_rpn_box_reg: Tensor, loss_classifier: Tensor,
                 loss_box_reg: Tensor, loss_mask: Tensor) -> dict[str, Tensor]:
        return {"objectness": loss_objectness, "rpn_box_reg": loss_rpn_box_reg,
                "classifier": loss_classifier, "box_reg": loss_box_reg, "mask": loss_mask}
