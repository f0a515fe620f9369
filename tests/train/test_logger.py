"""What the trainer writes of a run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from corekit.distributed.process_group import ProcessGroup
from corekit.evaluation.base import Result
from corekit.train.logger import RunLogger

PEAKS = """
import torch
from corekit.train.logger import peak_memory
before = peak_memory(torch.device("cpu"))
held = bytearray(b"1") * (300 << 20)
print(before, peak_memory(torch.device("cpu")))
"""


def peaks() -> tuple[int, ...]:
    """Of a process before and after it takes 300 MB."""
    output = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True,
                            check=True).stdout
    return tuple(map(int, output.split()))


def test_peak_memory_is_the_process_own() -> None:
    alone, held = peaks()
    assert held - alone > 250 << 20
    # a process starts with what its parent had, as getrusage counts it
    ballast = bytearray(b"1") * (alone + (200 << 20))
    beside, _ = peaks()
    del ballast
    assert abs(beside - alone) < 100 << 20


def test_files_of_the_latest_evaluation_are_kept(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path, ProcessGroup(0, 1, torch.device("cpu")), 20, 0, 0)
    for step in (10, 20):
        result = Result({"box_ap": 0.5}, "set", 2, {"drawn": np.zeros((8, 8, 3), dtype=np.uint8)},
                        {"box_results.json": f"[{step}]".encode()})
        logger.evaluation(step, 2 * step, "coco", result)
        (tmp_path / "evaluations" / "coco" / "step_00000010_mine").mkdir(exist_ok=True)
    logger.close()
    assert (tmp_path / "evaluations" / "coco" / "step_00000010_mine").is_dir(), "somebody's copy"
    records = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").open()]
    assert [each["files"] for each in records] == [
        "evaluations/coco/step_00000010", "evaluations/coco/step_00000020"]
    assert not (tmp_path / records[0]["files"]).exists()
    assert (tmp_path / records[1]["files"] / "box_results.json").read_bytes() == b"[20]"
