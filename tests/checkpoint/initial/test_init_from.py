"""Weights to start from fit on both sides or are refused whole; frozen parts stand still."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from corekit import CorekitError
from corekit.checkpoint.initial.init_from import start_from
from corekit.models.freeze import freeze, training_mode


def model(classes: int = 4) -> nn.ModuleDict:
    return nn.ModuleDict({
        "trunk": nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)),
        "head": nn.Linear(5, classes)
    })


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    state = {
        "encoder." + name.removeprefix("trunk."): torch.randn(value.shape)
                                                  if value.is_floating_point() else value + 7
        for name, value in model().state_dict().items() if name.startswith("trunk.")
    }
    state["classifier.weight"], state["classifier.bias"] = torch.randn(4, 5), torch.randn(4)
    save_file(state, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors", state


def test_everything_finds_its_place(weights: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = weights
    mine = model()
    start_from(mine, str(path), [],
               {"encoder.": "trunk.", "classifier": "head", "backbone.": "trunk."})
    assert torch.equal(mine["trunk"][0].weight, state["encoder.0.weight"])  # type: ignore[index]
    assert torch.equal(mine["trunk"][1].running_var,
                       state["encoder.1.running_var"])  # type: ignore[index]
    assert torch.equal(mine["head"].weight, state["classifier.weight"])


def test_the_longest_beginning_counts_and_none_is_that_of_every_name(
        weights: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = weights
    mine = nn.ModuleDict({"all": model()})
    rename = {"": "all.", "encoder.": "all.trunk.", "classifier": "all.head"}
    start_from(mine, str(path), [], rename)
    head = mine["all"]["head"]  # type: ignore[index]
    assert torch.equal(head.weight, state["classifier.weight"])
    assert torch.equal(mine["all"]["trunk"][0].bias, state["encoder.0.bias"])  # type: ignore[index]


def test_a_new_head_stays_random(weights: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = weights
    mine = model(classes=9)
    before = mine["head"].weight.clone()
    start_from(mine, str(path), ["head", "classifier.*"], {"encoder.": "trunk."})
    assert torch.equal(mine["head"].weight, before)
    assert torch.equal(mine["trunk"][0].bias, state["encoder.0.bias"])  # type: ignore[index]


@pytest.mark.parametrize(("exclude", "rename", "classes", "message"), [
    ([], {"encoder.": "trunk."}, 4, "2 tensors of the model are not in the file: head.weight, "
                                    "head.bias; "
                                    "2 tensors of the file are not in the model: classifier"),
    (["head"], {"encoder.": "trunk."}, 4, "2 tensors of the file are not in the model: "
                                          "classifier.bias, classifier.weight"),
    ([], {"encoder.": "trunk.", "classifier": "head"}, 9, r"2 shapes differ: head.weight is \[4, "
                                                          r"5\] there and \[9, 5\] here"),
    (["haed"], {"encoder.": "trunk.", "classifier": "head"}, 4, "'haed' fits no name"),
    ([], {"encodr.": "trunk."}, 4, "no name in .* begins with 'encodr.'; they begin with "
                                   "classifier, encoder"),
])
def test_what_is_left_over_is_listed_and_nothing_is_changed(weights: tuple[Path,
                                                                           dict[str, torch.Tensor]],
                                                            exclude: list[str], rename: dict[str,
                                                                                             str],
                                                            classes: int, message: str) -> None:
    mine = model(classes)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    with pytest.raises(CorekitError, match=message):
        start_from(mine, str(weights[0]), exclude, rename)
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())


class Doubling(nn.Module):
    """Makes 2 n rows of n, of ``table`` and no other."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table, self.other = nn.Parameter(torch.zeros(rows, 2)), nn.Parameter(torch.zeros(rows))

    def refit(self, name: str, value: torch.Tensor) -> torch.Tensor | None:
        return value.repeat_interleave(2, 0) if name == "table" else None


def test_the_module_that_owns_a_tensor_may_refit_it(tmp_path: Path) -> None:
    there, path = nn.ModuleDict({"tower": Doubling(4),
                                 "head": nn.Linear(2, 2)}), tmp_path / "there.safetensors"
    nn.init.normal_(there["tower"].table)  # type: ignore[arg-type]
    save_file({name: value.half() for name, value in there.state_dict().items()}, path)
    here = nn.ModuleDict({"tower": Doubling(8), "head": nn.Linear(2, 2)})
    assert start_from(here, str(path), ["tower.other"], {}) == [
        f"tower.table stretched from [4, 2], as it is in {path}, to [8, 2]"]
    assert torch.equal(here["tower"].table, there["tower"].table.half().float().repeat_interleave(
        2, 0))  # type: ignore[operator]
    assert start_from(there, str(path), [], {}) == [], "what fits is taken as it is"
    before = {name: value.clone() for name, value in here.state_dict().items()}
    with pytest.raises(CorekitError, match=r"1 shapes differ: tower.other is \[4\] there and \[8\] "
                                           r"here\."):
        start_from(here, str(path), [], {})
    for rows in (6, 16):
        with pytest.raises(CorekitError, match=r"tower.table is \[4, 2\] there"):
            start_from(nn.ModuleDict({"tower": Doubling(rows), "head": nn.Linear(2, 2)}), str(path),
                       ["tower.other"], {})
    assert all(torch.equal(value, before[name]) for name, value in here.state_dict().items())


def test_what_is_no_weights_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04K\x01.")
    for path in (tmp_path / "x.safetensors", tmp_path / "y.safetensors", tmp_path / "nowhere",
                 tmp_path):
        with pytest.raises(CorekitError, match=r"cannot be read|does not exist|is no run"):
            start_from(model(), str(path), [], {})


def test_frozen_parts_stand_still() -> None:
    mine = model()
    freeze(mine, ["trunk"])
    training_mode(mine)
    assert [name for name, value in mine.named_parameters()
            if value.requires_grad] == ["head.weight", "head.bias"]
    assert not mine["trunk"][1].training
    assert not mine["trunk"][2].training
    assert mine["head"].training
    assert mine.training
    with pytest.raises(CorekitError, match="'trunc' fits no name"):
        freeze(model(), ["trunc"])
    with pytest.raises(CorekitError, match="leaves no parameter to train"):
        freeze(model(), ["*"])


def test_a_path_with_nothing_there_is_named_with_its_key() -> None:
    with pytest.raises(CorekitError, match=r"init.path: /not/there does not exist; set init.path "
                                           r"to a run, a checkpoint, a model folder, a "):
        start_from(model(4), "/not/there", [], {})
