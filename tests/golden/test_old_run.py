"""A run that an older corekit left is still good: it is loaded, evaluated, and goes on.

``old_run/run`` ends after step 4 of 8. Its recipe has the keys of its day, on purpose. What the
undisturbed run said in steps 5 to 8 is in ``old_run/expected.json``. It is never made anew, so
later versions have to come near it: their kernels may round otherwise.
"""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import corekit
from tests.conftest import records
from tests.golden.pinned import run_pinned, same_kind
from tests.golden.recipes import OLD_RUN

OLD = Path(__file__).parent / "old_run"
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))


def test_an_old_run_is_loaded(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    model, preprocess, tokenize = corekit.load(str(folder / "run"))
    with tarfile.open(folder / "shards" / "000000.tar") as archive:
        file = archive.extractfile(EXPECTED["picture"])
        assert file is not None
        picture = Image.open(io.BytesIO(file.read())).convert("RGB")
    with torch.no_grad():
        image = model.encode_image(preprocess(picture)[None])[0].tolist()
        text = model.encode_text(tokenize([EXPECTED["caption"]]))[0].tolist()
    assert image == pytest.approx(EXPECTED["image_features"], abs=1e-4)
    assert text == pytest.approx(EXPECTED["text_features"], abs=1e-4)


def test_an_old_run_is_evaluated_and_goes_on(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    evaluate = ["corekit-eval", "checkpoint=run"]
    machine = run_pinned([evaluate, ["corekit-train", *OLD_RUN], evaluate], folder)

    before = EXPECTED["machine"]
    same = same_kind(machine, before) and machine["cpu"] == before["cpu"]
    steps = records(folder / "run" / "metrics.jsonl")
    assert [record["step"] for record in steps] == list(range(1, 9))
    for expected, got in zip(EXPECTED["steps"], steps[4:]):
        for name, value in expected.items():
            message = f"step {got['step']}: {name} is {got[name]!r}, expected {value!r}"
            near = (1e-6 if name == "loss" else 1e-5) if same else 1e-4 if name == "loss" else 1e-2
            assert got[name] == pytest.approx(value, rel=near), message

    figures = records(folder / "run" / "evaluations.jsonl")
    assert [record["step"] for record in figures] == [4, 4, 8, 8]  # training's and corekit-eval's
    known = {record["step"]: record["metrics"] for record in EXPECTED["evaluations"]}
    for record in figures:
        near = pytest.approx(known[record["step"]], abs=1e-9 if same else 0.1)
        assert record["metrics"] == near, f"evaluation at step {record['step']}"


def copied(folder: Path) -> Path:
    """The old run and its shards, where they may be written to."""
    shutil.copytree(OLD / "run", folder / "run", symlinks=True)
    shutil.copytree(OLD / "shards", folder / "shards")
    return folder
