"""A compiled model is one graph, and trains as the same model does."""

from pathlib import Path

import pytest
from corekit_projects.catlip.wordnet import open_wordnet

from tests.conftest import TINY, losses, succeeded

MODELS = {
    "mobileclip": TINY,
    "catlip": ("+recipe=catlip/quickstart",),
    "aimv2": ("+recipe=aimv2/quickstart",),
}


@pytest.mark.parametrize("project", MODELS)
def test_a_compiled_model_has_the_same_losses(project: str, tmp_path: Path) -> None:
    if project == "catlip":
        open_wordnet()  # without it, what is said is that
    words = (*MODELS[project], "~evaluators", "engine.steps=2", "engine.micro_batch=16",
             "engine.batch_size=16", "data.streams=8", "data.workers=0", "schedule.warmup_steps=1",
             "log.every_steps=1", "checkpoint.every_steps=null")
    succeeded(tmp_path, "corekit-train", *words, "run_dir=plain")
    succeeded(tmp_path, "tests.train.captured", *words, "engine.compile=true", "run_dir=compiled")
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
