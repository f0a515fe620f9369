"""CatLIP's weights in CoreNet's layout: names, with and without RangeAugment's scalars, and back to
the bit.
"""

from pathlib import Path

import corenet_vit as corenet
import pytest
import torch
from corekit_projects.catlip.convert import CatLIPConverter
from corekit_projects.catlip.convert_dense import CORENET
from corekit_projects.mobileclip.convert import MobileCLIPConverter
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor

import corekit
from corekit import CorekitError, registry
from corekit.checkpoint import convert
from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.schema import ModelConfig

CONVERTER = CatLIPConverter()
State = dict[str, Tensor]


def state_of(name: str, classes: int = 24320, scalars: bool = False) -> State:
    """Zeros that can be looked at and take no room."""
    width, layers, _ = corenet.SIZES[name]
    return {
        key: torch.zeros(
            (), dtype=torch.int64 if key.endswith("tracked") else torch.float32).expand(shape)
        for key, shape in corenet.shapes(width, layers, classes, scalars).items()
    }


@pytest.mark.parametrize("name", corenet.SIZES)
def test_corenets_names_and_shapes_tell_the_model(name: str) -> None:
    assert CONVERTER.detect(state_of(name)) == [name]
    assert MobileCLIPConverter().detect(state_of(name)) == []
    assert CONVERTER.detect(
        {key: value for key, value in state_of(name).items() if key != "cls_token"}) == []
    assert CONVERTER.detect({}) == []


@pytest.mark.parametrize("scalars", [False, True])
def test_weights_come_in_and_go_out_to_the_bit(scalars: bool) -> None:
    torch.manual_seed(0)
    state = {
        key: torch.randint(9, value.shape) if key.endswith("tracked") else torch.rand(value.shape)
        for key, value in state_of("catlip_vit_b16", 20, scalars).items()
    }
    converted = CONVERTER.load(state, "catlip_vit_b16")
    notes = converted.notes
    assert [note for note in notes if "6 learned scalars" in note] == notes[:scalars]
    assert "224 pixels" in converted.notes[-1]
    assert converted.preprocess == Preprocess(224, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert converted.tokenizer == {}
    assert converted.arguments == {"num_classes": 20, "pos_embed_interp": "flat1d"}
    with torch.device("meta"):
        model = corekit.create_model("catlip_vit_b16", **converted.arguments)
    model.load_state_dict(converted.weights, assign=True)
    back = CONVERTER.save(model.state_dict(), "catlip_vit_b16", "corenet")
    assert back.keys() == state.keys() - set(corenet.SCALARS)
    assert all(
        torch.equal(value, state[key]) and value.dtype == state[key].dtype
        for key, value in back.items())


def test_a_run_around_the_model_goes_out_without_the_scalars(tmp_path: Path) -> None:
    torch.save(state_of("catlip_vit_b16", 20, scalars=True), tmp_path / "theirs.pt")
    convert.convert_in(tmp_path / "theirs.pt", tmp_path / "run")
    recipe = OmegaConf.load(tmp_path / "run" / "recipe.yaml")
    OmegaConf.save({**recipe, "model": {"name": "range_augment", "model": recipe.model}},
                   tmp_path / "run" / "recipe.yaml")
    weights = load_file(tmp_path / "run" / "model.safetensors")
    save_file({**weights, **{name: torch.zeros(()) for name in corenet.SCALARS}},
              tmp_path / "run" / "model.safetensors")
    name, _ = convert.convert_out(tmp_path / "run", tmp_path / "back.safetensors", "corenet")
    assert name == "catlip_vit_b16"
    assert load_file(tmp_path / "back.safetensors").keys() == state_of("catlip_vit_b16", 20).keys()


def test_a_file_that_was_pickled_is_read_and_named(tmp_path: Path) -> None:
    state = state_of("catlip_vit_b16", 20, scalars=True)
    # a narrow model has no converter: only the folder's writing is left out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "save_model_folder",
                      lambda folder, weights, recipe, preprocess: folder.mkdir())
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}},
                   tmp_path / "weights.pt")
        name, notes = convert.convert_in(tmp_path / "weights.pt", tmp_path / "folder")
    assert (name, len(notes)) == ("catlip_vit_b16", 2)


def test_what_does_not_fit_is_told() -> None:
    state = state_of("catlip_vit_b16", 20)
    noise, head = "neural_augmentor.noise._low", "classifier.weight"
    for key, value, message in (
            (noise, torch.zeros(()), r"1 left over \(neural_augmentor.noise._low\)"),
            (head, torch.zeros(21, 768), r"\.weight is \[21, 768\] instead of \[20, 768\]")):
        with pytest.raises(CorekitError, match=r"in corenet's layout, are not those of "
                                               r"'catlip_vit_b16': .*" + message):
            CONVERTER.load({**state, key: value}, "catlip_vit_b16")
    with pytest.raises(CorekitError, match=r"1 missing \(post_transformer_norm.bias\)"):
        CONVERTER.load(
            {key: value for key, value in state.items() if key != "post_transformer_norm.bias"},
            "catlip_vit_b16")
    with pytest.raises(CorekitError, match="are not those of 'catlip_vit_l16': 144 missing"):
        CONVERTER.load(state, "catlip_vit_l16")


def test_half_precision_becomes_float32_and_another_table_another_size() -> None:
    state = {key: value.bfloat16() if value.is_floating_point() else value
             for key, value in state_of("catlip_vit_b16", 20).items()}
    state["pos_embed.pos_embed.pos_embed"] = torch.zeros(1, 1, 32 * 32, 768)
    converted = CONVERTER.load(state, "catlip_vit_b16")
    assert {value.dtype for value in converted.weights.values()} == {torch.float32, torch.int64}
    assert converted.arguments == {"num_classes": 20, "image_size": 512,
                                   "pos_embed_interp": "flat1d"}


def test_what_corenet_runs_otherwise_is_told() -> None:
    def remarks(name: str, **arguments: object) -> list[str]:
        return registry.build("converter", "catlip_dense" if "rcnn" in name else "catlip").remarks(
            ModelConfig(name, arguments), {}, {}, "corenet")

    (remark,) = remarks("catlip_vit_b16")
    assert "pos_embed_interp flat1d instead of grid2d" in remark
    assert "of other sizes than the weights' own" in remark
    assert remarks("catlip_vit_b16", pos_embed_interp="flat1d") == []
    (remark,) = remarks("catlip_mask_rcnn_b16", pos_embed_interp="flat1d")
    assert "roi_aligned False instead of True" in remark
    assert remarks("catlip_mask_rcnn_b16", pos_embed_interp="flat1d", **CORENET) == []
