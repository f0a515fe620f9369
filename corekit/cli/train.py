"""``corekit-train``: compose the recipe, check it and its data, then hand it to the engine."""

import signal
import sys
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from corekit import registry
from corekit.data.datasets.base import Source
from corekit.data.storage import Storage
from corekit.errors import CorekitError
from corekit.recipes.compose import check_names, plain, run_command, run_directory


def main() -> None:
    """The command."""
    run_command(_train, config_name="train")


def _train(config: DictConfig) -> None:
    recipe = plain(config)
    check_names(recipe)
    recipe["run_dir"] = str(run_directory(recipe))
    source = open_source(recipe)  # what can fail without torch fails before it is imported
    if recipe["dry_run"]:
        from corekit.train.dry_run import dry_run

        dry_run(recipe, source)
    else:
        from corekit.train.run import run

        if not run(recipe, source):
            # so that whoever waits for the end does not take this for it
            sys.exit(128 + signal.SIGTERM)


def open_source(recipe: Mapping[str, Any]) -> Source:
    """The recipe's training data; a dry run does without the samples, so there may be none.

    Raises:
        CorekitError: there is no data set, or no samples in it.
    """
    node = recipe["data"]["dataset"]
    if not node:
        raise CorekitError("there is no data set: the recipe needs a `data.dataset: {name: ...}`; "
                           "`corekit list datasets` lists them")
    if not recipe["dry_run"]:
        _check_roots("data.dataset", node, recipe["data"]["root"])
    given = {key: value for key, value in node.items() if key != "name"}
    source: Source = registry.build("dataset", node["name"], given,
                                    {"root": recipe["data"]["root"]})
    return source


def _check_roots(key: str, node: Mapping[str, Any], data_root: str | None) -> None:
    """Refuse a data set, or one inside it, without the folder it needs, before torch is
    imported.
    """
    named = registry.nested_kind(key.rsplit(".", 1)[-1], node) == "dataset"
    if named and "root" in registry.find("dataset", node["name"]).signature.names:
        where, root = (f"{key}.root", node["root"]) if "root" in node else ("data.root", data_root)
        if root is None:
            raise CorekitError(f"dataset '{node['name']}' needs to know where its samples are: "
                               f"type {where}=FOLDER; "
                               "`corekit data openmoji FOLDER` writes shards to try with")
        if not Storage(str(root)).is_folder():
            raise CorekitError(f"{where}={root} is not a folder")
    for name, value in node.items():
        if isinstance(value, Mapping):
            _check_roots(f"{key}.{name}", value, data_root)
