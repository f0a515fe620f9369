"""``corekit-eval``: the evaluators of a run or model folder, or others, on its weights."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from corekit.checkpoint.foreign.find import find_foreign
from corekit.checkpoint.own_runs import is_own_run
from corekit.cli.command import compose_command
from corekit.cli.sentences import sentences
from corekit.cli.train import check_roots_inside
from corekit.errors import CorekitError
from corekit.evaluation.suite.sets import find_folders, picked, read_table
from corekit.recipes.compose import checked_evaluation
from corekit.recipes.explain import FOREIGN, explain
from corekit.recipes.hydra_schema import recipe_schema
from corekit.recipes.saved import schema_of_saved, schema_of_sections
from corekit.recipes.schema import EvaluationConfig, EvaluatorConfig
from corekit.records import append_record

if TYPE_CHECKING:
    from corekit.evaluation.base import Result
    from corekit.evaluation.run import Progress

log = logging.getLogger(__name__)


def main() -> None:
    """The command."""
    configs = compose_command(checked_evaluation, config_name="eval",
                              make_schema=_schema_of_checkpoint)
    with sentences(FOREIGN, explain):
        for config in configs:
            for each in config.evaluators:
                check_roots_inside(f"evaluators.{each.label}", each, config.data.root)
                if each.name == "suite":
                    _check_suite(each)
            from corekit.evaluation.run import evaluate_checkpoint  # imports torch

            evaluate_checkpoint(config, _report)


def _check_suite(evaluator: EvaluatorConfig) -> None:
    """Refuse sets that are not as their table says, before torch is imported."""
    words = evaluator.arguments
    sets = picked(read_table(str(words.get("table"))), words.get("sets") or [])
    if not words.get("root"):
        return
    from corekit.evaluation.suite.checks import check_folder  # imports numpy

    folders = find_folders(str(words["table"]), str(words["root"]), sets)
    for each in sets:
        folder = folders[each.key]
        if folder is not None and words.get("check", True):
            check_folder(folder, each)


def _schema_of_checkpoint() -> DictConfig:
    """The schema with the values of the recipe beside the weights, so that overrides are typed."""
    words = sys.argv[1:]
    if any(word.lstrip("+").startswith("recipe=") for word in words):
        raise CorekitError("corekit-eval takes no recipe: the one beside the weights is used; "
                           "change its keys by typing them, as in data.root=FOLDER")
    parser = OverridesParser.create()
    checkpoints = [str(parser.parse_override(word).value()) for word in words
                   if word.startswith("checkpoint=")]
    if not checkpoints:
        if any(word in ("--help", "-h", "--hydra-help") for word in words):
            return recipe_schema(EvaluationConfig)
        raise CorekitError("type checkpoint=RUN: a run directory, a model folder, a folder of "
                           "transformers or open_clip, or open_clip:NAME,FILE; corekit-eval "
                           "--help tells more")
    others = any(word.startswith("+evaluation=") for word in words)
    checkpoint = checkpoints[-1]
    foreign = find_foreign(checkpoint)
    if foreign is not None:
        return schema_of_sections(foreign.recipe(), checkpoint)
    return schema_of_saved(recipe_path(checkpoint), checkpoint, own_evaluators=not others,
                           is_own_run=is_own_run(Path(checkpoint)))


def recipe_path(checkpoint: str) -> Path:
    """The recipe beside the weights of a run or a folder, found without importing torch."""
    path = Path(checkpoint)
    for folder in (path / "model", path):
        has_weights = (folder / "model.safetensors").is_file() or (folder / "export.json").is_file()
        if has_weights and (folder / "recipe.yaml").is_file():
            return folder / "recipe.yaml"
    if not path.exists():
        raise CorekitError(f"checkpoint={checkpoint} does not exist")
    raise CorekitError(f"checkpoint={checkpoint} holds no trained model: a run has "
                       "model/model.safetensors once its first checkpoint is complete, and a "
                       "folder of another library config.json or open_clip_config.json")


def _report(folder: Path, progress: "Progress", label: str, result: "Result") -> None:
    """Log a result and append it to the records."""
    from corekit.evaluation.run import records_path  # imports torch

    where = records_path(folder)
    log.info(f"{label} on {result}  ({where})")
    for line in result.table.splitlines():
        log.info(line)
    is_link = where.is_symlink() or where.with_suffix("").is_symlink()
    if is_link and not is_own_run(folder):
        log.warning("%s is a link that may have come with the weights: the figures are not "
                    "recorded; remove it", where)
        return
    try:
        record = {**result.record(*progress, label), "by": "corekit-eval"}
        if result.files:
            record["files"] = _write_files(where, label, result)
        append_record(where, record)
    except OSError as error:
        log.warning("%s cannot be written to (%s): the figures are not recorded", where,
                    error.strerror)


def _write_files(records: Path, label: str, result: "Result") -> str:
    """Write the files of an evaluation beside its record, under a name that is free."""
    from corekit.evaluation.base import write_files  # imports torch

    parent, number = records.with_suffix("") / label, 1
    while (parent / f"corekit_eval_{number}").exists():
        number += 1
    write_files(parent / f"corekit_eval_{number}", result.files)
    return str((parent / f"corekit_eval_{number}").relative_to(records.parent))
