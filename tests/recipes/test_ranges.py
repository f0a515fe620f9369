"""Numbers out of range are refused while composing: the key, the range, and what null means."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from torch import nn

from corekit import CorekitError, registry
from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.compose import compose
from corekit.recipes.ranges import Range
from corekit.recipes.schema import RunConfig
from tests.evaluation.known import Numbered

FREE = {"seed"}  # any whole number


@pytest.mark.parametrize(("word", "sentence"), [
    ("engine.steps=0", "engine.steps=0 must be at least 1"),
    ("checkpoint.every_steps=0", "at least 1; checkpoint.every_steps=null: never"),
    ("log.every_steps=-1", "log.every_steps=-1 must be at least 1"),
    ("data.workers=-1", "data.workers=-1 must be at least 0"),
    ("data.window=0", "data.window=0 must be at least 1"),
    ("data.max_bad_fraction=1.5", "must be between 0 and 1"),
    ("data.max_bad_fraction=nan", "must be between 0 and 1"),
    ("engine.grad_clip=0", "must be greater than 0"),
    ("engine.ema_decay=2", "engine.ema_decay=null: without averaging"),
    ("data.preprocess.size=0", "data.preprocess.size=0 must be at least 1"),
    ("data.transform.scale=[nan,1]", "data.transform.scale=nan must be a finite number"),
    ("optimizer.weight_decay=inf", "optimizer.weight_decay=inf must be a finite number"),
    ("evaluators.zero_shot.max_bad_fraction=2", "max_bad_fraction=2 must be between 0 and 1"),
    ("evaluators.zero_shot.every_steps=0", "evaluators.zero_shot.every_steps=0 must be at least 1"),
])
def test_numbers_out_of_range_are_refused(word: str, sentence: str) -> None:
    with pytest.raises(CorekitError, match=sentence.replace("(", r"\(")):
        compose("+recipe=mobileclip/quickstart", word)


@pytest.mark.parametrize(("kind", "name", "arguments"), [
    ("transform", "random_resized_crop", {"scale": [0.0, 1.0]}),
    ("transform", "random_resized_crop", {"scale": [1.0, 0.5]}),
    ("transform", "rand_augment", {"scale": [0.5, 1.5]}),
    ("transform", "rand_augment", {"ratio": [-1.0, 1.0]}),
    ("transform", "fit_area", {"flip": 1.5}),
    ("optimizer", "adamw", {"learning_rate": 0.1, "weight_decay": -0.1}),
    ("optimizer", "adamw_decoupled", {"learning_rate": 0.1, "weight_decay": -0.1}),
    ("optimizer", "adamw", {"learning_rate": 0.1, "layer_decay": -1.0}),
    ("schedule", "cosine", {"final_fraction": -0.1}), ("schedule", "cosine", {"warmup_steps": -1}),
    ("loss", "contrastive", {"block": 0}), ("loss", "token_distance", {"beta": -1.0}),
    ("evaluator", "zero_shot", {"batch_size": 0, "class_names": ["a", "b"]}),
    ("evaluator", "classification", {"batch_size": -1}),
    ("evaluator", "attentive_probe", {"final_learning_rate": -1.0}),
])
def test_so_are_those_of_entries(kind: str, name: str, arguments: dict[str, Any]) -> None:
    preprocess = Preprocess(14, "bilinear", (0, 0, 0), (1, 1, 1))
    source = Numbered([1, 2], label=[0, 1])
    with pytest.raises(CorekitError, match=list(arguments)[-1 if kind == "optimizer" else 0]):
        registry.build(kind, name, arguments, {
            "preprocess": preprocess, "model": nn.Linear(2, 2), "steps": 10, "dataset": source,
            "train_dataset": source})


def test_every_number_of_a_closed_section_has_a_range() -> None:
    def check(cls: type, prefix: str = "") -> None:
        hints = get_type_hints(cls, include_extras=True)
        for item in fields(cls):
            hint, key = hints[item.name], f"{prefix}{item.name}"
            if is_dataclass(hint) and isinstance(hint, type):
                check(hint, f"{key}.")
            elif hasattr(hint, "__metadata__"):
                assert isinstance(get_args(hint)[1], Range)
            elif get_origin(hint) is not list and {int, float} & {hint, *get_args(hint)}:
                assert key in FREE, key

    check(RunConfig)
