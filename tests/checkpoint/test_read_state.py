"""Weights under the wrappers and prefixes that people's training code puts around them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from corekit import CorekitError
from corekit.checkpoint.read_state import read_state


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "model.module.",
                                    "module._orig_mod.net.", "ema.", "teacher.",
                                    "ema_model.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict", "ema"])
def test_names_are_read_without_what_is_around_them(tmp_path: Path, prefix: str,
                                                    wrapper: str | None) -> None:
    state = {"image.weight": torch.ones(2), "text.weight": torch.zeros(3)}
    content: dict[str, object] = {prefix + name: value for name, value in state.items()}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "step": torch.tensor(3)}
    around = {wrapper: content, "epoch": 1, "step": torch.tensor(3), "optimizer": optimizer}
    torch.save(content if wrapper is None else around, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == state.keys()


def test_a_prefix_of_some_names_stays(tmp_path: Path) -> None:
    torch.save({"model.weight": torch.ones(2), "logit_scale": torch.ones(())}, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == {"model.weight", "logit_scale"}


def test_the_content_says_what_a_file_is(tmp_path: Path) -> None:
    state = {"image.weight": torch.ones(2), "text.weight": torch.zeros(3)}
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pt", "w", "w.bin"):
        shutil.copy(tmp_path / "w.safetensors", tmp_path / name)
        assert read_state(tmp_path / name).keys() == state.keys()


@pytest.mark.parametrize(("content", "message"), [
    (b"", "it is empty"), (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"<!DOCTYPE html>", "a page of the web"), (b'{"a": 1}', "it is JSON"),
])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_what_is_no_file_of_weights(tmp_path: Path, name: str, content: bytes,
                                    message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorekitError, match=f"{name} holds no weights: .*{message}"):
        read_state(tmp_path / name)


def test_two_models_in_one_file_are_not_guessed_between(tmp_path: Path) -> None:
    weights = {"weight": torch.ones(2)}
    torch.save({"teacher": weights, "student": weights}, tmp_path / "w.pt")
    with pytest.raises(CorekitError, match="teacher and student: save the one"):
        read_state(tmp_path / "w.pt")
    torch.save({"epoch": 3, "other": weights}, tmp_path / "w.pt")
    with pytest.raises(CorekitError, match="it has epoch, other"):
        read_state(tmp_path / "w.pt")


def test_weights_in_several_files(tmp_path: Path) -> None:
    index, shards = tmp_path / "model.safetensors.index.json", {"a": "1.safetensors", "b": "../2"}
    index.write_text(json.dumps({"weight_map": shards}))
    save_file({"a": torch.ones(2)}, tmp_path / "1.safetensors")
    with pytest.raises(CorekitError, match="names 2, which is not there"):
        read_state(index)
    save_file({"b": torch.ones(3)}, tmp_path / "2")
    assert {name: len(value) for name, value in read_state(index).items()} == {"a": 2, "b": 3}
    index.write_text("{}")
    with pytest.raises(CorekitError, match="it has no weight_map"):
        read_state(index)
