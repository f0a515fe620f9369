"""How many files a reader meets from the command to the line that computes the loss."""

import re
from pathlib import Path

from tests.conftest import TINY, corekit_command

ROOT = Path(__file__).parents[2]
MOST_FILES = 5  # cli/train, train/run, train/trainer, the step and the loss itself
LOSS = '''
from corekit.registry import register
from torch import Tensor


@register("loss", "{name}")
class Stopping:
    """A loss that shows where it was called from."""

    compares_samples = {compares}

    def __call__(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        raise RuntimeError("here")
'''


def files_on_the_way(folder: Path, compares: bool) -> list[str]:
    """corekit's files in the traceback of a loss, and the loss's own."""
    project = folder / "projects" / "idea"
    (project / "recipes").mkdir(parents=True)
    (project / "stopping.py").write_text(LOSS.format(name="stopping", compares=compares))
    (project / "recipes" / "stop.yaml").write_text(
        "# @package _global_\ndefaults:\n  - /recipe/mobileclip/quickstart\n"
        "loss:\n  name: stopping\n")
    words = [word for word in TINY if not word.startswith(("+recipe=", "loss"))]
    done = corekit_command("corekit-train", "+recipe=idea/stop", *words, folder=folder)
    assert "RuntimeError: here" in done.stderr, done.stderr
    pattern = r'File "[^"]*/((?:corekit|projects)/[^"]*\.py)", line'
    files = dict.fromkeys(re.findall(pattern, done.stderr))
    # the checkout may be called corekit, too
    return [file for file in files if (ROOT / file).is_file() or (folder / file).is_file()]


def test_five_files_to_a_sample_loss(tmp_path: Path) -> None:
    files = files_on_the_way(tmp_path, compares=False)
    assert files[-1] == "projects/idea/stopping.py"
    assert len(files) <= MOST_FILES, files


def test_one_more_to_a_loss_that_compares_samples(tmp_path: Path) -> None:
    files = files_on_the_way(tmp_path, compares=True)
    assert "corekit/train/step/grad_cache.py" in files
    assert len(files) <= MOST_FILES + 1, files
