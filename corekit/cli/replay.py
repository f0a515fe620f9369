"""``corekit replay`` and ``corekit data seen``: which samples a run trained on, and when."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.checkpoint.own_runs import refuse_somebody_elses
from corekit.cli.train import open_source
from corekit.errors import CorekitError
from corekit.recipes.saved import load_config
from corekit.recipes.schema import RunConfig
from corekit.records import read_records

if TYPE_CHECKING:  # --help needs no numpy
    from corekit.data.datasets.base import Source
    from corekit.data.image_grid import Picture


def add_replay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``replay`` to ``corekit``."""
    command = commands.add_parser(
        "replay", help="the samples of a step of a run, and the loss of each",
        description="Compute a step of a run once more: its samples, highest loss first, and its "
                    "loss beside the logged one. Training goes again from the newest checkpoint "
                    "before the step; nothing is written to the run.")
    _add_run(command)
    command.add_argument("step", type=int, help="its number, from 1, as in metrics.jsonl")
    command.add_argument("--picture", type=Path, help="a PNG file to draw the samples in")
    command.add_argument("--samples", type=int, default=16, help="how many samples to show")
    command.set_defaults(run=_replay)


def add_seen(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``seen`` to ``corekit data``."""
    command = data.add_parser(
        "seen", help="the steps in which a run trains on a sample",
        description="Find a sample by its key, and the steps that it is drawn for, by arithmetic "
                    "alone. Where it replaced a bad sample it was seen once more.")
    _add_run(command)
    command.add_argument("key", help="of the sample, as `corekit replay` shows it")
    command.set_defaults(run=_seen)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="RUN", help="the run directory")
    command.add_argument("--root", metavar="FOLDER", help="where the data lies now (data.root)")


def _open_run(args: argparse.Namespace) -> "tuple[RunConfig, Source]":
    """The recipe of a run and its data."""
    recipe = args.folder / "recipe.yaml"
    if not recipe.is_file():
        raise CorekitError(f"{args.folder} is no run directory: it has no recipe.yaml")
    refuse_somebody_elses(args.folder)
    config = load_config(recipe)
    if args.root is not None:
        config = replace(config, data=replace(config.data, root=args.root))
    return config, open_source(config)


def _replay(args: argparse.Namespace) -> None:
    if args.samples < 1 or (args.picture is not None
                            and not args.picture.absolute().parent.is_dir()):
        raise CorekitError(f"--picture {args.picture} with {args.samples} samples cannot be drawn: "
                           "it needs a folder that is there, and at least one sample")
    config, source = _open_run(args)
    from corekit.train.replay import replay

    replayed = replay(config, args.folder, source, args.step)
    logged = "not logged by the run"
    if replayed.logged is not None:
        equal = replayed.loss == replayed.logged
        logged = f"logged {replayed.logged!r}, " + ("the same to the bit" if equal else
                                                    f"{replayed.loss - replayed.logged:+.1e} off")
    print(f"step {args.step}: loss {replayed.loss!r} ({logged})")
    shown = replayed.highest(args.samples)
    for number in shown:
        print(f"{replayed.losses[number]:10.4f}  {replayed.name(number)}")
    if len(shown) < len(replayed.losses):
        print(f"{'...':>10}  {len(replayed.losses) - len(shown)} more; --samples shows them")
    if args.picture is not None:
        _draw(replayed.picture(shown), args.picture)
        print(f"{'picture':>10}  {args.picture}")


def _draw(picture: "Picture | None", file: Path) -> None:
    from PIL import Image

    if picture is None:
        raise CorekitError("no picture is drawn, because this step's images differ in size or are "
                           "no images")
    Image.fromarray(picture).save(file, "PNG")


def _seen(args: argparse.Namespace) -> None:
    config, source = _open_run(args)
    from corekit.data.loading.seen import find_sample, steps_of
    from corekit.data.loading.shuffled_order import order_of
    from corekit.data.transforms.preprocess import Preprocess
    from corekit.seeds import derive_seed
    from corekit.train.assemble import build_sampler
    from corekit.train.run_dir import order_version, refuse_another_run

    refuse_another_run(config, args.folder, source)
    data, records = config.data, read_records(args.folder / "metrics.jsonl")
    trained = records[-1]["step"] if records else 0
    order = order_of(source, data.streams, data.window, derive_seed(config.seed, "order"),
                     order_version(args.folder))
    sampler = build_sampler(config, Preprocess(**vars(data.preprocess)))
    places = list(find_sample(source, args.key))
    if not places:
        raise CorekitError(f"no sample of {args.folder}'s data has the key '{args.key}'; "
                           f"`{shlex.join(['corekit', 'replay', str(args.folder), '1'])}` shows "
                           "what keys look like")
    for shard, position in places:
        steps = steps_of(order, sampler, shard, position, config.engine.steps)
        print(f"shard {shard}, sample {position}: "
              f"{sum(step < trained for step, _ in steps)} times in the {trained:,} steps so far, "
              f"{len(steps)} in all {config.engine.steps:,}")
        for step, stream in steps:
            print(f"  step {step + 1}, stream {stream}" + ("" if step < trained else ", to come"))
