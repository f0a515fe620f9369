"""Weights in Apple's, open_clip's and timm's layouts: names, the round trip to the bit, and
open_clip's own outputs.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from corekit_projects.mobileclip.convert import MobileCLIPConverter
from corekit_projects.mobileclip.preprocess import PREPROCESS
from open_clip.pretrained import _PRETRAINED
from torch import Tensor, nn

import corekit
from corekit import CorekitError
from corekit.checkpoint.read_state import State
from corekit.data.transforms.preprocess import Preprocess
from corekit.models.text_tower import open_clip_names
from corekit.recipes.find import recipe_names
from corekit.recipes.schema import ModelConfig
from tests.plain import compose

DATA = Path(__file__).parents[2] / "data" / "mobileclip"
Randomize = Callable[[nn.Module], None]
OpenClip = Callable[..., nn.Module]
CONVERTER = MobileCLIPConverter()

# names and shapes of Apple's models, in training and after its re-parameterisation: how many, and
# their SHA-256
APPLE = {
    ("mobileclip_s0", False): (893, "7ad273229dd833b5894b45406de781ce"),
    ("mobileclip_s0", True): (389, "503f0268f5e4d30a946808c30ebb0479"),
    ("mobileclip_s1", False): (1585, "481a274cad05f31553a49217caf1de9a"),
    ("mobileclip_s1", True): (733, "31abd01de21e1f65dd1ef9dea244e98c"),
    ("mobileclip_s2", False): (1721, "8b7953a94fc91bb6f2e25c46b45f88ac"),
    ("mobileclip_s2", True): (785, "36641eaa61f0e58d100274b987fe662c"),
    ("mobileclip_b", False): (313, "356fa71992b360919f9cefa391e9778a"),
    ("mobileclip_b_lt", False): (313, "356fa71992b360919f9cefa391e9778a"),
}
# what open_clip calls its models, and the models of ours that have these names and shapes
OPEN_CLIP = {
    "MobileCLIP-S1": ["mobileclip_s1"],
    "MobileCLIP-S2": ["mobileclip_s2", "mobileclip2_s2"],
    "MobileCLIP-B": ["mobileclip_b", "mobileclip_b_lt", "mobileclip2_b"],
    "MobileCLIP2-S0": ["mobileclip2_s0"],
    "MobileCLIP2-S2": ["mobileclip_s2", "mobileclip2_s2"],
    "MobileCLIP2-B": ["mobileclip_b", "mobileclip_b_lt", "mobileclip2_b"],
    "MobileCLIP2-S3": ["mobileclip_s3", "mobileclip2_s3"],
    "MobileCLIP2-S4": ["mobileclip_s4", "mobileclip2_s4"],
    "MobileCLIP2-L-14": ["mobileclip_l14", "mobileclip2_l14"],
}


def meta_state(name: str, **arguments: bool) -> State:
    with torch.device("meta"):
        state: State = corekit.create_model(name, **arguments).state_dict()
    return state


def shapes(state: State) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in state.items()}


def without_memory(state: State) -> State:
    """Zeros that can be looked at and take no room."""
    return {
        key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()
    }


def model_of(state: State, name: str) -> tuple[nn.Module, dict[str, object]]:
    """The model that these weights are converted to, and the arguments it was built with."""
    converted = CONVERTER.load(state, name)
    with torch.device("meta"):
        model: nn.Module = corekit.create_model(name, **converted.arguments).eval()
    model.load_state_dict(converted.weights, assign=True)
    return model, converted.arguments


def positions_of(name: str) -> dict[str, str]:
    """The argument that Apple's rule for positions of other sizes is."""
    return {"pos_embed_interp": "flat1d"} if name.startswith("mobileclip_b") else {}


def captions() -> Tensor:
    """Two captions of different length, the end token being the highest id, padded with 0."""
    text = torch.zeros(2, 77, dtype=torch.long)
    text[0, :5] = torch.tensor([49406, 32, 11, 53, 49407])
    text[1, :3] = torch.tensor([49406, 23, 49407])
    return text


