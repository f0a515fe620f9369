"""``corekit-eval``: the evaluators of a run or model folder, or others, on its weights."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from corekit.errors import CorekitError
from corekit.recipes.compose import check_entry, plain, run_command
from corekit.recipes.saved import load_saved_recipe
from corekit.recipes.schema import evaluation_schema


def main() -> None:
    """The command."""
    run_command(_evaluate, config_name="eval", make_schema=_schema_of_checkpoint)


def _schema_of_checkpoint() -> DictConfig:
    """The schema with the recipe that lies beside the weights as its values, so that overrides stay
    typed.
    """
    words = sys.argv[1:]
    schema = evaluation_schema()
    if any(word.lstrip("+").startswith("recipe=") for word in words):
        raise CorekitError("corekit-eval takes no recipe: the one beside the weights is used; "
                           "change its keys by "
                           "typing them, as in data.root=FOLDER")
    named = [word.split("=", 1)[1] for word in words if word.startswith("checkpoint=")]
    if not named:
        if any(word in ("--help", "-h", "--hydra-help") for word in words):
            return schema
        raise CorekitError("type checkpoint=RUN, a run directory or a model folder; corekit-eval "
                           "--help tells more")
    path = recipe_path(named[-1])
    saved = load_saved_recipe(path)
    kept = {
        str(key): value for key, value in saved.items() if key in schema and key != "checkpoint"
    }
    if any(word.startswith("+evaluation=") for word in words):
        kept.pop("evaluators", None)
    schema.merge_with(kept)
    schema.checkpoint = named[-1]
    return schema


def recipe_path(checkpoint: str) -> Path:
    """The recipe beside the weights of a run, a model folder or an exported one, found without
    importing torch.
    """
    path = Path(checkpoint)
    for folder in (path / "model", path):
        whole = (folder / "model.safetensors").is_file() or (folder / "export.json").is_file()
        if whole and (folder / "recipe.yaml").is_file():
            return folder / "recipe.yaml"
    if not path.exists():
        raise CorekitError(f"checkpoint={checkpoint} does not exist")
    raise CorekitError(f"checkpoint={checkpoint} holds no trained model: a run has "
                       f"model/model.safetensors once its "
                       "first checkpoint is complete")


def _evaluate(config: DictConfig) -> None:
    recipe = plain(config)
    if not recipe["evaluators"]:
        raise CorekitError("there is nothing to evaluate: this recipe has no evaluators; type "
                           "+evaluation=OPTION "
                           "(corekit-eval --help lists them)")
    for label, node in recipe["evaluators"].items():
        check_entry(f"evaluators.{label}", "evaluator", node)
    from corekit.evaluation.run import evaluate_checkpoint

    evaluate_checkpoint(recipe)
