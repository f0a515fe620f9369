"""The check of a plain recipe: its closed sections, the names it picks, and their arguments."""

from collections.abc import Container, Sequence
from typing import get_type_hints

from corekit import registry
from corekit.errors import CorekitError
from corekit.recipes.build import init_parts
from corekit.recipes.hydra_schema import FREE_SECTIONS
from corekit.recipes.hydra_sources import current_schema, known_keys, nearest_key
from corekit.recipes.origin import origin
from corekit.recipes.ranges import check_finite, check_ranges
from corekit.recipes.schema import (
    EntryConfig,
    EvaluatorConfig,
    InitPartConfig,
    LossConfig,
    ModelConfig,
    Node,
    Plain,
    RunConfig,
)
from corekit.signatures import fits, nearest

SUPPLIED = {  # what the engine itself gives to an entry that asks for it by name
    "dataset": ("root",),
    "transform": ("preprocess",),
    "sampler": ("batch_size", "streams", "preprocess", "seed"),
    "optimizer": ("model",),
    "schedule": ("steps",),
    "evaluator": ("preprocess",),
    "frozen": ("preprocess",),  # not a kind: models that are asked while another trains
}
CLASSES: dict[str, type[EntryConfig]] = {
    "model": ModelConfig, "loss": LossConfig, "evaluator": EvaluatorConfig}


def named_entries(recipe: Node) -> list[tuple[str, str, Plain]]:
    """(key in the recipe, kind, node) of every entry that a recipe names, in building order."""
    data, loss = recipe["data"], recipe["loss"]
    entries = [("model", "model", recipe["model"])]
    entries += [("loss", "loss", loss)] if "name" in loss else [
        (f"loss.{label}", "loss", node) for label, node in loss.items()]
    entries += [(f"data.{kind}", kind, data[kind]) for kind in ("dataset", "transform", "tokenizer")
              if data[kind]]
    entries += [(kind, kind, recipe[kind]) for kind in ("sampler", "optimizer", "schedule")
              if recipe.get(kind)]
    entries += [(f"frozen.{label}", "model", node)
              for label, node in (recipe.get("frozen") or {}).items()]
    entries += [(f"evaluators.{label}", "evaluator", node)
              for label, node in (recipe.get("evaluators") or {}).items()]
    return entries


def check_closed(section: Node, keys: Container[str], prefix: str = "") -> None:
    """Refuse keys that a + added to a closed section: Hydra lets them through."""
    for name, value in section.items():
        key = f"{prefix}{name}"
        if key not in keys:
            raise CorekitError(f"'{key}'{origin(key)} is not a key of a recipe{nearest_key(key)}")
        if isinstance(value, dict) and key not in FREE_SECTIONS:
            check_closed(value, keys, f"{key}.")


def check_names(recipe: Node) -> None:
    """Check every name a recipe picks, and every argument against the signature of what it names.

    Raises:
        CorekitError: naming the file, the key, what is accepted, and the nearest match.
    """
    check_closed(recipe, known_keys(current_schema()))
    check_ranges(RunConfig, recipe)
    if not recipe["model"]:
        raise CorekitError("there is no model: name a recipe, as in corekit-train "
                           "+recipe=mobileclip/quickstart (`corekit list recipes` lists them)")
    check_entry("model", "model", recipe["model"])
    if not recipe["loss"]:
        raise CorekitError("there is no loss: the recipe needs a `loss: {name: ...}`; `corekit "
                           "list losses` lists them")
    _check_head(recipe["init"])
    _check_parts(recipe["init"])
    for key, kind, node in named_entries(recipe):
        check_entry(key, kind, node, SUPPLIED.get(key.split(".")[0], SUPPLIED.get(kind, ())))
    for kind in ("sampler", "optimizer", "schedule"):
        if not recipe.get(kind):  # `~KIND` on the command line removes it
            raise CorekitError(f"there is no {kind}: the recipe needs a `{kind}: {{name: ...}}`; "
                               f"`corekit list {registry.plural(kind)}` lists them")


