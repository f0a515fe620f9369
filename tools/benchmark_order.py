"""The cost of the samples' order for a rank: 130,000 shards of 10,000, entered at any step.

    python tools/benchmark_order.py

Prints, for one rank of 128, the memory and time of opening an index of that many shards and of
ordering them, and the longest time to enter a step somewhere in five passes (locating the first
window of each of the rank's streams). The shards are empty files with a true index beside them.
Memory is what the process has grown by.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import fresh_process
import timing

FOLDERS = 130


def main() -> None:
    parser = timing.parser(__doc__, shards=130_000, streams=4096, ranks=128)
    parser.add_argument("--samples", type=int, default=10_000, help="in each shard")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.streams, args.ranks)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder), args.shards, args.samples)
        figures = fresh_process.again("--measure", folder)
    print(f"{args.shards:,} shards of {args.samples:,}, rank 0 of {args.ranks}, "
          f"{args.streams} streams")
    for name, figure in figures.items():
        print(f"  {name:<32}{figure}")


def write_index(root: Path, shards: int, samples: int) -> None:
    """Empty shards in folders of a thousand, and the index that says what they would hold."""
    names = [f"{shard % FOLDERS:04d}/{shard // FOLDERS:06d}.tar" for shard in range(shards)]
    for number in range(min(FOLDERS, shards)):
        (root / f"{number:04d}").mkdir()
    for name in names:
        (root / name).touch()
    names.sort()
    table = {"names": names, "bytes": [0] * shards, "samples": [samples] * shards,
             "hashes": ["0123456789abcdef"] * shards}
    (root / "index.json").write_text(json.dumps(table))


def measure(root: str, streams: int, ranks: int) -> dict[str, str]:
    from corekit.data.loading.loader import share
    from corekit.data.loading.shuffled_order import ShuffledOrder
    from corekit.data.shards.webdataset import WebDataset

    before = fresh_process.peak("cpu")
    began = time.perf_counter()
    source = WebDataset(root)
    opened = time.perf_counter()
    order = ShuffledOrder(source.shard_sizes, streams, 16, seed=0)

    def enter(draw: int) -> None:  # the first rank's streams locate what they read first at a draw
        for stream in range(streams)[share(streams, 0, ranks)]:
            where = order.locate(stream, draw)
            assert order.segments(stream, where.pass_number, where.window)

    enter(0)
    ready = time.perf_counter()
    slowest = max(timing.seconds_of(partial(enter, part * order.stretch // 5 + part))
                  for part in range(1, 26))
    grown = fresh_process.peak("cpu") - before
    return {"opening the index": f"{opened - began:.2f} s",
            "order and first step": f"{ready - opened:.2f} s",
            "slowest of 25 steps entered": f"{slowest:.3f} s",
            "memory": f"{grown / 1e6:.0f} MB"}


if __name__ == "__main__":
    main()
