"""Kill `corekit data reinforce` at random, continue it, compare it with an undisturbed run.

    python tools/check_generator.py [--kills 10] [--workers 2] [--seed 0]

The job has drawn scenes, two teachers with random weights, and captions drawn from a list. Every
third kill waits until a shard is being written; every second one hits the command's own process
alone, and its workers are to follow. Exits with 0 where every file is the same to the last byte,
and the uids are those of the source, each once.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import timing
import torch

from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.shards.indexing import load_index
from corekit.data.shards.writer import write_shards
from corekit.data.transforms.preprocess import Preprocess
from corekit.models.build import build_model
from corekit.recipes.build import run_config

SAMPLES = 24  # of a shard


def main() -> int:
    args = timing.parser(__doc__, kills=10, workers=2, seed=0).parse_args()
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder, SAMPLES * (args.kills + 6), SAMPLES)
        teachers = [random_teacher(folder / f"teacher{number}", number) for number in (1, 2)]
        words = [f"teachers=[{','.join(teachers)}]", "captioner.name=nearest_captions",
                 f"captioner.path={teachers[0]}", f"captioner.candidates={folder / 'captions.txt'}",
                 "captions=2", "augmentations=6", "image_size=64", "batch_size=32"]
        began = time.monotonic()
        if start(folder, "whole", words, args.workers).wait() != 0:
            raise SystemExit("the undisturbed run failed")
        seconds = time.monotonic() - began
        moments = [kill_once(folder, words, args.workers, draw, number)
                   for number in range(args.kills)]
        if start(folder, "killed", words, args.workers).wait() != 0:
            raise SystemExit("the last run failed")
        expected, actual = contents(folder / "whole"), contents(folder / "killed")
        before, after = uids(folder / "scenes"), uids(folder / "killed")
    same = sum(expected.get(name) == content for name, content in actual.items())
    print(f"{len(moments)} kills of a run of {seconds:.0f} s with {args.workers} workers: "
          f"{', '.join(moments)}")
    print(f"{same} of {len(expected)} files are the same bytes, "
          f"{len(actual.keys() ^ expected.keys())} missing or more; of "
          f"{len(before)} uids {len(before.keys() - after.keys())} are missing, "
          f"{sum(many > 1 for many in after.values())} "
          f"twice, {len(after.keys() - before.keys())} new")
    return 0 if expected == actual and before == after and max(after.values()) == 1 else 1


def write_scenes(folder: Path, samples: int, samples_per_shard: int) -> None:
    """Drawn scenes in ``scenes/``, and captions to choose from in ``captions.txt``."""
    scenes = OpenMoji(samples=samples, size=64)
    write_shards(scenes, folder / "scenes", samples_per_shard=samples_per_shard)
    captions = [scenes.templates[number % len(scenes.templates)].format(name)
                for number, name in enumerate(scenes.class_names)]
    (folder / "captions.txt").write_text("\n".join(captions), encoding="utf-8")


def random_teacher(folder: Path, seed: int) -> str:
    """A small model that was never trained."""
    recipe = {"model": {"name": "mobileclip_nano"}, "seed": seed,
              "data": {"tokenizer": {"name": "clip_bpe", "context_length": 32}}}
    model = build_model(run_config(recipe).model, seed, torch.device("cpu"))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    preprocess = Preprocess(64, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    save_model_folder(folder, weights, recipe, preprocess)
    return str(folder)


def start(folder: Path, out: str, words: list[str], workers: int) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).with_name("corekit")), "data", "reinforce",
               str(folder / "scenes"), str(folder / out)]
    return subprocess.Popen([*command, *words, "--workers", str(workers)], start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill_once(folder: Path, words: list[str], workers: int, draw: random.Random,
              number: int) -> str:
    """Start the command, SIGKILL it at a random moment after its first write; say which."""
    out = folder / "killed"
    before = len(list(out.glob("*.tar")))
    process = start(folder, "killed", words, workers)
    target = before + draw.randint(0, 2)
    while process.poll() is None and (len(list(out.glob("*.tar"))) < target
                                      or not list(out.glob("*.writing"))):
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 1.0))
    while number % 3 == 2 and process.poll() is None and not list(out.glob("*.tar.writing")):
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError):
        (os.kill if number % 2 else os.killpg)(process.pid, signal.SIGKILL)
    writing = len(list(out.glob("*.writing")))
    if process.wait() == 0:
        return "after the end"
    return f"after {len(list(out.glob('*.tar')))} shards, {writing} being written"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def uids(folder: Path) -> Counter[str]:
    """How often each occurs in the shards, without an index being written."""
    index = load_index(folder)
    return Counter(raw.key for shard in range(len(index))
                   for raw in index.read_samples(shard, 0, int(index.samples[shard])))


if __name__ == "__main__":
    sys.exit(main())
