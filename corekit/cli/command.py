"""A command that Hydra composes: its words, its sentences and its scratch folder."""

import os
import sys
import tempfile
from collections.abc import Callable
from typing import TypeVar

import hydra
from omegaconf import DictConfig, OmegaConf

from corekit.cli.sentences import sentences
from corekit.errors import CorekitError
from corekit.printable import plain_places
from corekit.recipes import hydra_sources
from corekit.recipes.explain import ENDLESS, FOREIGN, explain
from corekit.recipes.hydra_schema import recipe_schema

T = TypeVar("T")


def compose_command(check: Callable[[DictConfig], T], config_name: str,
                    make_schema: Callable[[], DictConfig] = recipe_schema) -> list[T]:
    """Compose what the command line names: a configuration for each job, under ``-m`` several.

    A user's error ends in one sentence and exit status 2; a programming error keeps its traceback.

    Args:
        check: makes a typed recipe of a composed configuration.
        config_name: the primary configuration.
        make_schema: gives the schema it is checked against.
    """
    configs: list[T] = []

    @hydra.main(version_base="1.3", config_path="pkg://corekit.recipes", config_name=config_name)
    def run(config: DictConfig) -> None:
        # before Hydra prints a line of its own about the error
        with sentences(FOREIGN, explain, alike=True):
            configs.append(check(config))

    with sentences((*FOREIGN, ENDLESS), explain, alike=True):
        if "--experimental-rerun" in sys.argv:
            raise CorekitError("--experimental-rerun is refused: it would unpickle a file; the "
                               "same command line continues a run")
        # argparse takes overrides in one stretch only, so flags go after them
        words = plain_places(sys.argv[1:])
        sys.argv[1:] = sorted(words, key=lambda word: word.startswith("-") or not (
            "=" in word or word.startswith("~")))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise, so that the sentence is ours
        hydra_sources.install(make_schema())
        # for the one file that Hydra insists on writing under -m
        with tempfile.TemporaryDirectory(prefix="corekit-sweep-",
                                         ignore_cleanup_errors=True) as folder:
            OmegaConf.register_new_resolver("corekit_scratch", lambda: folder, replace=True)
            run()
    return configs
