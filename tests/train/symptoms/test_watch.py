"""Faults planted in short runs: each is named, once, and sound runs are left in peace."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from corekit import registry
from corekit.data.datasets.base import Sample
from corekit.errors import CorekitError
from corekit.models.clip import CLIP
from corekit.recipes.compose import compose
from corekit.recipes.schema import EntryConfig, LossConfig, ModelConfig, RunConfig
from corekit.seeds import derive_seed
from corekit.train.run import run
from tests.conftest import records

KINDS = 16  # of colours, and of their names
Change = Callable[[Sample], Sample]
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
WORDS = ("+recipe=mobileclip/quickstart", "~evaluators", "data.workers=0", "data.streams=32",
         "data.preprocess.size=16", "data.tokenizer.vocab_size=1000", "engine.batch_size=32",
         "engine.micro_batch=32", "schedule=constant", "schedule.warmup_steps=1",
         "optimizer.learning_rate=0.01", "checkpoint.every_steps=null", "log.every_steps=50",
         "data.tokenizer.context_length=16", "optimizer.no_decay=[biases]")


@dataclass
class Colours:
    """Pictures of a colour with some noise, its name, and its number."""

    change: Change
    fields = ("image", "text", "label")
    shard_sizes = np.array([100_000])
    fingerprint = "colours"

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def decode(self, handle: int) -> Sample:
        kind, draw = handle % KINDS, np.random.default_rng(handle)
        colour = np.random.default_rng(kind).integers(40, 216, 3)
        pixels = (colour + draw.integers(-40, 40, (16, 16, 3))).astype(np.uint8)
        return self.change({"key": str(handle), "image": Image.fromarray(pixels),
                            "text": f"colour {kind} of things", "label": kind})


class BagOfTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.EmbeddingBag(1000, 32)
        self.head = nn.Linear(32, 16)

    def forward(self, text: Tensor) -> Tensor:
        features: Tensor = self.head(self.token_embedding(text))
        return features


class Detached(BagOfTokens):
    def forward(self, text: Tensor) -> Tensor:
        return super().forward(text).detach()


def image_tower(outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 64), nn.GELU(),
                         nn.Linear(64, outputs))


def tiny_clip(text_tower: str = "", init_logit_scale: float = 10.0) -> nn.Module:
    """A CLIP of a few thousand parameters."""
    text = Detached() if text_tower == "detached" else BagOfTokens()
    return CLIP(image_tower(16), text, init_logit_scale)


class TinyClassifier(nn.Module):
    """Logits of colours."""

    def __init__(self, num_classes: int = KINDS, factor: float = 1.0, frozen: bool = False,
                 zero_head: bool = False) -> None:
        super().__init__()
        self.tower, self.factor = image_tower(num_classes), factor
        self.requires_grad_(not frozen)
        if zero_head:
            nn.init.zeros_(self.tower[-1].weight)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.tower(image) * self.factor}


class Never:
    def __call__(self, step: int) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def _entries(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, name, entry in (("model", "tiny_clip", tiny_clip), ("schedule", "never", Never),
                              ("model", "tiny_classifier", TinyClassifier)):
        monkeypatch.setitem(registry._in_session, (kind, name), entry)


@cache
def composed(*words: str) -> RunConfig:
    return compose(*WORDS, *words)


def clip(*words: str, **arguments: object) -> RunConfig:
    return replace(composed(*words), model=ModelConfig("tiny_clip", arguments))


def classifier(*words: str, **arguments: object) -> RunConfig:
    loss = LossConfig("cross_entropy", label="cross_entropy")
    return replace(composed(*words), model=ModelConfig("tiny_classifier", arguments),
                   loss=(loss,))


def same(sample: Sample) -> Sample:
    return sample


def put(**values: object) -> Change:
    return lambda sample: {**sample, **values}


def shuffled(sample: Sample) -> Sample:
    other = derive_seed(int(sample["key"]), "other") % KINDS
    return {**sample, "text": f"colour {other} of things"}


def long(sample: Sample) -> Sample:
    return {**sample, "text": f"{sample['text']} {'and more ' * 12}"}


def from_one(sample: Sample) -> Sample:
    return {**sample, "label": sample["label"] + 1}


@contextmanager
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The warnings of what is done inside."""
    caplog.clear()
    sentences: list[str] = []
    with caplog.at_level(logging.INFO):
        yield sentences
    sentences += [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def symptoms(caplog: pytest.LogCaptureFixture, folder: Path, config: RunConfig,
             change: Change = same, steps: int = 4) -> dict[str, str]:
    """Name -> sentence of what a run warns of, which is what it records."""
    engine = replace(config.engine, steps=steps)
    with told(caplog) as sentences:
        run(replace(config, engine=engine, run_dir=str(folder)), Colours(change))
    lines = [line for line in records(folder / "report.jsonl") if "symptom" in line]
    assert [line["sentence"] for line in lines] == sentences
    names = {line["symptom"]: line["sentence"] for line in lines}
    assert len(names) == len(lines), "each is told once"
    return names


PLANTED: dict[str, tuple[Callable[[], RunConfig], Change, int, str]] = {
    "same_caption": (clip, put(text="a photo"), 1,
                     "32 of 32 captions are the same one ('a photo')"),
    "same_picture": (clip, put(image=PICTURE), 1,
                     "32 of 32 pictures are the same one"),
    "stands_at_guessing": (clip, shuffled, 100, "no better than guessing, ln 32 = 3.466"),
    "odd_pixels": (lambda: clip("data.preprocess.mean=[123,116,103]",
                                "data.preprocess.std=[58,57,57]"), same, 1, "divide both by 255"),
    "captions_cut": (clip, long, 1, "32 of 32 captions are longer than the 16 tokens"),
    "weights_outgrown": (lambda: clip("optimizer.learning_rate=1.0"), same, 16,
                         "optimizer.learning_rate is 1;"),
    "no_learning_rate": (lambda: replace(clip(), schedule=EntryConfig("never")), same, 1,
                         "the learning rate is at most 0 in this run"),
    "almost_all_frozen": (lambda: frozen("*tower*"), same, 1, "1 of"),
    "logit_scale_at_limit": (lambda: clip(init_logit_scale=100.0), same, 1,
                             "at step 0 the logit scale stands at its largest value, 100"),
    "no_gradient_text_tower": (lambda: clip(text_tower="detached"), same, 2,
                               "`text_tower`, 32,528 of the model's parameters, gets no gradient"),
    "one_class": (classifier, put(label=3), 2, "all of the first 64 labels are class 3"),
    "labels_off_by_one": (lambda: classifier(num_classes=KINDS + 1), from_one, 8,
                          "labels are 1 to 16, and none is 0"),
    "tokens_padded": (lambda: clip("data.tokenizer.context_length=77"), same, 1,
                      "of the 77 positions of captions are padding"),
    "steps_skipped": (lambda: classifier("engine.precision=fp16", factor=6e4), same, 10,
                      "8 of the last 8 steps were skipped"),
}


def frozen(pattern: str) -> RunConfig:
    config = clip()
    return replace(config, model=replace(config.model, frozen=[pattern]))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_named(name: str, caplog: pytest.LogCaptureFixture,
                                  tmp_path: Path) -> None:
    config, change, steps, sentence = PLANTED[name]
    assert sentence in symptoms(caplog, tmp_path, config(), change, steps).get(name, "")


@pytest.mark.parametrize("config", [clip, classifier])
def test_a_sound_run_is_left_in_peace_and_says_how_far_it_came(
        config: Callable[[], RunConfig], caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert symptoms(caplog, tmp_path, config(), steps=100) == {}
    label = config().loss[0].label
    assert f"  {label} " in caplog.text
    assert " below it\n" in caplog.text
    [line] = records(tmp_path / "report.jsonl")
    assert (line["step"], line["loss"], line["steps"]) == (100, label, 30)
    assert line["mean"] < line["guessing"] - 0.5


def test_a_head_of_zeros_gives_no_gradient_in_the_first_step_alone(
        caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert symptoms(caplog, tmp_path, classifier(zero_head=True)) == {}


def test_weights_get_the_pixels_and_pairs_that_they_know(caplog: pytest.LogCaptureFixture,
                                                         tmp_path: Path) -> None:
    symptoms(caplog, tmp_path / "first", clip(), steps=60)
    path = f"init.path={tmp_path}/first"
    other = clip(path, "data.preprocess.mean=[0.5,0.5,0.5]", "data.preprocess.std=[0.5,0.5,0.5]")
    sentences = symptoms(caplog, tmp_path / "other", other, steps=1)
    assert ("Type 'data.preprocess.mean=[0,0,0]' 'data.preprocess.std=[1,1,1]'"
            in sentences["pixels_prepared_otherwise"])
    assert symptoms(caplog, tmp_path / "same", clip(path), steps=5) == {}
    told_of = symptoms(caplog, tmp_path / "shuffled", clip(path), shuffled, 5)
    assert "weights_know_nothing" in told_of


def test_what_can_only_fail_is_refused(tmp_path: Path) -> None:
    for config, change, sentence in (
            (classifier(frozen=True), same, "has no parameter that is trained"),
            (classifier(), from_one, "a label is 16, but the model has 16 classes: set "
                                     "model.num_classes, or write the labels anew")):
        with pytest.raises(CorekitError, match=sentence):
            run(replace(config, run_dir=str(tmp_path)), Colours(change))


def test_an_overflow_in_the_forward_pass_names_half_precision(tmp_path: Path) -> None:
    config = classifier("engine.precision=fp16", factor=1e39)
    with pytest.raises(CorekitError, match=r"engine\.precision=bf16 has fp32's range"):
        run(replace(config, run_dir=str(tmp_path)), Colours(same))
