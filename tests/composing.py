"""A recipe as the command composes it, without a process of its own."""

from typing import Any

import hydra

from corekit.cli.compose import check_names, plain
from corekit.conf import sources
from corekit.conf.schema import recipe_schema


def compose(*words: str) -> dict[str, Any]:
    """The checked recipe that ``corekit-train`` would train for these words."""
    sources.install(recipe_schema())
    with hydra.initialize_config_module("corekit.conf", version_base="1.3"):
        recipe = plain(hydra.compose("train", list(words)))
    check_names(recipe)
    return recipe
