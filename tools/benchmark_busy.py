"""A small training beside other processes: OpenMP's threads wait asleep, or spinning.

    python tools/benchmark_busy.py [--competitors 0 1 2] [--turns 3] [--steps 30]

The quickstart's samples a second as `corekit-train` sets OpenMP up (``OMP_WAIT_POLICY=passive``)
and as torch does (unset), beside so many processes that each keep a core busy. Exits with 0 where
one competitor at most halves the speed and where, without one, sleeping is not slower than spinning
by more than a twentieth.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import parser

COMMAND = Path(sys.executable).with_name("corekit-train")
SPIN = "while True: pass"


def main() -> int:
    """The command."""
    options = parser(__doc__, turns=3, steps=30)
    options.add_argument("--competitors", type=int, nargs="+", default=[0, 1, 2])
    args = options.parse_args()
    medians = {}
    for count in args.competitors:
        rates: dict[str, list[float]] = {"passive": [], "unset": []}
        for _ in range(args.turns):
            for policy, values in rates.items():
                values.append(samples_per_second(policy, count, args.steps))
        medians[count] = {policy: statistics.median(values) for policy, values in rates.items()}
        passive, unset = medians[count].values()
        print(f"{count} competitors: {passive:.0f} samples/s asleep, {unset:.0f} spinning, "
              f"{passive / unset:.2f} x", flush=True)
    alone, beside = medians.get(0), medians.get(1)
    return int(bool(alone and alone["passive"] < 0.95 * alone["unset"])
               or bool(alone and beside and beside["passive"] < 0.5 * alone["passive"]))


def samples_per_second(policy: str, competitors: int, steps: int) -> float:
    """The median of a run's logged steps after the first."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("OMP_", "GOMP_"))}
    # any count keeps corekit-train from setting the policy; torch's own default is 300,000
    environment.update({} if policy == "passive" else {"GOMP_SPINCOUNT": "300000"})
    busy = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(competitors)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([COMMAND, "+recipe=mobileclip/quickstart", f"engine.steps={steps}",
                            "schedule.warmup_steps=1", "log.every_steps=10", "~evaluators",
                            "run_dir=run"], cwd=folder, env=environment, check=True,
                           stdout=subprocess.DEVNULL)
            lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()[1:]
        return statistics.median(float(json.loads(line)["samples_per_second"]) for line in lines)
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
