"""``corekit-train``: compose the recipe, check it and its data, then hand it to the engine."""

import os
import signal
import sys
from collections.abc import Mapping
from functools import partial

from corekit import registry
from corekit.cli.command import compose_command
from corekit.cli.sentences import sentences
from corekit.data.datasets.base import Source
from corekit.data.storage import Storage, split_pattern
from corekit.errors import CorekitError
from corekit.recipes.compose import checked
from corekit.recipes.explain import FOREIGN, explain
from corekit.recipes.schema import EntryConfig, RunConfig


def main() -> None:
    """The command."""
    configs = compose_command(checked, config_name="train")
    with sentences(FOREIGN, explain):
        for config in configs:
            _train(config)


def _train(config: RunConfig) -> None:
    if config.dry_run:
        from corekit.train.dry_run import dry_run

        dry_run(config, open_source(config))
        return
    several = not {"WORLD_SIZE", "SLURM_STEP_NUM_TASKS"}.isdisjoint(os.environ)
    # of one process, what can fail without torch fails before it is imported
    source = partial(open_source, config) if several else open_source(config)
    from corekit.train.run import run

    if not run(config, source):
        sys.exit(128 + signal.SIGTERM)  # the run was stopped before its end


def open_source(config: RunConfig) -> Source:
    """The recipe's training data; a dry run does without the samples, so there may be none.

    Raises:
        CorekitError: there is no data set, or no samples in it.
    """
    dataset, root = config.data.dataset, config.data.root
    if dataset is None:
        raise CorekitError("there is no data set: the recipe needs a `data.dataset: {name: ...}`; "
                           "`corekit list datasets` lists them")
    if not config.dry_run:
        _check_root("data.dataset", dataset, root)
    source: Source = dataset.build("dataset", root=root)
    return source


def _check_root(key: str, dataset: EntryConfig, data_root: str | None) -> None:
    """Refuse a data set without the folder it needs, before torch is imported."""
    if "root" in registry.find("dataset", dataset.name).signature.names:
        where, root = "data.root", data_root
        if "root" in dataset.arguments:
            where, root = f"{key}.root", dataset.arguments["root"]
        if root is None or not str(root).strip():  # as of data.root=$NOT_SET
            raise CorekitError(f"dataset '{dataset.name}' needs to know where its samples are: "
                               f"type {where}=FOLDER; `corekit data openmoji FOLDER` writes shards "
                               "to try with")
        folder = Storage(split_pattern(str(root))[0])
        if not folder.is_folder() and not os.path.isfile(folder.url):  # of which `table` knows
            raise CorekitError(f"{where}={root} is not a folder")
    check_roots_inside(key, dataset, data_root)


def check_roots_inside(key: str, entry: EntryConfig, data_root: str | None) -> None:
    """Refuse an entry with a data set among its arguments that has no folder."""
    for name, value in entry.arguments.items():
        inner = entry.inner(name)
        if inner is not None and registry.nested_kind(name, value) == "dataset":
            _check_root(f"{key}.{name}", inner, data_root)
        elif isinstance(value, Mapping):
            check_roots_inside(f"{key}.{name}", EntryConfig("", value), data_root)
