"""After pre-training: larger pictures, a text tower beside the locked encoder, another encoder that
learns its tokens.
"""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from corekit_projects.aimv2.distill import TokenDistance, TokenTeacher
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor

import corekit
from corekit import CorekitError
from corekit.checkpoint.convert import convert_out
from corekit.checkpoint.initial.init_from import start_from
from corekit.data.transforms.preprocess import Preprocess
from tests.conftest import losses
from tests.plain import compose, train

SMALL = {"width_divisor": 32, "depth_divisor": 12}
LENGTH, WIDTH = 12, 32
PICTURES = {"name": "openmoji", "samples": 32, "concepts": 10, "objects": [1, 1]}
VALIDATION = {**PICTURES, "split": "validation", "samples": 10}
RENAME = {name: f"encoder.{name}" for name in ("patch_embed.", "pos_embed", "blocks.", "norm.")}

pytestmark = pytest.mark.usefixtures("determinism_restored")


def tiny(name: str, folder: Path, **init: Any) -> dict[str, Any]:
    """The recipe with narrow models and drawn pictures."""
    recipe = compose(f"+recipe=aimv2/{name}", "data.tokenizer.name=clip_bpe")
    recipe.update(run_dir=str(folder / name), evaluators={})
    recipe["model"].update(SMALL)
    if "context_length" in recipe["model"]:
        recipe["model"].update(context_length=LENGTH, vocab_size=49408)
        recipe["data"]["tokenizer"] = {"name": "clip_bpe", "context_length": LENGTH}
    recipe["data"].update(dataset=dict(PICTURES), workers=0, streams=2, window=4)
    if "next_token" in recipe["loss"]:
        recipe["loss"]["next_token"]["end_token"] = 49407
    recipe["engine"].update(steps=2, batch_size=4, micro_batch=2, device="cpu", precision="fp32")
    recipe["schedule"]["warmup_steps"] = 1
    recipe["log"]["every_steps"] = 1
    recipe["checkpoint"].update(every_steps=None, keep_last=9, background=False)
    recipe["init"].update(init)
    return recipe


