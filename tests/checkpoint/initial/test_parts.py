"""Parts start from weights of their own places, whatever a file holds beside them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from corekit import CorekitError
from corekit.checkpoint.initial.init_from import check_parts, start_parts
from corekit.recipes.compose import compose
from corekit.recipes.schema import InitPartConfig


class Adapted(nn.Module):
    """A linear layer as peft wraps it."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer, self.lora_A = nn.Linear(3, 3), nn.ModuleDict({"default": nn.Linear(3, 1)})


class Language(nn.Module):
    """A language model whose embedding is its head's weight too."""

    def __init__(self, lora: bool = False, tied: bool = True) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        self.layer = Adapted() if lora else nn.Linear(3, 3)
        if tied:
            self.head.weight = self.embed.weight


class Model(nn.Module):
    """An encoder, a connector and a language model."""

    def __init__(self, lora: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.connector = nn.Linear(3, 3)
        self.language_model = Language(lora)


def state_of(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, InitPartConfig]:
    """A run of pre-training with more than the encoder, and a folder of two files with an index."""
    torch.manual_seed(1)
    there = Model()
    (tmp_path / "run/model").mkdir(parents=True)
    save_file({**state_of(there.encoder, "encoder."), "decoder.weight": torch.zeros(2),
               "1.weight": torch.zeros(7)}, tmp_path / "run/model/model.safetensors")
    language = state_of(there.language_model)
    del language["head.weight"]
    folder = tmp_path / "language"
    folder.mkdir()
    index = {name: f"{number}.safetensors" for number, name in enumerate(language)}
    for name, file in index.items():
        save_file({name: language[name].bfloat16()}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return {"encoder": InitPartConfig(f"{tmp_path}/run"),
            "language_model": InitPartConfig(str(folder))}


@pytest.mark.parametrize("lora", [False, True])
def test_parts_get_what_is_theirs_and_the_others_stay(places: dict[str, InitPartConfig],
                                                      tmp_path: Path, lora: bool) -> None:
    torch.manual_seed(1)
    there = Model()
    with torch.device("meta"):
        check_parts(Model(lora), places)
    here = Model(lora)
    before = state_of(here)
    file = tmp_path / "run/model/model.safetensors"
    assert start_parts(here, places) == [
        f"encoder starts from encoder.* of {file}; 1, decoder of it is left"]
    assert torch.equal(here.encoder[0].weight, there.encoder[0].weight)
    assert torch.equal(here.connector.weight, before["connector.weight"])
    layer = here.language_model.layer
    weight = layer.base_layer.weight if isinstance(layer, Adapted) else layer.weight
    assert torch.equal(weight, there.language_model.layer.weight.bfloat16().float())
    assert torch.equal(here.language_model.head.weight,
                       there.language_model.embed.weight.bfloat16().float())
    added = "language_model.layer.lora_A.default.weight"
    assert not lora or torch.equal(here.state_dict()[added], before[added])


def test_a_part_fits_whole_or_nothing_is_changed(places: dict[str, InitPartConfig],
                                                 tmp_path: Path) -> None:
    here = Model()
    before = state_of(here)
    save_file({**state_of(Language(tied=False)), "more": torch.zeros(2)},
              tmp_path / "apart.safetensors")
    apart = InitPartConfig(f"{tmp_path}/apart.safetensors", exclude=["more"])
    for language, message in (
            (apart, "1 tensors are one in the model and differ in the file: head.weight"),
            (InitPartConfig(apart.path, ["more", "head"]), ""),
            (InitPartConfig(apart.path, ["head"]),
             r"^init.parts.language_model.path=.* 1 tensors of the file are not in the model: more"
             r".*init.parts.language_model.exclude.* init.parts.language_model.rename$"),
            (InitPartConfig(apart.path, ["mroe"]), "init.parts.language_model.exclude: 'mroe' fits "
                                                   r"no name \(did you mean 'more'"),
            (InitPartConfig(f"{tmp_path}/nowhere"), "init.parts.language_model.path: .*/nowhere "
                                                    "does not exist")):
        if message:
            with pytest.raises(CorekitError, match=message):
                start_parts(here, {**places, "language_model": language})
            assert all(map(torch.equal, before.values(), here.state_dict().values()))
        else:
            start_parts(here, {**places, "language_model": language})
            here = Model()
            before = state_of(here)
    (tmp_path / "language/1.safetensors").unlink()
    with pytest.raises(CorekitError, match="names 1.safetensors, which is not there: fetch"):
        check_parts(here, places)


def test_a_part_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(CorekitError, match=r"init.parts.encodr: the model has no part 'encodr' "
                                           r"\(did you mean 'encoder'\?\); it is made of encoder, "
                                           r"connector, language_model"):
        check_parts(Model(), {"encodr": InitPartConfig("x")})


def test_places_of_parts_are_typed_as_keys() -> None:
    recipe = "+recipe=mobileclip/quickstart"
    config = compose(recipe, "init.parts.image_tower.encoder.path=runs/a",
                     "init.parts.text_tower.path=b", "init.parts.text_tower.exclude=[head]",
                     "init.parts.text_tower.rename={x.:y.}")
    assert config.init.parts == {"image_tower.encoder": InitPartConfig("runs/a"),
                                 "text_tower": InitPartConfig("b", ["head"], {"x.": "y."})}
    assert config.to_plain()["init"]["parts"]["text_tower"] == {
        "path": "b", "exclude": ["head"], "rename": {"x.": "y."}}
    for words, message in (
            (["init.parts.encoder.exclude=[x]"], "init.parts.encoder.* needs a path: "
                                                 "init.parts.encoder.path=RUN"),
            (["init.parts.encoder=runs/x"], "init.parts.encoder.* needs a path"),
            (["init.parts.encoder.path=x", "init.parts.encoder.exlude=[x]"],
             r"'init.parts.encoder.exlude'.* is not a key of a part \(did you mean 'exclude'\?\)"),
            (["init.parts.encoder.path=x", "init.parts.encoder.exclude=x"],
             r"init.parts.encoder.exclude.* takes list\[str\], not 'x'"),
            (["init.parts.encoder.path=x", "init.path=y"],
             "init.parts.* names the weights of each part, and init.path.* is of the whole model")):
        with pytest.raises(CorekitError, match=message):
            compose(recipe, *words)


def test_a_folder_of_transformers_fits_a_language_model_with_adapters(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from transformers import AutoConfig, AutoModelForCausalLM

    from corekit.models.multimodal.language_model import add_lora, language_model
    from tests.language_models import small_llama

    there = AutoModelForCausalLM.from_config(AutoConfig.for_model(**small_llama()))
    there.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len([*tmp_path.glob("*.safetensors")]) > 1
    here = nn.ModuleDict({"language_model": language_model(small_llama())})
    add_lora(here["language_model"], "language_model", 2, None, 0.0, None)
    start_parts(here, {"language_model": InitPartConfig(str(tmp_path))})
    ids = torch.arange(12)[None]
    assert torch.equal(here["language_model"](ids).logits, there(ids).logits)
