"""``corekit data shards``, and the jobs that make shards of shards."""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from corekit.data.storage import SHARDS
from corekit.errors import CorekitError
from corekit.printable import override


def add_shards(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``shards`` to ``corekit data``."""
    shards = data.add_parser(
        "shards", allow_abbrev=False, help="write any data set as WebDataset shards",
        usage="corekit data shards SOURCE OUT [KEY=VALUE ...] [options]",
        description="Write a data set as tar shards: pictures as they are, KEY.json with their "
                    "objects as COCO has them, KEY.png with their class maps. Bad samples are "
                    "counted and left out. The same command goes on where it was stopped.")
    shards.add_argument("source", help="a data set of `corekit list datasets`, with its arguments "
                                       "as KEY=VALUE, or a folder laid out as COCO, LVIS, ADE20k, "
                                       "Cityscapes or Pascal VOC are")
    shards.add_argument("out", help="the folder to write")
    shards.add_argument("--samples-per-shard", type=int, default=1000)
    shards.add_argument("--image-format", choices=["jpg", "png", "webp"], default="jpg",
                        help="of pictures that are not JPEGs already, or of all")
    shards.add_argument("--split", metavar="NAME",
                        help="write an evaluation set as CLIP_benchmark lays them out, such as "
                             "OUT/test/0.tar")
    shards.add_argument("--workers", type=int, default=2, help="processes")
    shards.set_defaults(run=_shards, job=None)


def add_jobs(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add every job of the registry to ``corekit data``, read from source."""
    from corekit import registry

    for entry in registry.entries("job").values():
        described = "\n".join(f"  {parameter}" for parameter in entry.signature.parameters)
        # argparse formats both
        summary, doc = (text.replace("%", "%%") for text in (entry.summary, entry.doc))
        job = data.add_parser(
            entry.name, help=summary, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            usage=f"corekit data {entry.name} SOURCE OUT [KEY=VALUE ...] [options]",
            description=f"{doc}\n\nEach shard becomes one shard. The same command goes on where it "
                        "was stopped.", epilog=f"KEY=VALUE, as in recipes:\n{described}")
        job.add_argument("source", help="the folder or URL of the shards")
        job.add_argument("out", help="the folder to write; of several machines, one that all see")
        job.add_argument("--shards", default=SHARDS,
                         help="pattern of the shards' names under SOURCE")
        job.add_argument("--workers", type=int, default=1, help="processes")
        job.add_argument("--task", metavar="I/N",
                         help="do the I-th of N shares, counted from 0; default: what SLURM says "
                              "of a job array, else all")
        job.add_argument("--ray", action="store_true",
                         help="spread over a Ray cluster instead of processes here")
        job.set_defaults(run=_job, job=entry.name)


def _job(options: argparse.Namespace) -> None:
    from corekit.data.jobs.driver import run_job
    from corekit.data.jobs.ray_cluster import in_ray
    from corekit.data.loading.workers import in_processes
    from corekit.data.storage import split_pattern

    source, pattern = split_pattern(options.source)
    progress = run_job(options.job, arguments(options.words), source, options.out,
                       pattern or options.shards, options.workers, _task(options.task, os.environ),
                       in_ray if options.ray else in_processes,
                       _show_progress if sys.stderr.isatty() else lambda *_: None)
    print(f"{progress.written + progress.existing:,} shards, {progress.written:,} of them made "
          f"now; {progress.samples:,} samples under {options.out}")
    _print_bad(progress.bad)
    if not progress.complete:
        print(f"of {progress.shards:,} shards in all some are still to come, from other tasks")


def _shards(options: argparse.Namespace) -> None:
    from corekit.data.datasets.dense.layouts import open_source
    from corekit.data.fields import find_fields
    from corekit.data.shards.writer import write_shards

    source = open_source(options.source, arguments(options.words))
    manifest = write_shards(source, Path(options.out), options.samples_per_shard,
                            options.image_format, workers=options.workers,
                            split=options.split)
    written = sum(shard.samples for shard in manifest.shards)
    bad = sum((Counter(shard.bad) for shard in manifest.shards), Counter[str]())
    print(f"{len(manifest.shards):,} shards, {written:,} samples under {options.out}")
    _print_bad(bad)
    if hasattr(source, "instances"):
        print(f"{len(source.instances):,} choices among them in instances.jsonl")
        return
    pictures = ("image", "pictures")
    stored = {name: options.image_format if field.geometry in pictures else field.extensions[0]
              for name, field in find_fields(source.fields).items() if field.extensions}
    folder = f"{options.out}/{options.split}" if options.split else options.out
    listed = ", ".join(f"{name}: {extension}" for name, extension in stored.items())
    print(f"train on them with {override('data.root', folder)} "
          f"'data.dataset={{name: webdataset, fields: {{{listed}}}}}'")


def _print_bad(counts: "Counter[str]") -> None:
    """A line with the samples that were left out."""
    bad = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
    print(f"{'bad':<12}" + (f"{bad}: left out" if bad else "none"))


def arguments(words: list[str]) -> dict[str, object]:
    """KEY=VALUE words as a mapping, read as recipes read them."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    for word in words:
        if word.startswith("-") or "=" not in word:
            raise CorekitError(f"'{word}' is neither an option nor KEY=VALUE")
    try:
        arguments = OmegaConf.to_container(OmegaConf.from_dotlist(words), resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CorekitError(f"{' '.join(words)} cannot be read: {reason}") from None
    assert isinstance(arguments, dict)
    return {str(key): value for key, value in arguments.items()}


def _task(option: str | None, environment: "os._Environ[str] | dict[str, str]") -> tuple[int, int]:
    if option is not None:
        number, slash, tasks = option.partition("/")
        if not (slash and number.isdigit() and tasks.isdigit()):
            raise CorekitError(f"--task {option} is not I/N, such as 0/8")
        return int(number), int(tasks)
    first, step, index, count = (
        int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
        for name, default in (("MIN", 0), ("STEP", 1), ("ID", 0), ("COUNT", 1)))
    return (index - first) // step, count


def _show_progress(done: int, total: int) -> None:
    print(f"\r{done:,} of {total:,} shards", end="\n" if done == total else "", file=sys.stderr,
          flush=True)
