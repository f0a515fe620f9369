"""Whether the parts of a recipe fit together, on meta tensors and before any allocation."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from corekit.checkpoint.initial.init_from import check_parts
from corekit.data.datasets.base import Batch, Source, dataset_info
from corekit.data.fields import Text
from corekit.data.loading.collate import example_batch
from corekit.data.loading.loader import SizedSampler
from corekit.data.tokenizers.base import TokenizerInfo, tokenizer_info
from corekit.data.transforms.base import Transform
from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.models.multimodal.multimodal import Conversational
from corekit.models.shapes import ShapesOnly
from corekit.optim.base import check_optimizer
from corekit.recipes.schema import EntryConfig, RunConfig
from corekit.train.assemble import CENTER_CROP, Parts
from corekit.train.step.loss_terms import WeightedLoss
from corekit.train.step.prepare import Frozen
from corekit.wiring import Wiring, check, rename_outputs


def example_offers(steps: int, size: int) -> Batch:
    """What the trainer adds to a batch: the step, the run's steps, a number for each sample."""
    return {"step": 0, "steps": steps, "uniform": torch.zeros(size, device="meta")}


def verify(parts: Parts) -> list[str]:
    """Check by name, on meta tensors, that model and losses get all the inputs they need.

    Returns:
        a line for each parameter that is left at its default.

    Raises:
        CorekitError: naming who needs what, and who gives what.
    """
    config, source, wiring = parts.config, parts.source, parts.wiring
    if not any(value.requires_grad for value in parts.model.parameters()):
        raise CorekitError(f"{wiring.label} has no parameter that is trained: nothing would be "
                           "learnt. Let the model leave requires_grad on where it is to learn")
    check_parts(parts.model, config.init.parts)
    if config.optimizer is not None:
        check_optimizer(config.optimizer.name, config.optimizer.arguments)
    tokenizer = tokenizer_info(parts.tokenizer)
    _check_context_length(parts.model, tokenizer, "model")
    _check_vocabulary(parts.model, tokenizer)
    _check_conversations(parts, tokenizer)
    batch = example_batch(parts.fields, parts.preprocess, parts.tokenizer, 2)
    offers = example_offers(config.engine.steps, 2)
    values = {**batch, **offers}
    givers = {_dataset(config): list(batch)}
    if {"image", "pictures"} & parts.fields.keys():
        _check_transform(parts, Transform.of(parts.transform), givers)
    givers["the trainer"] = list(offers)
    check(wiring, givers)
    for frozen in parts.frozen:
        _run_frozen(parts, frozen, values, givers)
    with ShapesOnly(), torch.no_grad():
        outputs = rename_outputs(parts.model(**wiring.pick(values)), config.model.outputs)
    givers[wiring.label] = list(outputs)
    _check_classes(config, source, outputs.get("logits"))
    if "image" in parts.fields:
        _check_sizes(parts, wiring, values)
    defaults = _defaulted(wiring, values)
    for term, loss in zip(parts.losses, config.loss, strict=True):
        check(term.wiring, givers)
        if term.weights is not None:
            check(term.weights, {giver: names for giver, names in givers.items()
                                 if giver != wiring.label})
        defaults += _defaulted(term.wiring, [name for names in givers.values() for name in names])
        _check_end(loss.key, term, tokenizer)
    _check_belonging(parts, {name for name in batch if values[name] is batch[name]})
    return defaults


def _run_frozen(parts: Parts, frozen: Frozen, values: Batch, givers: dict[str, list[str]]) -> None:
    """Check a frozen model, and add its outputs to the values."""
    check(frozen.wiring, givers)
    captions = {name for name, field in parts.fields.items() if isinstance(field, Text)}
    if not captions.isdisjoint(frozen.wiring.reads.values()):  # others bring their own tokenizer
        module, tokenizer = frozen.wiring.function, tokenizer_info(parts.tokenizer)
        assert isinstance(module, nn.Module)
        _check_context_length(module, tokenizer, f"frozen.{frozen.label}")
    with ShapesOnly(), torch.no_grad():
        outputs = frozen(values)
    values.update(outputs)
    givers[f"frozen model `{frozen.label}`"] = list(outputs)


def _defaulted(wiring: Wiring[object], names: Iterable[str]) -> list[str]:
    return [f"{wiring.label}: `{name}` left at its default" for name in wiring.defaulted(names)]


def _check_belonging(parts: Parts, entries: Collection[str]) -> None:
    """Refuse entries of the data set that are read without the one that they belong to."""
    wirings = [parts.wiring, *(frozen.wiring for frozen in parts.frozen),
               *(loss.wiring for loss in parts.losses)]
    read = {name for wiring in wirings for name in wiring.reads.values()}
    read |= set(Transform.of(parts.transform).reads)
    for entry, other in dataset_info(parts.source).belongs_to.items():
        if entry in read and entry in entries and other not in read:
            raise CorekitError(f"`{entry}` of {_dataset(parts.config)} belongs to its `{other}`, "
                               f"which {_transform(parts.config)} does not read: it would be of "
                               "another picture than the model sees. Set data.transform.name to "
                               f"one that reads `{other}`")


def _dataset(config: RunConfig) -> str:
    return f"dataset `{config.data.dataset.name if config.data.dataset else ''}`"


def _transform(config: RunConfig) -> str:
    return f"transform `{(config.data.transform or CENTER_CROP).name}`"


