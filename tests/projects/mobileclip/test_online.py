"""Online teachers see what they were trained for: their own size, normalisation and tokenizer."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from corekit_projects.mobileclip.online import OnlineTeachers
from torch import Tensor

import corekit
from corekit import CorekitError
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.schema import ModelConfig
from corekit.train.assemble import build_frozen
from tests.plain import model_of, verified

STUDENT = Preprocess(64, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
OTHERS = Preprocess(32, "bicubic", (0.48, 0.45, 0.4), (0.26, 0.25, 0.27))
CAPTIONS = ["one dog on the lawn", "two"]


def teacher(folder: Path, preprocess: Preprocess, width: int, tokens: int,
            tokenizer: bool = True) -> str:
    recipe: dict[str, Any] = {
        "model": {"name": "mobileclip_nano", "embed_dim": width,
                  "context_length": tokens}, "seed": width,
        "data": {"tokenizer": {"name": "clip_bpe", "context_length": tokens} if tokenizer else {}}
    }
    weights = model_of(recipe, "cpu").state_dict()
    save_model_folder(folder, {name: value.clone() for name, value in weights.items()}, recipe,
                      preprocess)
    return str(folder)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("teachers")
    return [teacher(folder / "alike", STUDENT, 8, 16), teacher(folder / "other", OTHERS, 12, 9)]


def alone(path: str, pixels: Tensor, captions: list[str]) -> tuple[Tensor, Tensor]:
    """What a model folder says of uint8 images of its own size, by itself."""
    model, preprocess, tokenize = corekit.load(path)
    with torch.no_grad():
        return (model.encode_image(preprocess.normalize(pixels), normalize=True),
                model.encode_text(tokenize(captions), normalize=True))


def test_every_teacher_says_what_it_says_alone(paths: list[str]) -> None:
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(0))
    teachers = {"teachers": ModelConfig("online_teachers", {"paths": paths})}
    frozen = build_frozen(teachers, STUDENT, torch.device("cpu"))[0]
    with torch.no_grad():
        outputs = frozen({
            "image": STUDENT.normalize(pixels), "caption": CAPTIONS,
            "synthetic_caption": CAPTIONS[::-1]
        })
    smaller = F.interpolate(pixels.float(), (32, 32), mode="bicubic", antialias=True).clamp(0, 255)
    first, second = alone(paths[0], pixels, CAPTIONS), alone(paths[1], smaller,
                                                             CAPTIONS)  # type: ignore[arg-type]
    assert outputs["teacher_image_features"].shape == (2, 20)
    for name, tower in (("teacher_image_features", 0), ("teacher_text_features", 1)):
        both = torch.cat([first[tower], second[tower]], 1)
        assert torch.allclose(outputs[name], both, atol=1e-6), name
    assert torch.allclose(outputs["teacher_synthetic_text_features"],
                          outputs["teacher_text_features"].flip(0), atol=1e-6)


def test_another_normalisation_alone_changes_no_pixel(paths: list[str]) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3 * 4).view(1, 3, 32, 32)
    student = Preprocess(32, "bilinear", (0.1, 0.5, 0.9), (0.7, 0.3, 0.11))
    with torch.no_grad():
        outputs = OnlineTeachers(paths[1:], student).eval()(student.normalize(pixels), ["a"])
    assert torch.equal(outputs["teacher_image_features"], alone(paths[1], pixels, ["a"])[0])


def test_images_of_another_size_than_the_students_are_resized_for_a_teacher_that_is_like_it(
        paths: list[str]) -> None:
    pixels = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8,
                           generator=torch.Generator().manual_seed(0))
    smaller = F.interpolate(pixels.float(), (64, 64), mode=STUDENT.interpolation, antialias=True)
    with torch.no_grad():
        outputs = OnlineTeachers(paths[:1], STUDENT).eval()(STUDENT.normalize(pixels), CAPTIONS)
    assert torch.allclose(outputs["teacher_image_features"],
                          alone(paths[0], smaller, CAPTIONS)[0], atol=1e-6)


def test_the_wiring_is_checked_without_weights(paths: list[str]) -> None:
    class Pairs:
        fields = ("image", "text", "synthetic_text")

    recipe: dict[str, Any] = {
        "model": {"name": "mobileclip_nano", "context_length": 16}, "seed": 0, "loss": {
            "name": "reinforced_contrastive", "teacher_widths": [8, 12],
            "teacher_logit_scales": [100.0, 70.0]
        }, "frozen": {"teachers": {"name": "online_teachers", "paths": paths}},
        "sampler": {"name": "fixed_size"}, "engine": {"batch_size": 4, "steps": 3}, "data": {
            "dataset": {"name": "pairs"}, "transform": {},
            "tokenizer": {"name": "clip_bpe", "context_length": 16}, "streams": 2, "preprocess": {
                "size": 64, "interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]
            }
        }
    }
    assert verified(recipe, Pairs(), ClipTokenizer(16)) == []  # type: ignore[arg-type]
    with pytest.raises(CorekitError,
                       match="needs `teacher_image_features`, `teacher_text_features`"):
        verified({**recipe, "frozen": {}}, Pairs(), ClipTokenizer(16))  # type: ignore[arg-type]


def test_what_cannot_teach_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorekitError, match="does not exist"):
        OnlineTeachers([str(tmp_path / "nothing")], STUDENT)
    with pytest.raises(CorekitError, match="at least one"):
        OnlineTeachers([], STUDENT)
    with pytest.raises(CorekitError, match="has no tokenizer in its recipe"):
        OnlineTeachers([teacher(tmp_path / "mute", STUDENT, 8, 16, tokenizer=False)], STUDENT)