def _check_head(init: Node) -> None:
    """Check the head's name; its arguments have a key of their own, which ``random`` ignores."""
    name, names = init["head"], registry.names("head")
    if name is None or name == "random":
        return
    if name not in names:
        guess = nearest(name, ["random", *names])
        raise CorekitError(f"init.head{origin('init.head')}: no head is called '{name}'{guess}; "
                           "there are random and what `corekit list heads` lists")
    check_entry("init.head_arguments", "head", {**init["head_arguments"], "name": name})


def _check_parts(init: Node) -> None:
    """Check the weights of parts; beside them, no weights of the whole model may be named."""
    known = get_type_hints(InitPartConfig)
    for part, node in init_parts(init.get("parts") or {}).items():
        key = f"init.parts.{part}"
        if not isinstance(node, dict) or not node.get("path"):
            raise CorekitError(f"{key}{origin(key)} needs a path: {key}.path=RUN")
        for name, value in node.items():
            if name not in known:
                raise CorekitError(f"'{key}.{name}'{origin(f'{key}.{name}')} is not a key of a "
                                   f"part{nearest(name, known)}; it has {', '.join(known)}")
            if not fits(str(known[name]), value):
                raise CorekitError(f"{key}.{name}{origin(f'{key}.{name}')} takes {known[name]}, "
                                   f"not {value!r}")
    whole = [name for name in known if init.get(name)]
    if init.get("parts") and whole:
        raise CorekitError(f"init.parts{origin('init.parts')} names the weights of each part, and "
                           f"init.{whole[0]}{origin(f'init.{whole[0]}')} is of the whole model: "
                           "leave one of them out")


def check_entry(key: str, kind: str, node: object, supplied: Sequence[str] | None = None) -> None:
    """Check the name and the arguments of one node of a recipe that names an entry.

    The engine itself gives the ``supplied`` arguments, by default those of the kind.

    Raises:
        CorekitError: naming where it was set, the key, what is accepted, and the nearest match.
    """
    if not isinstance(node, dict) or "name" not in node:
        raise CorekitError(f"{key}{origin(key)} needs a `name`; "
                           f"`corekit list {registry.plural(kind)}` lists what there is")
    try:
        entry = registry.find(kind, str(node["name"]))
    except CorekitError as error:
        raise CorekitError(f"{key}.name{origin(key + '.name')}: {error}") from None
    check_ranges(CLASSES.get(kind, EntryConfig), node, f"{key}.")
    engine_keys = ("name", *CLASSES.get(kind, EntryConfig).wiring_keys())
    arguments = {name: value for name, value in node.items() if name not in engine_keys}
    supplied = SUPPLIED.get(kind, ()) if supplied is None else supplied
    for name, value in arguments.items():
        check_finite(f"{key}.{name}", value)
        _check_nested(f"{key}.{name}", name, value, supplied)
    for name, what in entry.signature.problems(arguments, supplied):
        unknown = name in arguments and "is not an" in what
        # the nearest of the engine's own keys, where no argument is near
        near = nearest(name, engine_keys) if unknown and "did you mean" not in what else ""
        remedy = f"{near}; to leave it out, type '~{key}.{name}'" if unknown else ""
        if unknown and (kind, name) == ("optimizer", "learning_rate"):
            remedy = ". The schedule scales `learning_rate`: give the optimizer this parameter"
        raise CorekitError(f"{key}.{name}{origin(f'{key}.{name}')}: {kind} '{entry.name}': "
                           f"'{name}' {what}{remedy}")


def _check_nested(key: str, name: str, value: object, supplied: Sequence[str]) -> None:
    inner_kind = registry.nested_kind(name, value)
    if inner_kind is not None:
        check_entry(key, inner_kind, value, supplied)
    elif isinstance(value, dict):
        for inner, item in value.items():
            _check_nested(f"{key}.{inner}", inner, item, supplied)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_nested(f"{key}.{index}", registry.item_key(name), item, supplied)
