"""Recipes that came with weights are data: nothing in them is resolved, and no place is taken."""

from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.recipes.saved import load_config, load_config_of_weights, load_plain, schema_of_saved

MODEL = "model: {name: mobileclip_nano, context_length: 77}\n"
DRAWN = "evaluators: {zero_shot: {name: zero_shot, dataset: {name: openmoji, samples: 4}}}\n"
THEIRS = "data: {root: 'http://their.server/set', tokenizer: {name: clip_bpe}}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize("value", ["ftp://host/${oc.env:SECRET}", "${oc.decode:x}", "${hydra:job}",
                                   "${model.name}", "${anything:}", "\\${oc.env:SECRET}"])
def test_nothing_is_resolved(recipe: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of-this-machine")
    recipe.write_text(f"{MODEL}data: {{root: '{value}'}}\n")
    with pytest.raises(CorekitError, match="is not resolved") as refused:
        schema_of_saved(recipe, "theirs", own_evaluators=True, is_own_run=True)
    assert "of-this-machine" not in str(refused.value)


@pytest.mark.parametrize("content", [
    b"a: &a [1]\nb: *a\n", b"- model\n", b"model: {\n", b"model: \xff\n"])
def test_what_is_no_recipe_is_a_sentence(recipe: Path, content: bytes) -> None:
    recipe.write_bytes(content)
    with pytest.raises(CorekitError, match=r"recipe\.yaml"):
        load_plain(recipe)


def test_of_weights_the_model_and_its_preprocessing_count_alone(recipe: Path) -> None:
    recipe.write_text(MODEL + "seed: 3\ninit: {path: /x}\nrun_dir: /y\n" + THEIRS + DRAWN)
    config = load_config_of_weights(recipe)
    assert (config.model.arguments, config.seed) == ({"context_length": 77}, 3)
    assert config.data.tokenizer is not None
    assert (config.data.root, config.init.path, config.run_dir) == (None, None, None)


@pytest.mark.parametrize("text", [
    "model: {name: online_teachers, paths: [/their/run]}\n",
    "model: {name: a, weights: 'hf-hub:their/model'}\n",
    "model: {name: a, weights: ~/x}\n",
    MODEL + "data: {tokenizer: {name: a, path: 'http://their.server/x'}}\n"])
def test_a_model_that_names_a_place_is_refused(recipe: Path, text: str) -> None:
    recipe.write_text(text)
    with pytest.raises(CorekitError, match="names a place, (model|data)"):
        load_config_of_weights(recipe)


def test_a_vocabulary_may_lie_on_this_machine(recipe: Path) -> None:
    recipe.write_text(MODEL + "data: {tokenizer: {name: sentencepiece, path: /data/a.model}}\n")
    tokenizer = load_config_of_weights(recipe).data.tokenizer
    assert tokenizer is not None
    assert tokenizer.arguments["path"] == "/data/a.model"


def test_only_ones_own_run_says_where_its_data_lies(recipe: Path) -> None:
    recipe.write_text(MODEL + THEIRS + DRAWN)
    own = schema_of_saved(recipe, "runs/mine", own_evaluators=True, is_own_run=True)
    assert own.data.root == "http://their.server/set"
    other = schema_of_saved(recipe, "theirs", own_evaluators=True, is_own_run=False)
    assert other.data.root is None
    assert other.evaluators.zero_shot.dataset.samples == 4, "it names no place"


@pytest.mark.parametrize("root", ["http://their.server", "/etc", "~", "folder", "a::b"])
def test_evaluators_that_name_a_place_are_for_the_person_who_types(recipe: Path,
                                                                  root: str) -> None:
    recipe.write_text(MODEL + f"evaluators: {{a: {{name: b, dataset: {{root: '{root}'}}}}}}\n")
    with pytest.raises(CorekitError, match=r"for you to name: type \+evaluation=OPTION data.root="):
        schema_of_saved(recipe, "theirs", own_evaluators=True, is_own_run=False)
    typed = schema_of_saved(recipe, "theirs", own_evaluators=False, is_own_run=False)
    assert not typed.evaluators

@pytest.mark.parametrize("content", [b"", b"[]", b"hello: 1\n", b"model: [", b"a: \xff\n"])
def test_what_is_no_saved_recipe_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(CorekitError, match=r"recipe.yaml (cannot be read|is no recipe)") as caught:
        load_config(tmp_path / "recipe.yaml")
    assert "\n" not in str(caught.value)