def trained(recipe: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that a run ends with."""
    train(recipe)
    return load_file(Path(recipe["run_dir"]) / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs are; ``large``, the pre-training, is there."""
    runs = tmp_path_factory.mktemp("runs")
    trained(tiny("large", runs))
    return runs


def encoder(name: str, seed: int = 0, **arguments: int) -> Any:
    torch.manual_seed(seed)
    return corekit.create_model(name, **{**SMALL, **arguments}).eval()


@pytest.mark.parametrize(("before", "after"), [(224, 336), (224, 448), (448, 224)])
@torch.no_grad()
def test_an_encoder_starts_at_another_size_as_it_saw_that_size_before(tmp_path: Path, before: int,
                                                                      after: int) -> None:
    path = tmp_path / "there.safetensors"
    old, new = encoder(f"aimv2_large_{before}"), encoder(f"aimv2_large_{after}", 1)
    save_file(old.state_dict(), path)
    grid, other = before // 14, after // 14
    assert start_from(new, str(path), [], {}) == [
        f"pos_embed stretched from [1, {grid**2}, {WIDTH}], as it is in {path}, to [1, {other**2}, "
        f"{WIDTH}]"]
    # bicubic, antialiased
    expected = resample_abs_pos_embed(old.pos_embed, [other, other], num_prefix_tokens=0)
    assert torch.allclose(new.pos_embed, expected, atol=1e-6)
    image = torch.randn(1, 3, after, after)
    assert torch.equal(new(image)["tokens"], old(image)["tokens"])


def test_what_is_no_position_table_of_that_width_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "there.safetensors"
    save_file(encoder("aimv2_large_224", width_divisor=16).state_dict(), path)
    with pytest.raises(CorekitError, match=r"shapes differ: pos_embed is \[1, 256, 64\] there and "
                                           r"\[1, 576, 32\] here"):
        start_from(encoder("aimv2_large_336"), str(path), [], {})
    save_file({**encoder("aimv2_large_224").state_dict(), "pos_embed": torch.zeros(1, 257, WIDTH)},
              path)
    with pytest.raises(CorekitError, match=r"1 shapes differ: pos_embed is \[1, 257, 32\] there"):
        start_from(encoder("aimv2_large_336"), str(path), [], {})


def test_a_run_at_336_goes_on_from_one_at_224_and_stretches_once(folder: Path) -> None:
    recipe = tiny("large_336", folder, path=str(folder / "large"))
    assert recipe["data"]["preprocess"]["size"] == 336
    recipe["checkpoint"]["every_steps"] = 1
    recipe["engine"].update(batch_size=2, micro_batch=1)
    recipe["evaluators"] = {
        "knn": {
            "name": "knn", "k": 5, "train_dataset": {**PICTURES, "samples": 10},
            "dataset": VALIDATION
        }
    }
    weights, place = trained(recipe), Path(recipe["run_dir"])
    assert weights["encoder.pos_embed"].shape == (1, 576, WIDTH)
    message = (f"encoder.pos_embed stretched from [1, 256, {WIDTH}], as it is in "
               f"{folder}/large/model/model.safetensors")
    assert (place / "log.txt").read_text().count(message) == 1
    whole = (place / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(place / "checkpoints" / "step_00000002")
    again = trained(recipe)
    assert (place / "log.txt").read_text().count("stretched") == 1
    for before, after in zip(whole, (place / "metrics.jsonl").read_text().splitlines(),
                             strict=True):
        assert json.loads(before)["loss"] == json.loads(after)["loss"]
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    model, preprocess, _ = corekit.load(place)
    assert preprocess.size == 336
    assert "top1" in json.loads(
        (place /
         "evaluations.jsonl").read_text().splitlines()[-1])["metrics"], "features of the run"
    assert model.encode_image(torch.zeros(1, 3, 336, 336)).shape == (1, WIDTH)


def test_an_encoder_alone_is_adapted_with_a_new_decoder(tmp_path: Path) -> None:
    recipe, path = tiny("large_336", tmp_path), tmp_path / "encoder.safetensors"
    save_file(encoder("aimv2_large_224").state_dict(), path)
    model = corekit.create_model(**{**recipe["model"], "width_divisor": 32})
    assert recipe["init"]["rename"] == RENAME
    assert len(start_from(model, str(path), ["decoder"], recipe["init"]["rename"])) == 1


def test_native_resolution_goes_on_without_the_table(folder: Path) -> None:
    recipe = tiny("native", folder, path=str(folder / "large"))
    recipe["data"]["preprocess"]["size"] = 56
    recipe["sampler"]["exponents"] = [1.0, 4.0]
    recipe["engine"]["steps"] = 4
    weights = trained(recipe)
    assert not any("pos_embed" in name for name in weights)
    lines = [
        json.loads(line)
        for line in (Path(recipe["run_dir"]) / "metrics.jsonl").read_text().splitlines()
    ]
    assert len({after["samples"] - before["samples"] for before, after in pairwise(lines)}) > 1


def test_the_text_tower_is_tuned_to_the_locked_encoder(folder: Path) -> None:
    recipe = tiny("lit", folder, path=str(folder / "large"))
    recipe["evaluators"] = {"zero_shot": {"name": "zero_shot", "dataset": VALIDATION}}
    recipe["checkpoint"]["every_steps"] = 1
    before, after = load_file(folder / "large" / "model" / "model.safetensors"), trained(recipe)
    locked = {
        name.removeprefix("image_tower."): value for name, value in after.items()
        if "tower.encoder." in name
    }
    assert locked.keys() == {name for name in before if name.startswith("encoder.")}
    assert all(torch.equal(value, before[name]) for name, value in locked.items())
    start = load_file(
        Path(recipe["run_dir"]) / "checkpoints" / "step_00000001" / "model" / "model.safetensors")
    still = {name for name, value in start.items() if torch.equal(value, after[name])}
    assert still == {name for name in start if "tower.encoder." in name}, "all others are trained"
    line = json.loads((Path(recipe["run_dir"]) / "evaluations.jsonl").read_text().splitlines()[-1])
    assert line["evaluated"] == 10
    assert 0 <= line["metrics"]["top1"] <= 1


def test_a_student_learns_the_tokens_of_a_trained_encoder(folder: Path) -> None:
    recipe = tiny("distill", folder)
    recipe["model"].update(encoder="aimv2_base_224", teacher_width=WIDTH)
    recipe["frozen"]["teacher"]["path"] = str(folder / "large")
    recipe["data"]["preprocess"]["size"] = 112
    recipe["optimizer"]["learning_rate"] = 5e-3
    recipe["engine"]["steps"] = 8
    weights = trained(recipe)
    assert not any("teacher" in name for name in weights)
    first, *_, last = losses(Path(recipe["run_dir"]))
    assert last < 0.9 * first
    student, _, _ = corekit.load(recipe["run_dir"])
    with torch.no_grad():
        pictures = torch.randn(2, 3, 112, 112)
        assert torch.equal(student.encode_tokens(pictures),
                           student.encoder(pictures)["tokens"]), "what a probe reads"
    pixels = Preprocess(224, "bicubic",
                        **{key: recipe["data"]["preprocess"][key] for key in ("mean", "std")})
    teacher, image = TokenTeacher(pixels, str(folder / "large")).eval(), torch.randn(1, 3, 224, 224)
    model, _, _ = corekit.load(folder / "large")
    with torch.no_grad():
        assert torch.equal(teacher(image)["teacher_tokens"], model.encoder(image)["tokens"])
    with pytest.raises(CorekitError, match=r"was trained with mean .* set data.preprocess.mean and "
                                           r"std to the teacher's"):
        TokenTeacher(Preprocess(224, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
                     str(folder / "large"))
    with pytest.raises(CorekitError, match="does not exist"):
        TokenTeacher(pixels, str(folder / "nobody"))


def test_the_distance_is_of_whitened_tokens() -> None:
    torch.manual_seed(0)
    predicted, true = torch.randn(
        2, 3, 5, dtype=torch.float64) * 2, torch.randn(2, 3, 5, dtype=torch.float64) * 7 + 3
    total = 0.0
    for sample in range(2):
        for token in range(3):
            row = true[sample, token]
            distance = (predicted[sample, token] - (row - row.mean()) /
                        (row.var(unbiased=False) + 1e-5).sqrt()).abs()
            total += float(torch.where(distance < 1.5, distance**2 / 3, distance - 0.75).mean()) / 3
    assert float(TokenDistance(1.5)(predicted, true)) == pytest.approx(total, rel=1e-12)
    with pytest.raises(CorekitError, match="the student says 3 tokens of width 5, the teacher 4 "
                                           "tokens of width 5"):
        TokenDistance()(predicted, F.pad(true, (0, 0, 0, 1)))


@pytest.mark.parametrize("layout", ["apple", "transformers", "timm"])
def test_what_a_run_trained_is_written_as_others_have_it(folder: Path, layout: str,
                                                         tmp_path: Path) -> None:
    from corekit_projects.aimv2.convert import AIMConverter

    name, _ = convert_out(folder / "large", tmp_path / "out.safetensors", layout)
    assert name == "aimv2_pretrain"
    model, _, _ = corekit.load(folder / "large")
    expected = AIMConverter().save(model.encoder.state_dict(), "aimv2_large_224", layout)
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in written.items())


def test_timm_has_no_encoder_without_a_table() -> None:
    from corekit_projects.aimv2.convert import AIMConverter

    with torch.device("meta"):
        state = corekit.create_model("aimv2_pretrain", encoder="aimv2_large_native").state_dict()
    assert "preprocessor.patchifier.proj.weight" in AIMConverter().save(
        state, "aimv2_pretrain", "apple")
    with pytest.raises(CorekitError, match="timm has no encoder without a position table"):
        AIMConverter().save(state, "aimv2_pretrain", "timm")