def _check_transform(parts: Parts, transform: Transform, givers: Mapping[str, list[str]]) -> None:
    """Refuse a transform whose inputs, size or moved fields do not fit the recipe."""
    label = _transform(parts.config)
    if isinstance(parts.sampler, SizedSampler):
        assert parts.config.sampler is not None
        sampler = f"sampler `{parts.config.sampler.name}`"
        if not transform.sized:
            raise CorekitError(f"{sampler} draws a size for the images of each step, but {label} "
                               "takes none: choose another one, such as random_resized_crop, or "
                               "sampler.name=fixed_size")
        if "pictures" in parts.fields:
            raise CorekitError(f"{sampler} draws a size for the images of each step, but a picture "
                               "in a conversation keeps as many tokens in all of them: set "
                               "sampler.name=fixed_size")
        givers = {**givers, sampler: ["size"]}
    required = frozenset(transform.required)
    check(Wiring(label, transform.function, {name: name for name in required}, required), givers)
    transform.check(label, parts.fields)


def _check_sizes(parts: Parts, wiring: Wiring[object], values: Batch) -> None:
    """Refuse a model that cannot take the smallest or the largest images of the sampler."""
    ends = {size for size, _ in (*parts.sizes[:1], *parts.sizes[-1:])}
    for size in ends - {parts.preprocess.size}:  # the model has run on images of that size
        image = values["image"].new_zeros(len(values["key"]), 3, size, size)
        try:
            with ShapesOnly(), torch.no_grad():
                wiring({**values, "image": image})
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise CorekitError(f"{wiring.label} cannot take images of {size} x {size} pixels, "
                               f"which the sampler draws: {reason}; "
                               "choose other sizes, or another model") from None


def _check_context_length(model: nn.Module, tokenizer: TokenizerInfo, key: str) -> None:
    """Refuse captions of another length than the text tower has positions for."""
    if tokenizer.context_length is None:
        return
    for module in model.modules():
        model_length = getattr(module, "context_length", None)
        if model_length not in (None, tokenizer.context_length):
            whose = "the model's" if key == "model" else "the frozen model's"
            raise CorekitError(f"data.tokenizer gives captions of {tokenizer.context_length} "
                               f"tokens, but {whose} text tower is made for {model_length}: set "
                               f"{key}.context_length and data.tokenizer.context_length to the "
                               "same number")


def _check_conversations(parts: Parts, tokenizer: TokenizerInfo) -> None:
    """Refuse conversations with other places of a picture, or longer ones, than the model has."""
    model, size = parts.model, parts.preprocess.size
    if tokenizer.picture_tokens is None or not isinstance(model, Conversational):
        return
    with ShapesOnly(), torch.no_grad():
        tokens = model.encode_pictures(torch.zeros(1, 3, size, size, device="meta")).shape[1]
    if tokens != tokenizer.picture_tokens:
        raise CorekitError(f"the model makes {tokens} tokens of a picture of {size} pixels, and "
                           f"conversations keep {tokenizer.picture_tokens} places for it: set "
                           f"data.tokenizer.picture_tokens={tokens}")
    length, most = tokenizer.context_length or 0, model.most_positions
    if most is not None and length > most:
        raise CorekitError(f"data.tokenizer cuts conversations at {length:,} tokens, but the "
                           f"language model is made for {most:,}: set "
                           f"data.tokenizer.context_length={most}")


def _check_vocabulary(model: nn.Module, tokenizer: TokenizerInfo) -> None:
    """Refuse a tokenizer with more ids than the model has rows, or with another end token."""
    vocab_size, end_token = tokenizer.vocab_size, tokenizer.end_token
    for name, module in model.named_modules():
        model_end = getattr(module, "end_token", None)
        if end_token is not None and model_end is not None and end_token != model_end:
            raise CorekitError(f"data.tokenizer ends captions with token {end_token}, but the "
                               f"model reads them at {model_end}: set model.vocab_size and "
                               "data.tokenizer.vocab_size to the same number")
        if vocab_size is None or not name.endswith("token_embedding"):
            continue
        if isinstance(module, nn.Embedding) and module.num_embeddings < vocab_size:
            raise CorekitError(f"data.tokenizer has {vocab_size:,} token ids, but the model is "
                               f"made for {module.num_embeddings:,}: set "
                               f"model.vocab_size={vocab_size}")


def _check_end(key: str, term: WeightedLoss, tokenizer: TokenizerInfo) -> None:
    """Refuse a loss that takes another token for the end of a caption than the tokenizer does."""
    end_token, loss_end = tokenizer.end_token, term.entry.end_token
    if end_token is not None and loss_end is not None and end_token != loss_end:
        raise CorekitError(f"data.tokenizer ends captions with token {end_token}, but "
                           f"{term.wiring.label} takes {loss_end} for their "
                           f"end: set {key}.end_token={end_token}")


def _check_classes(config: RunConfig, source: Source, logits: Tensor | LinearOutput | None) -> None:
    """Refuse a head of another width than the number of classes that the data set says it has."""
    classes = dataset_info(source).num_classes
    if classes is None or logits is None:
        return
    width = (logits.shape[1 if logits.ndim == 4 else -1] if isinstance(logits, Tensor)  # of pixels
             else logits.classes)
    if width != classes:
        key: str = "model"
        model: EntryConfig = config.model
        while "num_classes" not in model.arguments and (inner := model.inner("model")) is not None:
            key, model = f"{key}.model", inner  # one around another
        raise CorekitError(f"{_dataset(config)} has {classes:,} classes, but the head of model "
                           f"`{model.name}` has {width:,}: set {key}.num_classes={classes}")
