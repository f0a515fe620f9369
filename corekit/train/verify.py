"""Whether the parts of a recipe fit together: on meta tensors, before anything is read or
allocated.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from corekit.data.datasets.base import Source
from corekit.data.loading.loader import CAPTIONS, fields_read
from corekit.data.loading.ragged import RAGGED
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.optim.base import check_optimizer
from corekit.train.assemble import (
    Recipe,
    build_frozen,
    build_model,
    build_preprocess,
    build_sampler,
    build_terms,
    build_transform,
    model_wiring,
    transform_node,
)
from corekit.train.loss_terms import WeightedLoss
from corekit.train.shapes import ShapesOnly
from corekit.train.wiring import Wiring, check, rename_outputs


def example_batch(source: Source, preprocess: Preprocess, tokenizer: Any, size: int,
                  device: str = "meta") -> dict[str, Any]:
    """A batch with the shapes and dtypes of the declared entries, and no content."""
    shapes: dict[str, Any] = {"key": [str(number) for number in range(size)]}
    for name in source.fields:
        if name == "image":
            shapes[name] = torch.zeros(size, 3, preprocess.size, preprocess.size, device=device)
        elif name in CAPTIONS:
            length = getattr(tokenizer, "context_length", 77)
            shapes[name] = torch.zeros(size, length, dtype=torch.int64, device=device)
            if tokenizer is not None:
                shapes[CAPTIONS[name]] = [""] * size
        elif name == "label":
            shapes[name] = torch.zeros(size, dtype=torch.int64, device=device)
        elif name in RAGGED:
            shapes[name] = torch.zeros(size, dtype=torch.int32, device=device)
            shapes[RAGGED[name]] = torch.zeros(size + 1, dtype=torch.int64, device=device)
        else:
            shapes[name] = []
    return shapes


def example_offers(recipe: Recipe, size: int) -> dict[str, Any]:
    """What the engine itself adds to a batch of a size: the step, the run's steps, and a random
    number of each sample.
    """
    return {
        "step": 0, "steps": recipe["engine"]["steps"], "uniform": torch.zeros(size, device="meta")
    }


def check_wiring(recipe: Recipe, source: Source, tokenizer: Any) -> list[str]:
    """Check by name that model and losses get all they ask for, on meta tensors, before anything is
    allocated.

    Returns:
        a line for each parameter that is left at its default.

    Raises:
        CorekitError: naming who needs what, and who gives what.
    """
    meta = torch.device("meta")
    if recipe.get("optimizer"):
        check_optimizer(recipe["optimizer"]["name"], recipe["optimizer"])
    model = build_model(recipe, meta)
    _check_context_length(model, tokenizer, "model")
    _check_vocabulary(model, tokenizer)
    wiring = model_wiring(recipe, model)
    batch = example_batch(source, build_preprocess(recipe), tokenizer, 2)
    given = {f"dataset `{recipe['data']['dataset']['name']}`": list(batch)}
    sampler = build_sampler(recipe)
    if "image" in source.fields:
        _check_transform(recipe, given, hasattr(sampler, "size"))
    offered = example_offers(recipe, 2)
    given["the engine"] = list(offered)
    check(wiring, given)
    values = {**batch, **offered}
    read = {*fields_read(build_transform(recipe)), *wiring.reads.values()}
    for frozen in build_frozen(recipe, meta):
        check(frozen.wiring, given)
        read |= set(frozen.wiring.reads.values())
        # others bring their own tokenizer
        if not CAPTIONS.keys().isdisjoint(frozen.wiring.reads.values()):
            assert isinstance(frozen.wiring.function, nn.Module)
            _check_context_length(frozen.wiring.function, tokenizer, f"frozen.{frozen.label}")
        with ShapesOnly():
            outputs = frozen(values)
        values.update(outputs)
        given[f"frozen model `{frozen.label}`"] = list(outputs)
    check(wiring, given)
    with ShapesOnly():
        outputs = rename_outputs(model(**wiring.pick(values)), recipe["model"].get("outputs"))
    given[wiring.label] = list(outputs)
    _check_classes(recipe, source, outputs.get("logits"))
    if "image" in source.fields:
        _check_sizes(sampler, wiring, values)
    defaults = [
        f"{wiring.label}: `{name}` left at its default" for name in wiring.defaulted(values)
    ]
    for term in build_terms(recipe):
        check(term.wiring, given)
        if term.weights is not None:
            check(term.weights,
                  {giver: names for giver, names in given.items() if giver != wiring.label})
        names = [name for names in given.values() for name in names]
        defaults += [
            f"{term.wiring.label}: `{name}` left at its default"
            for name in term.wiring.defaulted(names)
        ]
        _check_end(recipe, term, tokenizer)
        read |= set(term.wiring.reads.values())
    for entry, other in getattr(source, "belongs_to", {}).items():
        if entry in read and other not in read and values[entry] is batch[entry]:
            node = recipe["data"]
            raise CorekitError(f"`{entry}` of dataset `{node['dataset']['name']}` belongs to its "
                               f"`{other}`, which transform "
                               f"`{transform_node(recipe)['name']}` does not read: it would be of "
                               f"another picture than the model sees. Set data.transform.name to "
                               f"one that reads `{other}`")
    return defaults


def _check_transform(recipe: Recipe, given: Mapping[str, list[str]], sized: bool) -> None:
    """Refuse a transform that asks for what it will not get, or that does not ask for the size of
    the step where it has one.
    """
    transform, sampler = build_transform(recipe), f"sampler `{recipe['sampler']['name']}`"
    reads, label = fields_read(transform), f"transform `{transform_node(recipe)['name']}`"
    if sized and "size" not in reads:
        raise CorekitError(f"{sampler} draws a size for the images of each step, but {label} takes "
                           f"none: choose another one, "
                           "such as random_resized_crop, or sampler.name=fixed_size")
    if reads:
        check(Wiring.of(label, transform, transform.__call__),
              {**given, sampler: ["size"]} if sized else given)


def _check_sizes(sampler: Any, wiring: Wiring, values: Mapping[str, Any]) -> None:
    """Refuse a model that cannot take the smallest or the largest images of the sampler."""
    sizes = [size for size, _ in getattr(sampler, "table", ())]
    for size in {min(sizes), max(sizes)} if sizes else ():
        try:
            with ShapesOnly():
                wiring(
                    dict(values, image=values["image"].new_zeros(len(values["key"]), 3, size,
                                                                 size)))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise CorekitError(f"{wiring.label} cannot take images of {size} x {size} pixels, "
                               f"which the sampler draws: {reason}; "
                               "choose other sizes, or another model") from None


def _check_context_length(model: nn.Module, tokenizer: Any, key: str) -> None:
    """Refuse captions of another length than a text tower is made for: it would stretch its
    positions and say nothing.
    """
    given = getattr(tokenizer, "context_length", None)
    for module in model.modules():
        wanted = getattr(module, "context_length", None)
        if given is not None and wanted is not None and given != wanted:
            whose = "the model's" if key == "model" else "the frozen model's"
            raise CorekitError(f"data.tokenizer gives captions of {given} tokens, but {whose} text "
                               f"tower is made for {wanted}: "
                               f"set {key}.context_length and data.tokenizer.context_length to the "
                               f"same number")


def _check_vocabulary(model: nn.Module, tokenizer: Any) -> None:
    """Refuse a tokenizer with more ids than the model has rows for, or with another end than a text
    tower looks for.
    """
    given, end = (getattr(tokenizer, name, None) for name in ("vocab_size", "end_token"))
    for name, module in model.named_modules():
        wanted = getattr(module, "end_token", None)
        if end is not None and wanted is not None and end != wanted:
            raise CorekitError(f"data.tokenizer ends captions with token {end}, but the model "
                               f"reads them at {wanted}: set "
                               "model.vocab_size and data.tokenizer.vocab_size to the same number")
        if given is not None and isinstance(
                module,
                nn.Embedding) and name.endswith("token_embedding") and (module.num_embeddings
                                                                        < given):
            raise CorekitError(f"data.tokenizer has {given:,} token ids, but the model is made for "
                               f"{module.num_embeddings:,}: "
                               f"set model.vocab_size={given}")


def _check_end(recipe: Recipe, term: WeightedLoss, tokenizer: Any) -> None:
    """Refuse a loss that takes another token for the end of a caption: it would count padding, or
    stop too early.
    """
    given, wanted = getattr(tokenizer, "end_token", None), term.entry.end_token
    if given is not None and wanted is not None and given != wanted:
        key = "loss" if "name" in recipe["loss"] else f"loss.{term.label}"
        raise CorekitError(f"data.tokenizer ends captions with token {given}, but "
                           f"{term.wiring.label} takes {wanted} for their "
                           f"end: set {key}.end_token={given}")


def _check_classes(recipe: Recipe, source: Source, logits: Any) -> None:
    """Refuse a head of another width than the number of classes that the data set says it has."""
    classes = getattr(source, "num_classes", None)
    if classes is None or logits is None:
        return
    width = logits.shape[-1] if isinstance(logits, Tensor) else logits.classes
    if width != classes:
        key, model = "model", recipe["model"]
        # one around another
        while "num_classes" not in model and isinstance(model.get("model"), Mapping):
            key, model = f"{key}.model", model["model"]
        raise CorekitError(f"dataset `{recipe['data']['dataset']['name']}` has {classes:,} "
                           f"classes, but the head of model "
                           f"`{model['name']}` has {width:,}: set {key}.num_classes={classes}")
