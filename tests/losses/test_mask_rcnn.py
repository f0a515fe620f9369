"""The losses of a Mask R-CNN are means of a micro-batch, and the step's are means over these."""

import torch

from corekit.distributed.process_group import ProcessGroup
from corekit.losses.mask_rcnn import MaskRCNNLoss
from corekit.train.step.loss_terms import WeightedLoss, step_divisors


def test_a_step_is_the_mean_over_its_micro_batches_whatever_is_in_them() -> None:
    loss = WeightedLoss.of(MaskRCNNLoss(), "mask_rcnn")
    alone = ProcessGroup(0, 1, torch.device("cpu"))
    divisors = step_divisors([loss], [{"key": ["a", "b"]}, {"key": ["c"]}], alone)
    names = ("objectness", "rpn_box_reg", "classifier", "box_reg", "mask")
    values = {f"loss_{name}": torch.tensor(float(number)) for number, name in enumerate(names, 1)}
    shares = dict(loss.means(MaskRCNNLoss()(**values), divisors))
    assert shares == {f"mask_rcnn/{name}": number / 2 for number, name in enumerate(names, 1)}
