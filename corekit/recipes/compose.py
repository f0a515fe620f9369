"""From the command line to a checked recipe, and from what Hydra raises to a sentence a user can
act on.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from corekit import registry
from corekit.cli.sentences import sentences
from corekit.errors import CorekitError
from corekit.recipes import hydra_sources as sources
from corekit.recipes.find import recipe_file, recipe_names
from corekit.recipes.saved import RENAMED
from corekit.recipes.schema import FREE_SECTIONS, recipe_schema
from corekit.signatures import closest, nearest

Plain = dict[str, Any]
_FOREIGN = (HydraException, OmegaConfBaseException, yaml.YAMLError)


_schema = recipe_schema()  # what this process's command line is checked against


def run_command(task: Callable[[DictConfig], None], config_name: str,
                make_schema: Callable[[], DictConfig] = recipe_schema) -> None:
    """Compose the configuration named by the command line and hand it to the task.

    What a user can put right ends in one sentence and exit status 2; a programming error keeps its
    traceback.

    Args:
        task: gets the composed configuration, once for each job.
        config_name: the primary configuration.
        make_schema: gives the schema it is checked against.
    """
    global _schema
    with sentences(_FOREIGN, _explain):
        _schema = make_schema()
        if "--experimental-rerun" in sys.argv:
            raise CorekitError("--experimental-rerun is refused: it would unpickle a file; the "
                               "same command line "
                               "continues a run")
        # argparse takes overrides in one stretch only, so flags go after them wherever they were
        # typed
        sys.argv[1:] = sorted(
            sys.argv[1:],
            key=lambda word: word.startswith("-") or not ("=" in word or word.startswith("~")))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise, so that the sentence is ours
        sources.install(_schema)
        with _scratch_folder():
            hydra.main(version_base="1.3", config_path="pkg://corekit.recipes",
                       config_name=config_name)(_within_sentences(task))()


def compose(*words: str) -> Plain:
    """The checked recipe that ``corekit-train`` would train for these words, without a command of
    its own.

    Raises:
        CorekitError: as the command says it.
    """
    global _schema
    _schema = recipe_schema()
    sources.install(_schema)
    try:
        with hydra.initialize_config_module("corekit.recipes", version_base="1.3"):
            recipe = plain(hydra.compose("train", list(words)))
    except _FOREIGN as error:
        raise CorekitError(_explain(error)) from None
    check_names(recipe)
    return recipe


def _within_sentences(task: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """The task with its errors said inside it: Hydra would print a line of its own about any that
    pass through.
    """
    def said(config: DictConfig) -> None:
        with sentences(_FOREIGN, _explain):
            task(config)

    return said


@contextlib.contextmanager
def _scratch_folder() -> Iterator[None]:
    """A folder that goes away, for the one file Hydra insists on writing under ``-m``."""
    made: list[str] = []

    def scratch() -> str:
        if not made:
            made.append(tempfile.mkdtemp(prefix="corekit-sweep-"))
        return made[0]

    OmegaConf.register_new_resolver("corekit_scratch", scratch, replace=True)
    try:
        yield
    finally:
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)


def plain(config: DictConfig) -> Plain:
    """The configuration as plain values: no config object goes further than this."""
    resolved = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def recipe_name() -> str | None:
    """``<project>/<name>`` of the recipe on this command line, None without one."""
    choices = HydraConfig.get().runtime.choices
    groups = [group for group in choices if group == "recipe" or str(group).startswith("recipe@")]
    return str(choices[groups[0]]) if groups else None


def run_directory(recipe: Mapping[str, Any]) -> Path:
    """The run's directory: ``run_dir``, by default ``runs/<recipe>``; under ``-m`` a numbered one
    inside it.
    """
    base = Path(recipe["run_dir"] or Path("runs") / (recipe_name() or "unnamed"))
    settings = HydraConfig.get()
    return base / str(settings.job.num) if settings.mode == RunMode.MULTIRUN else base


# --- the check of names and arguments
# -------------------------------------------------------------------------

SUPPLIED = {  # what the engine itself gives to an entry that asks for it by name
    "dataset": ("root",),
    "transform": ("preprocess",),
    "sampler": ("batch_size", "streams", "preprocess", "seed"),
    "optimizer": ("model",),
    "schedule": ("steps",),
    "evaluator": ("preprocess",),
    "frozen": ("preprocess",),  # not a kind: models that are asked while another trains
}
WIRING = {
    "model": ("inputs", "outputs", "frozen"), "loss": ("inputs", "weight"),
    "evaluator": ("every_steps", )
}


def named_entries(recipe: Mapping[str, Any]) -> list[tuple[str, str, Plain]]:
    """(key in the recipe, kind, node) of everything a recipe picks by name, in the order it is
    built.
    """
    data = recipe["data"]
    found = [("model", "model", recipe["model"])]
    loss = recipe["loss"]
    found += [("loss", "loss", loss)] if "name" in loss else [
        (f"loss.{label}", "loss", node) for label, node in loss.items()]
    found += [(f"data.{kind}", kind, data[kind]) for kind in ("dataset", "transform", "tokenizer")
              if data[kind]]
    found += [(kind, kind, recipe[kind]) for kind in ("sampler", "optimizer", "schedule")
              if recipe.get(kind)]
    found += [(f"frozen.{label}", "model", node)
              for label, node in (recipe.get("frozen") or {}).items()]
    found += [(f"evaluators.{label}", "evaluator", node)
              for label, node in (recipe.get("evaluators") or {}).items()]
    return found


def check_closed(recipe: Mapping[str, Any]) -> None:
    """Refuse keys that a + added to a closed section: Hydra lets them through."""
    known = set(_keys(_schema))
    for key in _flat_keys(recipe):
        inside = any(key == section or key.startswith(section + ".") for section in FREE_SECTIONS)
        if key not in known and not inside:
            raise CorekitError(f"'{key}'{_origin(key)} is not a key of a recipe{nearest_key(key)}")


def _flat_keys(node: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in node.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, dict) and f"{prefix}{name}" not in FREE_SECTIONS:
            found += _flat_keys(value, f"{prefix}{name}.")
    return found


def check_names(recipe: Mapping[str, Any]) -> None:
    """Check every name a recipe picks, and every argument against the signature of what it names.

    Raises:
        CorekitError: naming the file or the command line, the key, what is accepted, and the
            nearest match.
    """
    check_closed(recipe)
    if not recipe["model"]:
        raise CorekitError("there is no model: name a recipe, as in corekit-train "
                           "+recipe=mobileclip/quickstart "
                           "(`corekit list recipes` lists them)")
    check_entry("model", "model", recipe["model"])
    if not recipe["loss"]:
        raise CorekitError("there is no loss: the recipe needs a `loss: {name: ...}`; `corekit "
                           "list losses` lists them")
    _check_head(recipe["init"])
    for key, kind, node in named_entries(recipe):
        check_entry(key, kind, node, SUPPLIED.get(key.split(".")[0], SUPPLIED.get(kind, ())))


def _check_head(init: Mapping[str, Any]) -> None:
    """A head is named by a word of its own, so that `init.head=random` leaves arguments of another
    one in peace.
    """
    name = init["head"]
    if name is None or name == "random":
        return
    if name not in registry.names("head"):
        raise CorekitError(f"init.head{_origin('init.head')}: no head is called '{name}'"
                           f"{nearest(name, ['random', *registry.names('head')])}; there are "
                           f"random and what "
                           "`corekit list heads` lists")
    check_entry("init.head_arguments", "head", {**init["head_arguments"], "name": name})


def check_entry(key: str, kind: str, node: object, supplied: Sequence[str] | None = None) -> None:
    """Check one node of a recipe that names an entry: the name, and its arguments against the
    signature.

    Args:
        key: where it stands in the recipe.
        kind: of entry.
        node: a mapping with a ``name`` and arguments.
        supplied: what the engine gives, where that is not what it gives to this kind: nested
            entries get what the outer does.

    Raises:
        CorekitError: naming where it was set, the key, what is accepted, and the nearest match.
    """
    if not isinstance(node, dict) or "name" not in node:
        raise CorekitError(f"{key}{_origin(key)} needs a `name`; "
                           f"`corekit list {registry.plural(kind)}` lists what there is")
    try:
        entry = registry.find(kind, str(node["name"]))
    except CorekitError as error:
        raise CorekitError(f"{key}.name{_origin(key + '.name')}: {error}") from None
    arguments = {
        name: value for name, value in node.items() if name not in ("name", *WIRING.get(kind, ()))
    }
    supplied = SUPPLIED.get(kind, ()) if supplied is None else supplied
    for name, value in arguments.items():
        _check_nested(f"{key}.{name}", name, value, supplied)
    for name, what in entry.signature.problems(arguments, supplied):
        remedy = f"; to leave it out, type '~{key}.{name}'" if name in arguments and "is not an" in what else ""
        raise CorekitError(f"{key}.{name}{_origin(f'{key}.{name}')}: {kind} '{entry.name}': "
                           f"'{name}' {what}{remedy}")


def _check_nested(key: str, name: str, value: object, supplied: Sequence[str]) -> None:
    inner_kind = registry.nested_kind(name, value)
    if inner_kind is not None:
        check_entry(key, inner_kind, value, supplied)
    elif isinstance(value, dict):
        for inner, item in value.items():
            _check_nested(f"{key}.{inner}", inner, item, supplied)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            _check_nested(f"{key}.{at}", registry.item_key(name), item, supplied)


def _origin(key: str) -> str:
    """Where a key was set: ' (on the command line)' or ' (in FILE)'; '' where nothing tells."""
    if not HydraConfig.initialized():
        return ""
    overrides = list(HydraConfig.get().overrides.task)
    for override in overrides:
        name = override.split("=", 1)[0].lstrip("+~")
        if name == key or key.startswith(name + ".") or name.startswith(key + "."):
            return " (on the command line)"
    for path, config in reversed(_composed_files(overrides)):
        if OmegaConf.select(config, key, throw_on_missing=False) is not None:
            return f" (in {path})"
    return ""


def _composed_files(overrides: list[str]) -> list[tuple[str, DictConfig]]:
    """Every file of this composition with its content at its place in the recipe, in the order of
    merging.
    """
    instance = GlobalHydra.instance().hydra
    if instance is None:
        return []
    loader = instance.config_loader
    defaults = loader.compute_defaults_list(HydraConfig.get().job.config_name, overrides,
                                            RunMode.RUN)
    found = []
    for default in defaults.defaults:
        loaded = None if default.config_path is None else _load(default.config_path)
        if loaded is not None:
            config: DictConfig = OmegaConf.create({})
            package = default.package or ""
            if package in ("", "_global_"):
                config = loaded[1]
            else:
                OmegaConf.update(config, package, loaded[1], force_add=True)
            found.append((loaded[0], config))
    return found


def _load(config_path: str) -> tuple[str, DictConfig] | None:
    recipe = recipe_file(config_path)
    candidates = [recipe
                  ] if recipe else [folder / f"{config_path}.yaml" for folder in _group_folders()]
    for path in candidates:
        if path is not None and path.is_file():
            return str(path), OmegaConf.load(path)  # type: ignore[return-value]
    return None


def _group_folders() -> list[Path]:
    from corekit.projects import package_folder

    return [
        folder
        for folder in (package_folder("corekit_recipes"), Path("recipes"), Path(__file__).parent)
        if folder is not None
    ]


# --- Hydra's and OmegaConf's errors, said again
# ---------------------------------------------------------------


def _explain(error: Exception) -> str:
    """One sentence for an error of composition: what, where, and the nearest right thing."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    text = f"{error}\n{root}" if root is not error else str(error)
    if isinstance(error, OverrideParseException):
        return (f"'{error.override}' on the command line cannot be read; put the whole override in "
                f"quotes, and values "
                "with spaces, brackets or commas in quotes of their own: \"key='a, b'\"")
    if isinstance(error, MissingConfigException):
        return _explain_missing(error)
    if match := re.search(r"Could not (?:override|append to config|delete from config).*?'([^']+)'",
                          text, re.S):
        return _explain_unknown_key(match.group(1), text)
    if match := re.search(r"Error merging override ~(\S+)", text):
        return (f"'~{match.group(1)}' on the command line: this key cannot be removed, only what "
                f"stands inside it, such as "
                f"'~{match.group(1)}.NAME'")
    if match := re.search(r"In '([^']+)': \w+ raised while\s+composing config:\s*", text):
        return f"{_file_of(match.group(1))}: {_explain_value(text[match.end():])}"
    if isinstance(root, yaml.YAMLError):
        return f"a recipe file is not valid YAML: {' '.join(str(root).split())}"
    return _explain_value(text)


