"""AIM's weights in other layouts: published names, the way in and out to the bit, and what says how
pictures are prepared.
"""

import json
from pathlib import Path

import pytest
import torch
from corekit_projects.aimv2 import convert as layouts
from corekit_projects.aimv2.convert import AIMConverter
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Aimv2VisionConfig, Aimv2VisionModel

import corekit
from corekit import CorekitError
from corekit.checkpoint.convert import convert_in
from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.schema import ModelConfig

CONVERTER = AIMConverter()
# name and layout -> the first block's names and shapes and those outside blocks, as the other
# library's own model has them
GOLDEN: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parents[2] / "data" / "aimv2" / "keys.json").read_text(encoding="utf-8"))
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SMALL = {"width_divisor": 8, "depth_divisor": 12}
State = dict[str, Tensor]


def whole(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """All blocks: 24 of images, 12 of text."""
    all_layers = {}
    for name, shape in shapes.items():
        numbered = next((part for part in (".blocks.0.", "layers.0.", "blocks.0.") if part in name),
                        None)
        layers = 12 if name.startswith("text_") else 24
        for number in range(layers) if numbered else (0,):
            all_layers[name.replace(numbered, numbered.replace("0", str(number))
                                    ) if numbered else name] = shape
    return all_layers


@pytest.mark.parametrize("which", GOLDEN)
def test_names_and_shapes_are_the_published_ones(which: str) -> None:
    name, layout = which.split()
    with torch.device("meta"):
        state = corekit.create_model(name).state_dict()
    shapes = {key: list(value.shape) for key, value in CONVERTER.save(state, name, layout).items()}
    classifier = "head." if name == "aimv1_600m" else "none"
    assert shapes == {
        key: shape for key, shape in whole(GOLDEN[which]).items() if not key.startswith(classifier)
    }


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_model_is_told_by_names_and_shapes(layout: str) -> None:
    for name in layouts.LAYOUTS[layout]:
        assert layout in CONVERTER.layouts(name)
        state = layouts._expected(name, layout)
        assert CONVERTER.detect(state) == [name]
        del state[next(key for key in state if ".7." in key)]
        assert CONVERTER.detect(state) == []
    assert CONVERTER.detect({"patch_embed.proj.weight": torch.empty(192, 3, 16, 16)}) == []
    assert CONVERTER.detect({}) == []


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models so small that their weights can be looked at."""
    def official(name: str) -> State:
        with torch.device("meta"):
            return dict(corekit.create_model(name, **SMALL).state_dict())

    monkeypatch.setattr(layouts, "state_of", official)


def weights_of(name: str) -> State:
    torch.manual_seed(0)
    return {key: torch.randn(value.shape) for key, value in layouts.state_of(name).items()}


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("name", "layout"), [("aimv2_base_336", "apple"),
                                              ("aimv2_base_336", "transformers"),
                                              ("aimv2_base_336", "timm"),
                                              ("aimv2_large_native", "apple"),
                                              ("aimv2_large_native", "transformers"),
                                              ("aimv2_large_lit", "apple"),
                                              ("aimv2_large_lit", "transformers"),
                                              ("aimv1_600m", "apple")])
def test_weights_come_in_and_go_out_to_the_bit(name: str, layout: str) -> None:
    ours = weights_of(name)
    theirs = {key: value.clone() for key, value in CONVERTER.save(ours, name, layout).items()}
    converted = CONVERTER.load(theirs, name)
    assert converted.weights.keys() == ours.keys()
    assert all(torch.equal(value, ours[key]) for key, value in converted.weights.items())
    back = CONVERTER.save(converted.weights, name, layout)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in back.items())
    assert converted.arguments == {}
    assert bool(converted.tokenizer) == (name == "aimv2_large_lit")
    assert converted.preprocess.size == (336 if "336" in name else 224)
    assert converted.preprocess.crop_fraction == (0.875 if name == "aimv1_600m" else 1.0)


@pytest.mark.usefixtures("narrow")
def test_what_does_not_fit_is_told() -> None:
    state = CONVERTER.save(weights_of("aimv2_base_224"), "aimv2_base_224", "transformers")
    with pytest.raises(CorekitError, match=r"in transformers's layout, are not those of "
                                           r"'aimv2_base_336': 1 of another shape "
                                           r"\(embeddings.position_embedding.weight is \[256, 96\] "
                                           r"instead of \[576, 96\]\)"):
        CONVERTER.load(state, "aimv2_base_336")
    with pytest.raises(CorekitError, match="'aimv1_600m' is not published in the layout of these "
                                           "weights, transformers's"):
        CONVERTER.load(state, "aimv1_600m")
    first = CONVERTER.save(weights_of("aimv1_600m"), "aimv1_600m", "apple")
    classifier = {
        f"head.{key}": torch.zeros(1) for key in ("cls_token", "k.weight", "linear.weight")
    }
    notes = CONVERTER.load({**first, **classifier}, "aimv1_600m").notes
    assert notes[0] == "the classifier over the features, 3 tensors, is left out"
    second = CONVERTER.save(weights_of("aimv2_base_224"), "aimv2_base_224", "apple")
    with pytest.raises(CorekitError, match=r"3 left over \(head.cls_token"):
        CONVERTER.load({**second, **classifier}, "aimv2_base_224")


PUBLISHED = {
    "do_resize": True, "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": list(CLIP_MEAN), "image_std": list(CLIP_STD)
}


@pytest.mark.usefixtures("narrow")
def test_preprocessing_is_what_lies_beside_the_weights(tmp_path: Path) -> None:
    state = CONVERTER.save(weights_of("aimv2_base_224"), "aimv2_base_224", "transformers")
    save_file({key: value.contiguous() for key, value in state.items()},
              tmp_path / "model.safetensors")
    _, notes = convert_in(tmp_path / "model.safetensors", tmp_path / "assumed", "aimv2_base_224")
    assert "CLIP's mean and std" in notes[0]
    assert Preprocess.load(tmp_path / "assumed" / "preprocess.json") == Preprocess(
        224, "bicubic", CLIP_MEAN, CLIP_STD)
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PUBLISHED, **imagenet}))
    name, notes = convert_in(tmp_path / "model.safetensors", tmp_path / "read", "aimv2_base_224")
    assert (name, notes) == ("aimv2_base_224", ["preprocess.json has what preprocessor_config.json "
                                                "beside the weights says"])
    assert Preprocess.load(tmp_path / "read" / "preprocess.json") == Preprocess(
        224, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop_rounding="down")
    assert load_file(tmp_path / "read" /
                     "model.safetensors").keys() == weights_of("aimv2_base_224").keys()


@pytest.mark.parametrize(("name", "layout", "sentence"), [
    ("aimv1_600m", "apple", "the seven tensors of a classifier"),
    ("aimv1_pretrain", "apple", "the seven tensors of a classifier"),
    ("aimv2_large_lit", "transformers", "lets tokens see later ones"),
    ("aimv2_large_lit", "apple", ""), ("aimv2_pretrain", "timm", ""),
    ("aimv2_large_224", "transformers", "")])
def test_what_a_layout_lacks_is_told(name: str, layout: str, sentence: str) -> None:
    remarks = CONVERTER.remarks(ModelConfig(name), {}, {}, layout)
    assert len(remarks) == bool(sentence)
    assert sentence in "".join(remarks)


@torch.no_grad()
def test_the_quickstarts_encoder_runs_in_transformers() -> None:
    torch.manual_seed(0)
    ours = corekit.create_model("aimv2_nano").eval()
    trained = {f"encoder.{key}": value for key, value in ours.state_dict().items()}
    saved = CONVERTER.save(trained, "aimv2_pretrain", "transformers")
    theirs = Aimv2VisionModel(Aimv2VisionConfig(
        hidden_size=128, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4,
        image_size=70, use_head=False)).eval()
    theirs.load_state_dict(saved)
    image = torch.randn(2, 3, 70, 70)
    torch.testing.assert_close(ours(image)["tokens"], theirs(image).last_hidden_state, rtol=0,
                               atol=2e-5)
