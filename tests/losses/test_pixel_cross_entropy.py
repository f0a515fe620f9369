"""Cross-entropy of pixels: pixels without a class count nowhere."""

import pytest
import torch

from corekit import CorekitError
from corekit.losses.pixel_cross_entropy import PixelCrossEntropy


def test_it_is_the_sum_over_pixels_that_have_a_class() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    segmentation = torch.randint(3, (2, 4, 5))
    segmentation[0, :2] = 255
    loss = PixelCrossEntropy()
    expected = sum(-logits[b, :, y, x].log_softmax(0)[segmentation[b, y, x]]
                   for b in range(2) for y in range(4) for x in range(5)
                   if segmentation[b, y, x] != 255)
    assert torch.allclose(loss(logits, segmentation), expected)
    assert loss.weights(segmentation) == 2 * 4 * 5 - 2 * 5
    loss(logits, segmentation).backward()
    assert logits.grad[0, :, :2].eq(0).all()
    assert loss(logits.bfloat16(), segmentation).dtype == torch.float32


@pytest.mark.parametrize("wrong", [3, 254, -1])
def test_a_class_that_the_model_has_not_is_refused(wrong: int) -> None:
    with pytest.raises(CorekitError, match=f"a pixel's class is {wrong}, but the model has 3"):
        PixelCrossEntropy()(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, wrong]]]))
