"""The blockwise contrastive loss against the dense one."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.losses.contrastive import Contrastive
from tests.losses.largest_tensor import LargestTensor


def dense(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    logits = scale * image @ text.T
    target = torch.arange(len(image))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def features(count: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, text = (F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64),
                               dim=-1).to(dtype) for _ in range(2))
    return image.requires_grad_(), text.requires_grad_(), torch.tensor(
        14.3, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("block", [5, 16, 1000])
def test_shares_of_ranks_add_up_to_the_dense_loss(dtype: torch.dtype, tolerance: float, ranks: int,
                                                  block: int) -> None:
    reference, inputs = features(48, 16, dtype), features(48, 16, dtype)
    expected = dense(*(value.double() for value in reference))
    expected.backward()
    loss = Contrastive(block)
    share = 48 // ranks
    total = sum(loss(*inputs, rows=slice(rank * share, (rank + 1) * share))
                for rank in range(ranks))
    assert isinstance(total, Tensor)
    total.backward()
    assert abs(total.double() - expected) <= tolerance * expected
    for mine, theirs in zip(inputs, reference):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert (mine.grad - theirs.grad).norm() <= tolerance * theirs.grad.norm()


def test_the_matrix_of_logits_is_never_held() -> None:
    image, text, scale = features(512, 8, torch.float32)
    with LargestTensor() as largest:
        Contrastive(block=32)(image, text, scale).backward()
    assert 0 < largest.elements <= 32 * 512


def test_bf16_features_are_compared_in_fp32() -> None:
    image, text, scale = features(64, 16, torch.float32)
    expected = Contrastive()(image.bfloat16().float(), text.bfloat16().float(), scale)
    actual = Contrastive()(image.bfloat16(), text.bfloat16(), scale)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-2)
