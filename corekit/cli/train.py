"""``corekit-train``: compose the recipe, check it and its data, then hand it to the engine."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from corekit import registry
from corekit.cli.compose import check_names, plain, run_command, run_directory
from corekit.data.source import Source
from corekit.data.storage import LocalStorage, open_storage
from corekit.errors import CorekitError


def main() -> None:
    """The command."""
    run_command(_train, config_name="train")


def _train(config: DictConfig) -> None:
    recipe = plain(config)
    check_names(recipe)
    recipe["run_dir"] = str(run_directory(recipe))
    source = open_source(recipe)  # what can fail without torch fails before it is imported
    if recipe["dry_run"]:
        from corekit.engine.dry_run import dry_run

        dry_run(recipe, source)
    else:
        from corekit.engine.run import run

        if not run(recipe, source):
            sys.exit(128 + signal.SIGTERM)  # so that whoever waits for the end does not take this for it


def open_source(recipe: Mapping[str, Any]) -> Source:
    """The recipe's training data; a dry run does without the samples, so there may be none.

    Raises:
        CorekitError: there is no data set, or no samples in it.
    """
    node = recipe["data"]["dataset"]
    if not node:
        raise CorekitError("there is no data set: the recipe needs a `data.dataset: {name: ...}`; "
                           "`corekit list datasets` lists them")
    given = {key: value for key, value in node.items() if key != "name"}
    root = given.get("root", recipe["data"]["root"])
    if "root" in registry.find("dataset", node["name"]).signature.names and not recipe["dry_run"]:
        if root is None:
            raise CorekitError(f"dataset '{node['name']}' needs to know where its samples are: type data.root=FOLDER; "
                               "`corekit data openmoji FOLDER` writes shards to try with")
        if isinstance(open_storage(str(root)), LocalStorage) and not Path(str(root)).is_dir():  # before torch is imported
            raise CorekitError(f"data.root={root} is not a folder")
    source: Source = registry.build("dataset", node["name"], given, {"root": recipe["data"]["root"]})
    return source
