"""A detector's step does not depend on who computes which micro-batch."""

from pathlib import Path

import torch

from tests.conftest import succeeded
from tests.models.dense.scenes import catlip


def test_two_ranks_and_accumulation_give_equal_losses_and_gradients(tmp_path: Path) -> None:
    for ranks in (1, 2):
        succeeded(tmp_path, "tests.models.dense.detector_on_ranks", str(tmp_path), ranks=ranks)
    one, two = (torch.load(tmp_path / f"{ranks}.pt", weights_only=True) for ranks in (1, 2))
    expected = one["ddp"]
    assert {name for name in expected if name.startswith("loss mask_rcnn/")} == {
        f"loss mask_rcnn/{part}"
        for part in ("objectness", "rpn_box_reg", "classifier", "box_reg", "mask")}
    assert len(expected) == 6 + len(list(catlip().parameters()))
    for results in two.values():
        assert results.keys() == expected.keys()
        for name, value in expected.items():
            difference = (results[name] - value).norm()
            assert difference <= 2e-5 * value.norm() + 1e-7, name
