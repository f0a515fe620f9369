"""Weights under the wrappers and prefixes that people's training code puts around them."""

from pathlib import Path

import pytest
import torch

from corekit.checkpoint.convert import read_state


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "model.module.",
                                    "module._orig_mod.net."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_names_are_read_without_what_is_around_them(tmp_path: Path, prefix: str,
                                                    wrapper: str | None) -> None:
    state = {"image.weight": torch.ones(2), "text.weight": torch.zeros(3)}
    content: dict[str, object] = {prefix + name: value for name, value in state.items()}
    torch.save(content if wrapper is None else {wrapper: content, "epoch": 1}, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == state.keys()


def test_a_prefix_of_some_names_stays(tmp_path: Path) -> None:
    torch.save({"model.weight": torch.ones(2), "logit_scale": torch.ones(())}, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == {"model.weight", "logit_scale"}
