"""From the words of a command line to a checked, typed recipe."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from corekit.errors import CorekitError
from corekit.printable import plain_places
from corekit.recipes import hydra_sources
from corekit.recipes.build import evaluation_config, run_config
from corekit.recipes.check import check_entry, check_names
from corekit.recipes.explain import ENDLESS, FOREIGN, explain
from corekit.recipes.hydra_schema import recipe_schema
from corekit.recipes.ranges import check_ranges
from corekit.recipes.schema import EvaluationConfig, Plain, RunConfig


def compose(*words: str) -> RunConfig:
    """The checked recipe, or the CorekitError, of ``corekit-train`` with these words."""
    hydra_sources.install(recipe_schema())
    try:
        with hydra.initialize_config_module("corekit.recipes", version_base="1.3"):
            composed = plain(hydra.compose("train", plain_places(words)))
    except (*FOREIGN, ENDLESS) as error:
        raise CorekitError(explain(error)) from None
    check_names(composed)
    return run_config(composed)


def plain(config: DictConfig) -> Plain:
    """The configuration as plain values; no config object goes further."""
    resolved = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def checked(config: DictConfig) -> RunConfig:
    """The typed recipe of a command that Hydra composed, with the directory it runs in."""
    composed = plain(config)
    check_names(composed)
    composed["run_dir"] = str(_run_directory(composed["run_dir"]))
    return run_config(composed)


def checked_evaluation(config: DictConfig) -> EvaluationConfig:
    """The typed form of an evaluation that Hydra composed.

    Raises:
        CorekitError: it has no evaluators, or one of them does not exist or fit.
    """
    composed = plain(config)
    check_ranges(EvaluationConfig, composed)
    if not composed["evaluators"]:
        raise CorekitError("there is nothing to evaluate: this recipe has no evaluators; type "
                           "+evaluation=OPTION (corekit-eval --help lists them)")
    for label, node in composed["evaluators"].items():
        check_entry(f"evaluators.{label}", "evaluator", node)
    return evaluation_config(composed)


def recipe_name() -> str | None:
    """``<project>/<name>`` of the recipe on this command line, None without one."""
    choices = HydraConfig.get().runtime.choices
    groups = [group for group in choices if group == "recipe" or str(group).startswith("recipe@")]
    return str(choices[groups[0]]) if groups else None


def _run_directory(run_dir: str | None) -> Path:
    """``run_dir``, by default ``runs/<recipe>``; under ``-m`` a numbered folder inside it."""
    base = Path(run_dir or Path("runs") / (recipe_name() or "unnamed"))
    settings = HydraConfig.get()
    return base / str(settings.job.num) if settings.mode == RunMode.MULTIRUN else base
