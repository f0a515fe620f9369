"""Wiring by name: gaps are said in one sentence, renaming works, defaults are told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from corekit_projects.mobileclip.reinforced import Reinforced
from torch import Tensor, nn

from corekit import CorekitError
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.data.tokenizers.sentencepiece import SentencePiece
from corekit.recipes.check import check_names
from corekit.wiring import Wiring, check, rename_outputs
from tests.conftest import TINY
from tests.data.tokenizers.unigram_file import write_unigram
from tests.plain import compose, verified


class Foreign(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x * 2


def test_gaps_name_who_needs_what_and_who_gives_what() -> None:
    def loss(image_features: Tensor, teacher_image_features: Tensor) -> None: ...

    with pytest.raises(CorekitError) as error:
        check(Wiring.of("loss `reinforced`", loss),
              {"dataset `webdataset`": ["text", "image", "key"], "model `m`": ["image_features"]})
    assert str(error.value) == ("loss `reinforced` needs `teacher_image_features`; dataset "
                                "`webdataset` gives image, key, "
                                "text; model `m` gives image_features")


def test_models_of_other_libraries_are_wired_by_renaming() -> None:
    model = Foreign()
    wiring = Wiring.of("model", model, model.forward, {"x": "image"})
    assert wiring.missing(["image"]) == []
    assert wiring.defaulted(["image"]) == ["mask"]
    outputs = rename_outputs(wiring({"image": torch.ones(1), "text": 3}), "logits")
    assert outputs == {"logits": torch.tensor([2.0])}
    assert rename_outputs({"a": 1, "b": 2}, {"a": "logits"}) == {"logits": 1, "b": 2}
    with pytest.raises(CorekitError, match="has no input 'y'; its inputs are x, mask"):
        Wiring.of("model", model, model.forward, {"y": "image"})
    with pytest.raises(CorekitError, match=r"model\.outputs=logits"):
        rename_outputs(torch.ones(1), None)


class Pairs:
    fields = ("image", "text")


def recipe(**changes: Any) -> dict[str, Any]:
    data = {
        "dataset": {"name": "openmoji"}, "preprocess": {
            "size": 64, "interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]
        }, "transform": {}, "tokenizer": {"name": "clip_bpe", "context_length": 32}, "streams": 2
    }
    return {
        "seed": 0, "data": data, "sampler": {"name": "fixed_size"},
        "engine": {"batch_size": 4, "steps": 3}, "model": {"name": "mobileclip_nano"},
        "loss": {"name": "contrastive"}, "init": {"head": None}, **changes
    }


def test_a_recipe_is_wired_on_meta_tensors() -> None:
    defaults = verified(recipe(), Pairs(), None)  # type: ignore[arg-type]
    assert defaults == ["model `mobileclip_nano`: `synthetic_text` left at its default"]


def test_captions_of_another_length_than_the_text_towers_are_refused() -> None:
    with pytest.raises(CorekitError, match="captions of 77 tokens, but the model's text tower is "
                                           "made for 32"):
        verified(recipe(), Pairs(), ClipTokenizer(77))  # type: ignore[arg-type]
    assert verified(recipe(), Pairs(), ClipTokenizer(32))  # type: ignore[arg-type]


def test_a_frozen_model_gives_what_a_loss_needs() -> None:
    frozen = {
        "teacher": {
            "name": "mobileclip_nano", "outputs": {"image_features": "teacher_image_features"}
        }
    }
    loss = {"name": "contrastive", "inputs": {"text_features": "teacher_image_features"}}
    verified(recipe(frozen=frozen, loss=loss), Pairs(), None)  # type: ignore[arg-type]
    with pytest.raises(CorekitError, match="needs `teacher_image_features`"):
        verified(recipe(loss=loss), Pairs(), None)  # type: ignore[arg-type]


def test_a_dataset_without_captions_is_noticed_before_anything_is_read() -> None:
    class Images:
        fields = ("image",)

    with pytest.raises(CorekitError, match="model `mobileclip_nano` needs `text`; dataset "
                                           "`openmoji` gives image, key"):
        verified(recipe(), Images(), None)  # type: ignore[arg-type]


def test_several_losses_are_named() -> None:
    compose(*TINY)  # what is checked is a recipe of training, whatever was composed before
    node = {"one": {"name": "contrastive", "weight": 0.5}, "two": {"name": "contrastiv"}}
    whole = {**recipe(loss=node), "sampler": {}, "optimizer": {}, "schedule": {}}
    with pytest.raises(CorekitError, match=r"loss\.two\.name.*did you mean 'contrastive'"):
        check_names(whole)


def test_captions_of_another_length_than_a_frozen_models_are_refused() -> None:
    frozen = {"teacher": {"name": "mobileclip_nano", "context_length": 77}}
    with pytest.raises(CorekitError, match=r"the frozen model's text tower is made for 77: set "
                                           r"frozen\.teacher\."):
        verified(recipe(frozen=frozen), Pairs(), ClipTokenizer(32))  # type: ignore[arg-type]


def test_features_of_another_picture_than_the_model_sees_are_refused() -> None:
    def told(transform: str, loss: str = "reinforced_contrastive", **more: Any) -> list[str]:
        changed = recipe(loss={"name": loss, **more}, model={"name": "mobileclip_nano"})
        changed["data"] |= {"dataset": {"name": "reinforced"}, "transform": {"name": transform}}
        return verified(changed, Reinforced(None), ClipTokenizer(32))

    teachers = {"teacher_widths": [6], "teacher_logit_scales": [10.0]}
    assert told("replay", **teachers) == []
    assert told("random_resized_crop", "contrastive") == []  # nothing is asked of the teachers
    with pytest.raises(CorekitError, match="`teacher_image_features` of dataset `reinforced` "
                                           "belongs to its `augmentation`, "
                                           "which transform `random_resized_crop` does not read"):
        told("random_resized_crop", **teachers)


def test_a_model_with_a_head_too_wide_to_hold_is_wired_to_ragged_labels() -> None:
    class Labelled:
        fields = ("image", "label_rows")

    node = {
        "model": {"name": "catlip_vit_b16", "width_divisor": 12},
        "loss": {"name": "binary_cross_entropy"}
    }
    assert verified(recipe(**node), Labelled(), None) == []  # type: ignore[arg-type]
    with pytest.raises(CorekitError, match="loss `binary_cross_entropy` needs `label_rows`, "
                                           "`label_offsets`; dataset"):
        verified(recipe(**node), Pairs(), None)  # type: ignore[arg-type]


def captioned(tokenizer: Any, loss: dict[str, Any]) -> list[str]:
    model = {
        "name": "aimv2_pretrain", "width_divisor": 16, "depth_divisor": 12, "context_length": 8,
        "vocab_size": 100
    }
    return verified(recipe(model=model, loss=loss), Pairs(),
                        tokenizer)  # type: ignore[arg-type]


def test_a_tokenizer_that_the_model_or_a_loss_does_not_know_is_refused(tmp_path: Path) -> None:
    """Before it, the model would look up rows that it has not, or learn padding, and say
    nothing.
    """
    known = SentencePiece(write_unigram(tmp_path / "letters.model"), 8)
    assert captioned(known, {"name": "next_token", "end_token": 1}) == []
    assert captioned(SentencePiece(None, 8), {"name": "next_token"}) == []
    with pytest.raises(CorekitError, match=r"has 49,408 token ids, but the model is made for 100: "
                                           r"set model\.vocab_size=49408"):
        captioned(ClipTokenizer(8), {"name": "next_token"})
    for loss, key in (({"name": "next_token"}, "loss"), ({"words": {"name": "next_token"}},
                                                         r"loss\.words")):
        with pytest.raises(CorekitError, match=f"with token 1, but .* takes 49407 for their end: "
                                               f"set {key}.end_token=1"):
            captioned(known, loss)
    pair: dict[str, Any] = {
        "name": "aimv2_large_lit", "width_divisor": 8, "depth_divisor": 12, "context_length": 8
    }
    verified(recipe(model=pair), Pairs(), ClipTokenizer(8))  # type: ignore[arg-type]
    with pytest.raises(CorekitError, match="ends captions with token 1023, but the model reads "
                                           "them at 49407"):
        verified(recipe(model=pair), Pairs(), ClipTokenizer(8, 1024))  # type: ignore[arg-type]
