"""A command that Hydra composes: its words, its sentences and its scratch folder."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TypeVar

import hydra
from omegaconf import DictConfig, OmegaConf

from corekit.cli.sentences import sentences
from corekit.errors import CorekitError
from corekit.recipes import hydra_sources
from corekit.recipes.explain import FOREIGN, explain
from corekit.recipes.hydra_schema import recipe_schema

T = TypeVar("T")


def compose_command(check: Callable[[DictConfig], T], config_name: str,
                    make_schema: Callable[[], DictConfig] = recipe_schema) -> list[T]:
    """Compose what the command line names: a configuration for each job, under ``-m`` several.

    What a user can put right ends in one sentence and exit status 2; a programming error keeps its
    traceback.

    Args:
        check: makes a typed recipe of a composed configuration.
        config_name: the primary configuration.
        make_schema: gives the schema it is checked against.
    """
    configs: list[T] = []
    with sentences(FOREIGN, explain):
        if "--experimental-rerun" in sys.argv:
            raise CorekitError("--experimental-rerun is refused: it would unpickle a file; the "
                               "same command line continues a run")
        # argparse takes overrides in one stretch only, so flags go after them wherever they were
        # typed
        sys.argv[1:] = sorted(
            sys.argv[1:],
            key=lambda word: word.startswith("-") or not ("=" in word or word.startswith("~")))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise, so that the sentence is ours
        hydra_sources.install(make_schema())
        with _scratch_folder():
            hydra.main(version_base="1.3", config_path="pkg://corekit.recipes",
                       config_name=config_name)(_within_sentences(check, configs))()
    return configs


def _within_sentences(check: Callable[[DictConfig], T],
                      configs: list[T]) -> Callable[[DictConfig], None]:
    """The task with its errors handled inside, before Hydra prints a line of its own about them."""
    def run(config: DictConfig) -> None:
        with sentences(FOREIGN, explain):
            configs.append(check(config))

    return run


@contextlib.contextmanager
def _scratch_folder() -> Iterator[None]:
    """A folder that goes away, for the one file Hydra insists on writing under ``-m``."""
    folders: list[str] = []

    def scratch() -> str:
        if not folders:
            folders.append(tempfile.mkdtemp(prefix="corekit-sweep-"))
        return folders[0]

    OmegaConf.register_new_resolver("corekit_scratch", scratch, replace=True)
    try:
        yield
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
