"""``corekit data index``, ``corekit data check``, and the jobs that make shards of shards."""

import argparse
import os
import shlex
import sys
from collections import Counter
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.data.datasets.base import dataset_info
from corekit.data.storage import SHARDS, TABLES
from corekit.errors import CorekitError
from corekit.printable import override, printable

if TYPE_CHECKING:  # --help needs no numpy
    from corekit.data.datasets.base import Source
    from corekit.data.shards.check import Findings, RawSamples
    from corekit.data.shards.index import Index


TOKENIZED = 2000  # captions


def add_commands(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them to ``corekit data``."""
    index = data.add_parser(
        "index", help="index a folder of tar shards, so that runs start at once")
    index.set_defaults(run=_index)
    check = data.add_parser(
        "check", help="what is in a folder of shards or a data set, and what is wrong with it",
        description="Read and decode every sample; say what there is and which samples are bad, by "
                    "kind, and what keeps a model from learning. Exit status: 0 where all is "
                    "well, 1 where something is wrong, 2 where nothing could be checked.")
    check.add_argument("--picture", type=Path,
                       help="a PNG file to draw a few samples in, with their captions")
    check.add_argument("--samples", type=int, default=5, help="how many samples the picture shows")
    check.add_argument("--context-length", type=int, default=77,
                       help="tokens of CLIP's tokenizer that a model reads of a caption")
    check.add_argument("--fields", nargs="*", metavar="FIELD=COLUMN", default=[],
                       help="columns of a table, as in --fields image=photo text=words")
    check.set_defaults(run=_check, job=None)
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
    shards.add_argument("--workers", type=int, default=2, help="processes")
    shards.set_defaults(run=_shards, job=None)
    for command in (index, check):
        command.add_argument("root", help="the folder, URL or table, as data.root names it" + (
            "; also a folder laid out as COCO, LVIS, ADE20k, Cityscapes or Pascal VOC are, or the "
            "name of a data set with its arguments as KEY=VALUE" if command is check else ""))
        command.add_argument("--shards", default=SHARDS,
                             help="pattern of the shards' names under it")
        command.add_argument("--workers", type=int, default=2, help="processes")


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
    progress = run_job(options.job, _arguments(options.words), source, options.out,
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

    source = open_source(options.source, _arguments(options.words))
    manifest = write_shards(source, Path(options.out), options.samples_per_shard,
                            options.image_format, workers=options.workers)
    written = sum(shard.samples for shard in manifest.shards)
    bad = sum((Counter(shard.bad) for shard in manifest.shards), Counter[str]())
    print(f"{len(manifest.shards):,} shards, {written:,} samples under {options.out}")
    _print_bad(bad)
    stored = {name: options.image_format if field.geometry == "image" else field.extensions[0]
              for name, field in find_fields(source.fields).items() if field.extensions}
    listed = ", ".join(f"{name}: {extension}" for name, extension in stored.items())
    print(f"train on them with {override('data.root', options.out)} "
          f"'data.dataset={{name: webdataset, fields: {{{listed}}}}}'")


def _print_bad(counts: "Counter[str]") -> None:
    """A line with the samples that were left out."""
    bad = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
    print(f"{'bad':<12}" + (f"{bad}: left out" if bad else "none"))


def _arguments(words: list[str]) -> dict[str, object]:
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


def _index(options: argparse.Namespace, beside: bool = True) -> "Index":
    from corekit.data.shards.indexing import build_index
    from corekit.data.storage import split_pattern

    folder, pattern = split_pattern(options.root)
    index = build_index(folder, pattern or options.shards, options.workers, beside)
    print(f"{len(index):,} shards, {index.samples.sum():,} samples, "
          f"{index.sizes.sum() / 2**30:.2f} GiB under {options.root}")
    return index


def _open(options: argparse.Namespace) -> "RawSamples":
    """The shards or the table to check."""
    if not options.root.lower().endswith(TABLES):
        return _index(options, beside=False)
    from corekit.data.datasets.table import Table

    words = [word.partition("=") for word in options.fields]
    table = Table(options.root, {field: column for field, _, column in words} or None)
    print(f"{table.samples.sum():,} samples in {options.root}")
    return table


def _sources(options: argparse.Namespace) -> "list[Source]":
    """The data sets to check; none where the root holds shards or is a table."""
    from corekit import registry
    from corekit.data.datasets.dense.layouts import layouts, open_source

    if options.root in registry.names("dataset"):
        sources = [open_source(options.root, _arguments(options.words))]
    elif options.words:
        raise CorekitError(f"{' '.join(options.words)}: KEY=VALUE goes with the name of a data set "
                           f"of `corekit list datasets`, which {options.root} is not")
    else:
        whole = {"coco_instances": {"crowds": True, "unannotated": True}}
        sources = [open_source(name, {"root": options.root, "split": split, **whole.get(name, {})})
                   for name, splits in layouts(options.root).items() for split in splits]
    for source in sources:
        print(f"{source.shard_sizes.sum():,} samples in {dataset_info(source).name}")
    return sources


def _check(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from corekit.data.shards.check import Findings, check_index, picture_of
    from corekit.data.shards.check_source import check_source, source_picture

    if options.samples < 1 or (options.picture is not None
                              and not options.picture.absolute().parent.is_dir()):
        raise CorekitError(f"--picture {options.picture} with {options.samples} samples cannot be "
                           "drawn: it needs a folder that is there, and at least one sample")
    sources, findings = _sources(options), Findings()
    if sources:
        parts = [check_source(each, options.workers) for each in sources]
        shards = sum(len(each.shard_sizes) for each in sources)
    else:
        index = _open(options)
        parts, shards = [check_index(index, options.workers)], len(index.samples)
    for part in track(chain.from_iterable(parts), "reading", total=shards,
                      console=Console(stderr=True), transient=True,
                      disable=not sys.stderr.isatty()):
        findings.add(part)
    _print_findings(findings)
    warnings = _warnings(findings, options.root, options.context_length)
    for sentence in warnings:
        print(f"{'warning':<12}{sentence}")
    if options.picture is not None:
        from PIL import Image

        picture = (source_picture(sources[0], options.samples) if sources
                   else picture_of(index, options.samples))
        Image.fromarray(picture).save(options.picture, "PNG")
        print(f"{'picture':<12}{options.picture}")
    if findings.problems() or warnings or not findings.samples:
        sys.exit(1)


def _warnings(findings: "Findings", root: str, context_length: int) -> list[str]:
    """What keeps a model from learning from samples that are sound one by one."""
    from corekit import registry
    from corekit.data.fields import Text
    from corekit.data.shards.check import known_fields
    from corekit.train.symptoms.of_data import CONTEXT, cut_captions, values_symptoms
    from corekit.train.symptoms.symptom import Symptom

    look = f"`corekit data check {shlex.quote(root)} --picture samples.png` draws some."
    tokenizer = registry.build("tokenizer", "clip_bpe", {"context_length": context_length})
    fields, symptoms = known_fields(), list[Symptom | None]()
    for name, counts in findings.values.items():
        symptoms += values_symptoms(fields[name], counts, look)
        if isinstance(fields[name], Text):
            captions = [str(caption) for caption in islice(counts.elements(), TOKENIZED)]
            symptoms.append(cut_captions(captions, tokenizer, context_length, CONTEXT))
    return [symptom.sentence for symptom in symptoms if symptom is not None]


def _print_findings(findings: "Findings") -> None:
    from corekit.data.shards.check import spread

    counts = [f"{name} {count:,}" for name, count in findings.extensions.most_common()]
    print(f"{'fields':<12}{printable(', '.join(counts))}")
    if findings.widths:
        print(f"{'images':<12}{findings.widths.total():,}; width {spread(findings.widths)}, height "
              f"{spread(findings.heights)} pixels (least / median / most)")
    if findings.lengths:
        print(f"{'captions':<12}{findings.lengths.total():,}; "
              f"{spread(findings.lengths)} characters")
    different = [f"{len(counts):,} {name}" for name, counts in findings.values.items()]
    if different:
        compared = max(counts.total() for counts in findings.values.values())
        print(f"{'different':<12}{', '.join(different)} among {compared:,} samples")
    problems = findings.problems()
    bad = sum(count for count, _ in problems.values())
    if findings.samples:
        counted = f"{bad:,} samples, {bad / findings.samples:.3%}" if bad else "none"
    else:
        counted = "the shards hold no samples"
    print(f"{'bad':<12}{counted}")
    for kind, (count, names) in sorted(problems.items()):
        print(f"  {kind}: {count:,}")
        for name in names:
            print(f"    {printable(name)}")
        if count > len(names):
            print("    ...")
