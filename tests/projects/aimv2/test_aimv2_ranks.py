"""AIMv2's commands on two ranks: pre-training, adaptation to 336 pixels and the probe as on one;
pictures of any shape.
"""

from pathlib import Path

import pytest

from tests.conftest import losses, succeeded

STEPS = ("engine.batch_size=8", "engine.micro_batch=4", "engine.precision=fp32", "data.streams=4",
         "data.workers=1", "schedule.warmup_steps=1", "log.every_steps=1",
         "checkpoint.every_steps=null")
SMALL = (*STEPS, "model.width_divisor=8", "model.depth_divisor=8", "data.root=train",
         "data.dataset.name=webdataset", "~data.dataset.sources", "data.tokenizer.name=clip_bpe",
         "data.tokenizer.vocab_size=1024", "model.vocab_size=1024",
         "loss.next_token.end_token=1023", "engine.steps=2")


def test_two_ranks_pretrain_adapt_and_probe_as_one(tmp_path: Path) -> None:
    for number, folder in enumerate(("train", "test")):
        succeeded(tmp_path, "corekit", "data", "openmoji", folder, "--samples", "32", "--size",
                  "80", "--seed", str(number))
    probes = []
    for ranks in (1, 2):
        succeeded(tmp_path, "corekit-train", "+recipe=aimv2/large", *SMALL, f"run_dir=large{ranks}",
                  ranks=ranks)
        succeeded(tmp_path, "corekit-train", "+recipe=aimv2/large_336", *SMALL,
                  f"run_dir=large_336_{ranks}", "init.path=large1", ranks=ranks)
        probes.append(
            succeeded(tmp_path, "corekit-eval", "checkpoint=large_336_1",
                      "+evaluation=attentive_probe", "data.root=.",
                      "evaluators.attentive_probe.num_classes=200",
                      "evaluators.attentive_probe.transform=null",
                      "evaluators.attentive_probe.epochs=1", ranks=ranks))
    assert "attentive_probe" in probes[0]
    assert probes[1] == probes[0]
    for name in ("large{}", "large_336_{}"):
        one, two = (losses(tmp_path / name.format(ranks)) for ranks in (1, 2))
        assert two == pytest.approx(one, rel=2e-5)


def test_pictures_of_any_shape_in_shares(tmp_path: Path) -> None:
    succeeded(tmp_path, "corekit", "data", "openmoji", "train", "--samples", "32", "--size", "80")
    words = ("corekit-train", "+recipe=aimv2/native", *SMALL, "init.path=null", "init.exclude=[]",
             "sampler.exponents=[4,6]")
    succeeded(tmp_path, *words, "run_dir=one")
    succeeded(tmp_path, *words, "run_dir=two", "engine.parallel=fsdp", ranks=2)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=2e-5)
