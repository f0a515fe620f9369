"""Stochastic depth: whole samples are left out, and the mean is kept."""

import pytest
import torch

from corekit.models.layers.drop_path import DropPath, drop_path_rates


def test_whole_samples_are_left_out_and_the_mean_is_kept() -> None:
    torch.manual_seed(0)
    samples = DropPath(0.25)(torch.ones(4000, 3, 2)).flatten(1)
    assert torch.equal(samples.amin(1), samples.amax(1))
    torch.testing.assert_close(samples[:, 0].unique(), torch.tensor([0, 4 / 3]))
    assert samples.mean().item() == pytest.approx(1, abs=0.03)
    update = torch.randn(4, 3)
    assert DropPath(0.25).eval()(update) is update


def test_rates_grow_linearly() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]
