"""The commands end to end on the tiny run: what is written, that ranks change nothing, evaluation,
dry runs.
"""

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import corekit
from tests.conftest import TINY, corekit_command, losses, records


def test_a_run_directory_holds_what_programs_rely_on(finished_run: Path) -> None:
    run = finished_run / "run"
    lines = records(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["samples"] for line in lines] == [32, 64, 96, 128]
    for line in lines:
        assert {"loss", "learning_rate", "samples_per_second", "data_wait",
                "peak_memory"} <= line.keys()
        assert 0 <= line["data_wait"] <= 1
        assert line["peak_memory"] > 1e8
    assert [line["step"] for line in records(run / "evaluations.jsonl")] == [4]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "step_00000002", "step_00000004"
    ]
    assert (run / "model").resolve() == (run / "checkpoints" / "step_00000004" / "model").resolve()
    assert sorted(path.name for path in (run / "model").iterdir()) == [
        "model.safetensors", "preprocess.json", "recipe.yaml"
    ]
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["engine"]["micro_batch"] == 8
    assert recipe["model"]["name"] == "mobileclip_nano"
    environment = json.loads(
        (run / "checkpoints" / "step_00000004" / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert (run / "log.txt").read_text().count("step ") >= 5
    assert list((run / "tensorboard").iterdir())


def test_tensorboard_shows_the_first_batch_and_zero_shot_examples(finished_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished_run / "run" / "tensorboard"),
                              size_guidance={"images": 0})
    events.Reload()
    assert {"data/first_batch", "zero_shot/examples"} <= set(events.Tags()["images"])
    assert {"train/loss", "train/samples_per_second",
            "zero_shot/top1"} <= set(events.Tags()["scalars"])
    picture = events.Images("data/first_batch")[0]
    assert (picture.width, picture.height) > (600, 600)


def test_the_same_command_again_says_that_the_run_is_done(finished_run: Path) -> None:
    before = (finished_run / "run" / "metrics.jsonl").read_text()
    recipe = finished_run / "run" / "recipe.yaml"
    known = recipe.read_text()
    assert "crop_fraction: 1.0\n" in known
    # as an older corekit wrote it, before there was that key
    recipe.write_text(known.replace("    crop_fraction: 1.0\n", ""))
    done = corekit_command("corekit-train", *TINY, folder=finished_run)
    assert done.returncode == 0, done.stderr
    assert "was trained already: 4 steps" in done.stdout
    assert "zero_shot: top1" in done.stdout
    assert (finished_run / "run" / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(("change", "message"), [
    ("optimizer.learning_rate=0.1", "optimizer.learning_rate was 0.002, is 0.1"),
    ("data.dataset.samples=120", "data.dataset.samples was 96, is 120"),
    ("engine.micro_batch=16", "engine.micro_batch was 8, is 16"),
])
def test_another_run_in_the_same_directory_is_refused(finished_run: Path, change: str,
                                                      message: str) -> None:
    done = corekit_command("corekit-train", *TINY, change, folder=finished_run)
    assert done.returncode == 2
    assert message in done.stderr
    assert "run_dir=" in done.stderr


def test_corekit_eval_repeats_the_figure_exactly(finished_run: Path) -> None:
    run = finished_run / "run"
    trained = records(run / "evaluations.jsonl")[0]
    for checkpoint, ranks in (("run", 1), ("run/model", 1), ("run", 2)):
        done = corekit_command("corekit-eval", f"checkpoint={checkpoint}", folder=finished_run,
                               ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert records(run / "evaluations.jsonl")[-1] == {**trained, "by": "corekit-eval"}
    refused = corekit_command("corekit-eval", "checkpoint=run", "data.preprocess.size=32",
                              folder=finished_run)
    assert refused.returncode == 2
    assert "preprocess.json" in refused.stderr


def test_the_trained_model_loads_in_python(finished_run: Path) -> None:
    model, preprocess, tokenize = corekit.load(str(finished_run / "run"))
    image = preprocess(Image.new("RGB", (100, 80), "red"))
    assert image.shape == (3, 64, 64)
    assert torch.allclose(image[:, 5, 5], torch.tensor([1.0, 0.0, 0.0]))
    with torch.no_grad():
        outputs = model(image[None], tokenize(["a red apple"]))
    assert outputs["image_features"].shape == outputs["text_features"].shape == (1, 128)
    assert not model.training
    with pytest.raises(corekit.CorekitError, match="does not exist"):
        corekit.load(str(finished_run / "nothing"))


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_change_nothing_but_rounding(finished_run: Path, tmp_path: Path, ranks: int) -> None:
    done = corekit_command("corekit-train", *TINY, folder=tmp_path, ranks=ranks)
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "run") == pytest.approx(losses(finished_run / "run"), rel=2e-5)
    run = tmp_path / "run"
    logs = ["log.txt", *[f"log_rank{rank}.txt" for rank in range(1, ranks)]]
    assert sorted(path.name for path in run.glob("log*.txt")) == logs
    assert [line["step"] for line in records(run / "evaluations.jsonl")] == [4]


def test_shards_train_like_any_data(tmp_path: Path) -> None:
    written = corekit_command("corekit", "data", "openmoji", "shards", "--samples", "64", "--size",
                              "72", folder=tmp_path)
    assert written.returncode == 0, written.stderr
    labelled = corekit_command("corekit", "data", "openmoji", "labelled", "--samples", "32",
                               "--size", "72", "--split", "validation", folder=tmp_path)
    assert labelled.returncode == 0, labelled.stderr
    words = ("+recipe=mobileclip/pairs", "model.name=mobileclip_s0", "data.root=shards",
             "engine.steps=2", "engine.batch_size=4", "engine.micro_batch=4", "data.streams=4",
             "data.workers=1", "data.preprocess.size=64", "schedule.warmup_steps=0", "run_dir=run",
             "engine.ema_decay=null", "model.width_divisor=4", "engine.precision=fp32")
    done = corekit_command("corekit-train", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [record["step"] for record in records(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
    judged = corekit_command("corekit-eval", "checkpoint=run", "+evaluation=zero_shot",
                             "data.root=labelled", folder=tmp_path)
    assert judged.returncode == 0, judged.stderr
    assert records(tmp_path / "run" / "evaluations.jsonl")[-1]["evaluated"] == 32


def test_dry_runs_and_cfg_need_no_data(tmp_path: Path) -> None:
    for words, parts in ((("--cfg", "job"), ("mobileclip_s2", )),
                         (("dry_run=true", "model.name=mobileclip_s0", "engine.steps=2",
                           "engine.batch_size=256", "data.streams=256"),
                          ("53,847,681 parameters", "GFLOPs a sample", "GiB", "512 samples seen"))):
        done = corekit_command("corekit-train", "+recipe=mobileclip/s2", *words,
                               "schedule.warmup_steps=0", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        for part in parts:
            assert part in done.stdout
        assert not list(tmp_path.iterdir())


def test_a_sweep_trains_each_value_in_its_own_directory(tmp_path: Path) -> None:
    done = corekit_command("corekit-train", *TINY, "-m", "seed=1,2", "engine.steps=1",
                           "~evaluators", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    seeds = [
        yaml.safe_load((tmp_path / "run" / number / "recipe.yaml").read_text())["seed"]
        for number in ("0", "1")
    ]
    assert seeds == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["0", "1"]


def test_the_same_seed_is_the_same_training_and_another_is_not(finished_run: Path,
                                                               tmp_path: Path) -> None:
    for name, more in (("again", "data.workers=1"), ("other", "seed=1")):
        done = corekit_command("corekit-train", *TINY, "~evaluators", more, f"run_dir={name}/run",
                               folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "again" / "run") == losses(finished_run / "run")
    assert losses(tmp_path / "other" / "run") != losses(finished_run / "run")


def test_bf16_averaged_weights_and_a_frozen_teacher(finished_run: Path, tmp_path: Path) -> None:
    teacher = ("frozen.teacher.name=mobileclip_nano", "frozen.teacher.context_length=16",
               "frozen.teacher.outputs={image_features: teacher_image_features}",
               "loss={clip: {name: contrastive}, distill: {name: contrastive, weight: 0.5, "
               "inputs: {text_features: teacher_image_features}}}", "~loss.name")
    done = corekit_command("corekit-train", *TINY, *teacher, "engine.precision=bf16",
                           "engine.ema_decay=0.5", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = records(tmp_path / "run" / "metrics.jsonl")
    for line in lines:
        assert line["loss"] == pytest.approx(line["clip"] + 0.5 * line["distill"], rel=1e-5)
    assert lines[0]["clip"] == pytest.approx(
        records(finished_run / "run" / "metrics.jsonl")[0]["loss"], rel=2e-2)
    judged = corekit_command("corekit-eval", "checkpoint=run", folder=tmp_path)
    assert judged.returncode == 0, judged.stderr
    first, second = records(tmp_path / "run" / "evaluations.jsonl")
    assert {**first, "by": "corekit-eval"} == second


def test_a_loss_that_is_not_finite_is_said_with_the_batch(tmp_path: Path) -> None:
    done = corekit_command("corekit-train", *TINY, "optimizer.learning_rate=1e30",
                           "engine.grad_clip=null", folder=tmp_path)
    assert done.returncode == 2, done.stdout
    assert "is not finite" in done.stderr
    assert "train_0_0000" in done.stderr
    assert "optimizer.learning_rate" in done.stderr


def test_bad_samples_are_counted_and_too_many_end_the_run(tmp_path: Path) -> None:
    import tarfile

    from tests.data.loading.test_loader import add, jpeg

    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "00000.tar", "w") as archive:
        for index in range(40):
            add(archive, f"{index:04d}.jpg", b"no picture" if index == 7 else jpeg(index))
            add(archive, f"{index:04d}.txt", b"something")
    common = [word for word in TINY if not word.startswith("data.dataset.")]
    words = (*common, "data.root=shards", "data.dataset.name=webdataset", "~data.dataset.samples",
             "~data.dataset.objects", "~data.dataset.detail", "~evaluators", "engine.batch_size=40",
             "engine.micro_batch=40", "engine.steps=2")
    done = corekit_command("corekit-train", *words, "data.max_bad_fraction=0", folder=tmp_path)
    assert done.returncode == 2
    assert ("1 of 40 samples were bad (image 1), more than data.max_bad_fraction=0.0 of 10,000"
            in done.stderr)
    # a share of at least 10,000 samples: 10
    done = corekit_command("corekit-train", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bad samples: image 2" in done.stdout
    assert "bad sample (image): " in (tmp_path / "run" / "log.txt").read_text()
    assert "00000.tar: 0007" in (tmp_path / "run" / "log.txt").read_text()
