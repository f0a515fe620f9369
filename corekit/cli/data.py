"""``corekit data index`` and ``corekit data check``."""

import argparse
import shlex
import sys
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.cli.data_writing import arguments
from corekit.data.datasets.base import dataset_info
from corekit.data.storage import SHARDS, TABLES
from corekit.errors import CorekitError
from corekit.printable import printable

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
    for command in (index, check):
        command.add_argument("root", help="the folder, URL or table, as data.root names it" + (
            "; also a folder laid out as COCO, LVIS, ADE20k, Cityscapes or Pascal VOC are, or the "
            "name of a data set with its arguments as KEY=VALUE" if command is check else ""))
        command.add_argument("--shards", default=SHARDS,
                             help="pattern of the shards' names under it")
        command.add_argument("--workers", type=int, default=2, help="processes")


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
        sources = [open_source(options.root, arguments(options.words))]
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