def image(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def images_differ(ours: nn.Module, theirs: Callable[..., Tensor], size: int) -> float:
    """How far features of unit length are apart at most."""
    return _most(ours.encode_image(image(size)), theirs(image(size)))


@torch.no_grad()
def texts_differ(ours: nn.Module, theirs: nn.Module) -> float:
    return _most(ours.encode_text(captions()), theirs.encode_text(captions()))


def _most(features: Tensor, expected: Tensor) -> float:
    features, expected = nn.functional.normalize(features,
                                                 dim=-1), nn.functional.normalize(expected, dim=-1)
    assert (expected[0] - expected[1]).abs().max() > 1e-3, "the two inputs must be told apart"
    return (features - expected).abs().max().item()


@pytest.mark.parametrize(("name", "fused"), APPLE)
def test_names_and_shapes_are_apples(name: str, fused: bool) -> None:
    actual = shapes(CONVERTER.save(meta_state(name, fused=fused), name, "apple"))
    golden = DATA / f"apple_keys_{name.removeprefix('mobileclip_')}.json"
    if golden.is_file() and not fused:
        assert actual == json.loads(golden.read_text())
    listed = "\n".join(f"{key} {shape}" for key, shape in sorted(actual.items()))
    assert (len(actual), hashlib.sha256(listed.encode()).hexdigest()[:32]) == APPLE[name, fused]


@pytest.mark.parametrize("theirs", OPEN_CLIP)
def test_names_and_shapes_are_open_clips_and_tell_the_model(theirs: str,
                                                            open_clip_model: OpenClip) -> None:
    expected = open_clip_model(theirs, device="meta").state_dict()
    for name in OPEN_CLIP[theirs]:
        assert shapes(CONVERTER.save(meta_state(name), name, "open_clip")) == shapes(expected)
    assert CONVERTER.detect(without_memory(expected)) == OPEN_CLIP[theirs]


@pytest.mark.parametrize(("theirs", "embed_dim", "names"), [
    ("fastvit_mci0", 512, ["mobileclip_s0", "mobileclip2_s0"]),
    ("fastvit_mci4", 768, ["mobileclip_s4", "mobileclip2_s4"]),
    ("vit_base_mci_224", 512, ["mobileclip_b", "mobileclip_b_lt", "mobileclip2_b"]),
    ("vit_large_patch14_clip_224", 768, ["mobileclip_l14", "mobileclip2_l14"]),
    ("fastvit_sa12", 512, []),
])
def test_timms_names_are_those_of_the_image_tower(theirs: str, embed_dim: int,
                                                  names: list[str]) -> None:
    with torch.device("meta"):
        expected = timm.create_model(theirs, num_classes=embed_dim).state_dict()
    assert CONVERTER.detect(without_memory(expected)) == names
    for name in names:
        assert shapes(CONVERTER.save(meta_state(name), name, "timm")) == shapes(expected)


@pytest.mark.parametrize(("name", "fused", "names"), [
    ("mobileclip_s0", False, ["mobileclip_s0"]), ("mobileclip_s0", True, ["mobileclip_s0"]),
    ("mobileclip_b", False, ["mobileclip_b", "mobileclip_b_lt"])])
def test_apples_keys_tell_the_model_but_for_b(name: str, fused: bool, names: list[str]) -> None:
    state = without_memory(CONVERTER.save(meta_state(name, fused=fused), name, "apple"))
    assert CONVERTER.detect(state) == names
    assert CONVERTER.load(state, name).arguments == {**({"fused": True} if fused else {}),
                                                     **positions_of(name)}


def test_converted_bs_positions_are_stretched_as_in_apples_code() -> None:
    state = without_memory(CONVERTER.save(meta_state("mobileclip_b"), "mobileclip_b", "apple"))
    table = torch.randn(1, 1, 196, 768)  # of 14 x 14 patches
    state["image_encoder.model.pos_embed.pos_embed.pos_embed"] = table
    tower = model_of(state, "mobileclip_b")[0].image_tower
    for rows, columns in ((16, 16), (10, 14), (7, 28), (14, 14)):
        apples = nn.functional.interpolate(table, (rows * columns, 768), mode="bilinear")[0]
        torch.testing.assert_close(tower.positions(rows, columns)[1], apples, rtol=0, atol=1e-6)
    assert "pos_embed_interp" in CONVERTER.load(state, "mobileclip_b").notes[0]
    own = corekit.create_model("mobileclip_b", width_divisor=12, depth_divisor=12, vocab_size=9)
    assert own.image_tower.pos_embed_interp == "grid2d", "a new training keeps the grid"


TIMMS_B = {"stem_padding": 0, "norm_eps": 1e-6}


def test_layouts_that_run_a_model_otherwise_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoken(name: str, layout: str, **arguments: object) -> str:
        saved = {"visual.trunk.head.weight": torch.zeros(1), "head.weight": torch.zeros(1)}
        return " ".join(CONVERTER.remarks(ModelConfig(name, arguments), {}, saved, layout))

    monkeypatch.setattr("corekit_projects.mobileclip.convert.compare_with_timm", lambda *_: [])
    pairs = [(name, layout) for name in PREPROCESS for layout in CONVERTER.layouts(name)]
    assert {pair for pair in pairs if spoken(*pair)} == {
        ("mobileclip_s0", "open_clip"),  # which has no hybrid text tower
        *((name, layout) for name in ("mobileclip_b", "mobileclip_b_lt")
          for layout in ("apple", "open_clip", "timm"))}
    assert "stem_padding 0 instead of 1, norm_eps 1e-06 instead of 1e-05" in spoken(
        "mobileclip_b", "timm")
    assert "of other sizes than the weights' own" in spoken("mobileclip_b", "apple")
    assert not spoken("mobileclip_b", "apple", pos_embed_interp="flat1d")
    assert not spoken("mobileclip_b", "open_clip", **TIMMS_B)
    assert "causal True instead of False" in spoken("mobileclip_b", "open_clip", causal=False,
                                                    **TIMMS_B)


@pytest.mark.parametrize(("name", "arguments", "fused"), [
    ("mobileclip_b", {}, False), ("mobileclip_b", TIMMS_B, False), ("mobileclip2_s0", {}, True)])
def test_how_far_timms_features_are_is_measured(name: str, arguments: dict[str, Any], fused: bool,
                                                randomize: Randomize) -> None:
    arguments = {"text_tower": None, **arguments, **({"fused": True} if fused else {})}
    model = corekit.create_model(name, **arguments)
    randomize(model)
    weights = model.state_dict()
    saved = CONVERTER.save(weights, name, "timm")
    remarks = CONVERTER.remarks(ModelConfig(name, arguments), weights, saved, "timm")
    if name == "mobileclip_b" and arguments.get("stem_padding") != 0:
        percent = re.search(r"vit_base_mci_224 .* are ([\d.]+)% away", remarks[-1])
        assert percent is not None
        assert 1 < float(percent[1]) < 100
    else:
        assert remarks == []
        short = {key: value[..., :-1] if value.ndim else value for key, value in saved.items()}
        (remark,) = CONVERTER.remarks(ModelConfig(name, arguments), weights, short, "timm")
        assert "does not take these weights" in remark


@pytest.mark.parametrize(("theirs", "names", "size"), [
    ("MobileCLIP-S1", ["mobileclip_s1"], 64),
    ("MobileCLIP2-S0", ["mobileclip2_s0"], 64),
    ("MobileCLIP2-S2", ["mobileclip_s2", "mobileclip2_s2"], 64),
    ("MobileCLIP2-S3", ["mobileclip_s3", "mobileclip2_s3"], 128),
    ("MobileCLIP2-S4", ["mobileclip2_s4"], 128),
    ("MobileCLIP2-L-14", ["mobileclip2_l14"], 112),
])
def test_converted_models_agree_with_open_clip(theirs: str, names: list[str], size: int,
                                               open_clip_model: OpenClip) -> None:
    """S2 of both generations is one model to open_clip, as B is (below)."""
    reference = open_clip_model(theirs, **({"force_image_size": size} if "L-14" in theirs else {}))
    for name in names:
        ours, arguments = model_of(reference.state_dict(), name)
        # these random weights have a bias of the image head, which Apple's first models have not
        assert arguments == {
            **({"head_bias": True} if name in ("mobileclip_s1", "mobileclip_s2") else {}),
            **({"image_size": 112} if "l14" in name else {})
        }
        assert images_differ(ours, reference.encode_image, size) < 1e-5
        assert torch.equal(ours.logit_scale, reference.logit_scale)
    assert texts_differ(ours, reference) < 1e-5


def test_b_with_apples_stem_and_with_timms_are_told_apart(open_clip_model: OpenClip) -> None:
    reference = open_clip_model("MobileCLIP-B", force_image_size=112)
    nn.init.zeros_(reference.visual.trunk.head.bias)  # as in files made of Apple's weights
    state = reference.state_dict()
    (timms, _), (apples, arguments) = (model_of(state, name)
                                       for name in ("mobileclip2_b", "mobileclip_b"))
    assert arguments == {"image_size": 112, "pos_embed_interp": "flat1d"}
    assert "image_tower.head.bias" not in apples.state_dict()
    assert images_differ(timms, reference.encode_image, 112) < 1e-5
    assert texts_differ(timms, reference) < 1e-5
    assert images_differ(apples, reference.encode_image, 112) > 1e-3
    text = apples.text_tower.state_dict()
    published = open_clip_names(text)
    assert all(torch.equal(value, state["text." + published.get(key, key)])
               for key, value in text.items())
    reference.visual.trunk.patch_embed.backbone[0].conv.padding = (1, 1)
    for module in reference.visual.trunk.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    assert images_differ(apples, reference.encode_image, 112) < 1e-5


@pytest.mark.parametrize(("name", "layout", "fused"), [
    ("mobileclip_s0", "apple", False),
    ("mobileclip_s0", "apple", True),
    ("mobileclip_s0", "open_clip", False),
    ("mobileclip_b", "apple", False),
    ("mobileclip_b", "open_clip", False),
    ("mobileclip_b_lt", "timm", False),
    ("mobileclip2_s0", "open_clip", False),
    ("mobileclip2_s0", "open_clip", True),
    ("mobileclip2_s0", "timm", True),
])
def test_the_round_trip_is_exact_to_the_bit(name: str, layout: str, fused: bool,
                                            randomize: Randomize) -> None:
    model = corekit.create_model(name, vocab_size=100, context_length=20, fused=fused,
                                 **({"text_tower": None} if layout == "timm" else {}))
    randomize(model)
    weights = model.state_dict()
    out = CONVERTER.save(weights, name, layout)
    converted = CONVERTER.load(out, name)
    assert converted.weights.keys() == weights.keys()
    assert all(torch.equal(converted.weights[key], value) for key, value in weights.items())
    assert {value.dtype for value in converted.weights.values()} == {torch.float32, torch.int64}
    again = CONVERTER.save(converted.weights, name, layout)
    assert again.keys() == out.keys()
    assert all(torch.equal(again[key], value) for key, value in out.items())
    expected: dict[str, Any] = {"vocab_size": 100, "context_length": 20, **positions_of(name)}
    tokenizer: dict[str, Any] = {"name": "clip_bpe", "context_length": 20}
    if layout == "timm":
        expected, tokenizer = {"text_tower": None, **positions_of(name)}, {}
    assert converted.arguments == {**expected, **({"fused": True} if fused else {})}
    assert converted.tokenizer == tokenizer


def test_timms_fused_weights_load_folded_and_go_back(randomize: Randomize) -> None:
    reference = timm.create_model("fastvit_mci0", num_classes=512).eval()
    randomize(reference)
    reference = timm.utils.model.reparameterize_model(reference)
    state = {key: value.clone() for key, value in reference.state_dict().items()}
    ours, arguments = model_of(state, "mobileclip2_s0")
    assert arguments == {"fused": True, "text_tower": None}
    assert images_differ(ours, reference, 64) < 1e-5
    back = CONVERTER.save(ours.state_dict(), "mobileclip2_s0", "timm")
    assert not torch.equal(back["stages.0.blocks.0.mlp.conv.bn.weight"],
                           state["stages.0.blocks.0.mlp.conv.bn.weight"])
    reference.load_state_dict(back)
    assert images_differ(ours, reference, 64) < 1e-5


def test_what_does_not_fit_is_told() -> None:
    state = without_memory(CONVERTER.save(meta_state("mobileclip_s0"), "mobileclip_s0", "apple"))
    first, second = list(state)[1:3]
    with pytest.raises(CorekitError, match=rf"apple's layout, are not those of 'mobileclip_s0': 1 "
                                           rf"missing \({first}\)"):
        CONVERTER.load({key: value for key, value in state.items() if key != first},
                       "mobileclip_s0")
    with pytest.raises(CorekitError, match=r"1 left over \(image_encoder.more\)"):
        CONVERTER.load({**state, "image_encoder.more": torch.zeros(2)}, "mobileclip_s0")
    with pytest.raises(CorekitError, match=rf"1 of another shape \({first} is \[2\] instead of "
                                           rf"\[64, 3, 3, 3\]\)"):
        CONVERTER.load({**state, first: torch.zeros(2)}, "mobileclip_s0")
    with pytest.raises(CorekitError, match=r"are not those of 'mobileclip_s1': \d+ missing"):
        CONVERTER.load(state, "mobileclip_s1")
    assert CONVERTER.detect({**state, second: torch.zeros(2)}) == []
    weights = corekit.create_model("mobileclip2_s0", text_tower=None).state_dict()
    weights["image_tower.head.fc.bias"][3] = 0.5
    with pytest.raises(CorekitError, match="no bias of the image head"):
        CONVERTER.save(weights, "mobileclip2_s0", "apple")


def test_missing_counters_are_zero_and_said() -> None:
    state = without_memory(CONVERTER.save(meta_state("mobileclip_b"), "mobileclip_b", "apple"))
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    assert len(counters) == 2
    for key in counters:
        del state[key]
    converted = CONVERTER.load(state, "mobileclip_b")
    assert converted.weights["image_tower.patch_embed.backbone.1.bn.num_batches_tracked"].equal(
        torch.tensor(0))
    assert converted.notes[0] == "2 counters of batch norms are not in the file and start at 0"


def test_half_precision_becomes_float32() -> None:
    state = CONVERTER.save(meta_state("mobileclip_b"), "mobileclip_b", "timm")
    value = torch.tensor(1 / 3, dtype=torch.bfloat16)
    converted = CONVERTER.load(
        {
            key: value.expand(each.shape) if each.is_floating_point() else torch.tensor(7)
            for key, each in state.items()
        }, "mobileclip_b")
    assert {each.dtype for each in converted.weights.values()} == {torch.float32, torch.int64}
    assert converted.weights["image_tower.cls_token"][0, 0, 0] == value.float()


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("theirs", OPEN_CLIP)
def test_preprocessing_is_open_clips_for_its_weights(theirs: str) -> None:
    wanted = next(iter(_PRETRAINED[theirs].values()))
    size = open_clip.get_model_config(theirs)["vision_cfg"]["image_size"]
    name = theirs.lower().replace("-l-14", "-l14").replace("-", "_")
    assert PREPROCESS[name] == Preprocess(size, wanted["interpolation"], wanted["mean"],
                                          wanted["std"])
    assert (wanted["mean"] == CLIP_MEAN) == (wanted["std"] == CLIP_STD)


@pytest.mark.parametrize("recipe", recipe_names())
def test_recipes_prepare_pictures_as_the_weights_want(recipe: str) -> None:
    config = compose(f"+recipe={recipe}")
    if config["model"]["name"] in PREPROCESS:
        assert Preprocess(**config["data"]["preprocess"]) == PREPROCESS[config["model"]["name"]]
