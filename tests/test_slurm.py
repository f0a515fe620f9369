"""``tools/slurm.sbatch``, as far as it can be tried where there is no cluster: with an srun that
starts two processes here.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import free_port

from corekit.distributed.rendezvous import first_node
from tests.conftest import TINY

SCRIPT = Path(__file__).parents[1] / "tools" / "slurm.sbatch"
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NODELIST='localhost,not-there[2-3]'
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" &
    tasks[rank]=$!
done
trap 'kill -USR1 "${tasks[@]}"' USR1
for task in "${tasks[@]}"; do
    until wait "$task"; status=$?; ! kill -0 "$task" 2>/dev/null; do :; done
done
exit "$status"
"""
SCONTROL = "#!/bin/bash\necho \"$@\" >>scontrol.txt\n"
STOPPABLE = """#!/bin/bash
trap 'echo "$@" >saved$SLURM_PROCID; exit 143' USR1
touch began$SLURM_PROCID
for _ in {1..600}; do sleep 0.05; done
"""


def start(folder: Path, trainer: str, *words: str) -> "subprocess.Popen[str]":
    """The batch file as SLURM would start it, with these commands on PATH."""
    (folder / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("corekit-train", trainer)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": str(free_port()), "SLURM_CPUS_PER_TASK": "1"
    }
    return subprocess.Popen(["bash", str(SCRIPT), *words], cwd=folder, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_srun_trains_one_run_on_all_ranks(finished_run: Path, tmp_path: Path) -> None:
    program = (f"#!{sys.executable}\nfrom corekit.cli.train import main\n"
               "if __name__ == '__main__':\n    main()\n")
    job = start(tmp_path, program, *TINY)
    output, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors[-3000:]
    assert "2 ranks" in output
    assert sorted(path.name
                  for path in (tmp_path / "run").glob("log*.txt")) == ["log.txt", "log_rank1.txt"]
    here, alone = ([
        json.loads(line)["loss"]
        for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()
    ] for folder in (tmp_path, finished_run))
    assert here == pytest.approx(alone, rel=2e-5)
    assert not (tmp_path / "scontrol.txt").exists(), "a run that is done is not queued again"


def test_before_the_time_is_up_every_rank_is_told_and_the_job_queued_again(tmp_path: Path) -> None:
    job = start(tmp_path, STOPPABLE, "+recipe=a/b", "data.root=with space")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all(
        (tmp_path / f"began{rank}").exists() for rank in (0, 1)):
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    job.communicate(timeout=30)
    assert job.returncode == 143
    assert [(tmp_path / f"saved{rank}").read_text()
            for rank in (0, 1)] == ["+recipe=a/b "
                                    "data.root=with space\n"] * 2
    assert (tmp_path / "scontrol.txt").read_text().startswith("requeue ")


@pytest.mark.parametrize(("nodes", "first"), [
    ("gpu7", "gpu7"),
    ("gpu7,gpu9", "gpu7"),
    ("gpu[003-010,12],big1", "gpu003"),
    ("gpu[5,7]-ib,x", "gpu5-ib"),
    ("rack[1-2]n[01-04]", "rack1n01"),
    ("127.0.0.1", "127.0.0.1"),
    ("a-b.c[1-2]", "a-b.c1"),
])
def test_ranks_meet_on_the_first_node(nodes: str, first: str) -> None:
    assert first_node(nodes) == first