def _file_of(config_path: str) -> str:
    loaded = recipe_file(config_path)
    if loaded is not None:
        return str(loaded)
    return next((str(folder / f"{config_path}.yaml") for folder in _group_folders()
                 if (folder / f"{config_path}.yaml").is_file()), config_path)


def _explain_missing(error: MissingConfigException) -> str:
    text = str(error)
    match = re.search(r"Could not find '([^']+)'", text)
    wanted = match.group(1) if match else str(error.missing_cfg_file)
    if wanted.startswith("recipe/"):
        name = wanted.removeprefix("recipe/")
        return (f"there is no recipe '{name}'{nearest(name, recipe_names())}; "
                "`corekit list recipes` lists them all")
    group, _, option = wanted.rpartition("/")
    options = list(error.options or [])
    offered = f"; options are {', '.join(options)}" if options else "; it names no group of options"
    return f"there is no '{option}' in group '{group}'{nearest(option, options)}{offered}" if group else (
        f"there is no option or group '{wanted}'{offered}")


def _explain_unknown_key(key: str, text: str) -> str:
    if "An item is already at" in text:
        return f"'+{key}' on the command line: '{key}' is there already, so change it without the +: {key}=..."
    if key.split(".")[0] == "recipe":
        return "a recipe is added with a +: type +recipe=PROJECT/NAME"
    if key in RENAMED:
        return f"'{key}' on the command line is called '{RENAMED[key]}' now"
    return f"'{key}' on the command line is not a key of a recipe{nearest_key(key)}; `--cfg job` shows every key"


def nearest_key(key: str) -> str:
    """The nearest key of the schema, as a suggestion: by the whole key, or by its last part in
    another section.
    """
    keys = _keys(_schema)
    by_last_part = {name.rsplit(".", 1)[-1]: name for name in keys}
    last_part = closest(key.rsplit(".", 1)[-1], by_last_part)
    match = closest(key, keys) or (by_last_part[last_part] if last_part else None)
    return f" (did you mean '{match}'?)" if match else ""


def _keys(schema: DictConfig, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in map(str, schema):
        key = f"{prefix}{name}"
        found.append(key)
        node = schema._get_node(name)
        if isinstance(node, DictConfig) and key not in FREE_SECTIONS and not node._is_none():
            found += _keys(node, key + ".")
    return found


def _explain_value(text: str) -> str:
    """The first lines of an OmegaConf message, with the key they are about and the nearest right
    one.
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")),
               "")
    said = next(
        (line for line in lines if not line.startswith(("full_key", "object_type", "reference_type",
                                                        ":")) and "raised while" not in line),
        "the recipe does not compose")
    said = re.sub(r"^Error merging override (\S+)$", r"'\1' on the command line", said)
    if said.endswith("on the command line"):
        said += ": " + next(
            (line for line in lines if line.startswith(("Value", "Invalid", "Key", "Cannot"))), "")
    if "not in" in said and key:
        said = f"'{key}' is not a key of a recipe{nearest_key(key)}"
        key = ""
    return f"{said}{f' (key {key})' if key and key not in said else ''}"
