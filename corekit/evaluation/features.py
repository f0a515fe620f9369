"""The features of a data set's images: a rank's share as it comes, or everything on every rank."""

import inspect
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.fields import find_field
from corekit.data.loading.eval_loader import Chunk, chunks
from corekit.data.shards.members import default_fields
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.stored_features import StoredFeatures
from corekit.linear_output import LinearOutput, dense

METHODS = {None: "encode_image", "tokens": "encode_tokens"}  # output -> method that may give it


def check_field(evaluator: str, argument: str, dataset: Source, field: str) -> None:
    """Raise a CorekitError where a data set lacks a field that an evaluator needs."""
    if field not in dataset.fields:
        stored = ", ".join(f"{name}: '{extensions}'" if ";" in extensions else
                           f"{name}: {extensions}"
                           for name, extensions in default_fields("image", field).items())
        hint = f"; for shards, set {argument}.fields to {{{stored}}}"
        raise CorekitError(f"evaluator '{evaluator}' needs a data set with a `{field}` field"
                           f"{hint if find_field(field).extensions else ''}")


def check_batch_size(evaluator: str, batch_size: int) -> None:
    """Raise a CorekitError for a batch size that is none."""
    if batch_size < 1:
        raise CorekitError(f"evaluator '{evaluator}' needs a batch_size of 1 or more, not "
                           f"{batch_size}")


@torch.no_grad()
def encode(eval_model: EvalModel, source: Source, batch_size: int,
           output: str | None = None) -> Iterator[tuple[Chunk, Tensor]]:
    """This rank's chunks of a data set, each with the features of its images, float32 [n, ...].

    All ranks run the model equally often, as sharded models need it: on one blank image where a
    chunk has none. Where features are kept and found, no image is read, and chunks have none.

    Args:
        eval_model, source: the model, and the data set.
        batch_size: samples of a chunk.
        output: which of the forward's outputs. ``tokens``: the output of ``encode_tokens`` where
            the model has it. None: the output of ``encode_image`` where the model has it, else
            ``pooled``, or the one tensor that the forward returns.

    Raises:
        CorekitError: the data set is empty, or the model has no such output.
    """
    if not StoredFeatures.are_kept(eval_model, source, output):
        yield from _encoded(eval_model, source, batch_size, output)
        return
    stored = StoredFeatures(eval_model, source, output)
    if stored.is_complete():
        yield from stored.read(batch_size)
        return
    with stored.writing() as writer:
        for chunk, features in _encoded(eval_model, source, batch_size, output):
            if writer is not None:
                writer.add(chunk, features)
            yield chunk, features


def _encoded(eval_model: EvalModel, source: Source, batch_size: int,
             output: str | None) -> Iterator[tuple[Chunk, Tensor]]:
    for chunk, features in outputs(eval_model, source, batch_size, output):
        yield chunk, dense(features)[:len(chunk["image"])].float()


@torch.no_grad()
def outputs(eval_model: EvalModel, source: Source, batch_size: int,
            output: str | None) -> Iterator[tuple[Chunk, Tensor | LinearOutput]]:
    """As ``encode``, but the model's output as it is: of a blank image where a chunk has none."""
    if not source.shard_sizes.sum():
        raise CorekitError("the data set of an evaluator holds no samples; set data.root, or its "
                           "own root")
    read = 0
    for chunk in chunks(source, eval_model.preprocess, batch_size, eval_model.rank,
                        eval_model.world, eval_model.workers, ahead=eval_model.ahead):
        images: Tensor = chunk["image"]
        if not len(images):
            images = torch.zeros(1, *images.shape[1:], dtype=torch.uint8)
        yield chunk, encode_pixels(eval_model, images, output)
        read += len(chunk["position"])
        eval_model.progress(batch_size * eval_model.world)
    if not int(eval_model.sum(torch.tensor([read], device=eval_model.device))):
        raise CorekitError("the data set of an evaluator holds no sample that can be read")


@torch.no_grad()
def encode_pixels(eval_model: EvalModel, images: Tensor,
                  output: str | None) -> Tensor | LinearOutput:
    """The model's output for images uint8 [B, 3, H, W]; ``output`` as of ``encode``."""
    pixels = eval_model.preprocess.normalize(images.to(eval_model.device))
    method = eval_model.method(METHODS[output]) if output in METHODS else None
    with eval_model.autocast():
        return method(pixels) if method else _forward_output(eval_model.model, pixels, output)


def _forward_output(model: nn.Module, pixels: Tensor, output: str | None) -> Tensor | LinearOutput:
    """One of the outputs of a model's forward pass of images."""
    needed = [parameter.name for parameter in inspect.signature(model.forward).parameters.values()
              if parameter.default is parameter.empty
              and parameter.kind == parameter.POSITIONAL_OR_KEYWORD]
    if len(needed) > 1:
        hint = "; leave `features` of the evaluator out where the model has encode_image"
        if output in METHODS:
            hint = f", and it has no {METHODS[output]}"
        raise CorekitError(f"{type(model).__name__} cannot be run on images alone: its forward "
                           f"needs {', '.join(needed)}{hint}")
    outputs = model(pixels)
    if isinstance(outputs, Tensor) and output is None:
        return outputs
    named: dict[str, Tensor | LinearOutput] = outputs if isinstance(outputs, dict) else {}
    name = output or "pooled"
    if name not in named:
        raise CorekitError(f"{type(model).__name__} gives no `{name}`, but "
                           f"{', '.join(named) or 'one tensor'}: name one with `features` of the "
                           "evaluator")
    return named[name]


@torch.no_grad()
def encode_text(eval_model: EvalModel, sentences: Sequence[str]) -> Tensor:
    """Features of unit length, float32 [n, D], by one forward pass.

    Raises:
        CorekitError: the model has no text tower, or its recipe no tokenizer.
    """
    text_tower = eval_model.method("encode_text")
    if eval_model.tokenize is None or text_tower is None:
        raise CorekitError("this evaluation needs a model with a text tower (encode_text), and "
                           "data.tokenizer in its recipe")
    text = eval_model.tokenize(sentences).to(eval_model.device)
    with eval_model.autocast():
        return F.normalize(text_tower(text).float(), dim=-1)


def everywhere(eval_model: EvalModel, total: int, position: Tensor, values: Tensor) -> Tensor:
    """[total, ...] on every rank of rows that the ranks share; rows that no rank has are 0.

    ``values`` [n, ...] are this rank's rows, ``position`` int64 [n] says where they belong.
    """
    gathered = values.new_zeros(total, *values.shape[1:])
    gathered[position] = values
    return eval_model.sum(gathered)


def labelled_features(eval_model: EvalModel, source: Source, batch_size: int,
                      output: str | None = None,
                      change: Callable[[Tensor], Tensor] = lambda features: features
                      ) -> tuple[Tensor, Tensor]:
    """Features [N, ...] and labels int64 [N] of all readable samples in order, on every rank.

    The model sees every image once, on one rank, and ``change`` makes of a chunk's features what is
    held, on each rank's device: 1.3 million features of width 1,024 take 5 GB.

    Raises:
        CorekitError: no sample can be read, or a label is negative.
    """
    parts: list[Tensor] = []
    labels: list[int] = []
    positions: list[int] = []
    for chunk, features in encode(eval_model, source, batch_size, output):
        parts.append(change(features))
        labels += chunk["label"]
        positions += chunk["position"]
    total, device = int(source.shard_sizes.sum()), eval_model.device
    position = torch.tensor(positions, dtype=torch.int64, device=device)
    label = torch.tensor(labels, dtype=torch.int64, device=device)
    readable = everywhere(eval_model, total, position, torch.ones_like(label)) > 0
    label = everywhere(eval_model, total, position, label)[readable]
    if int(label.min()) < 0:
        raise CorekitError(f"a label is {int(label.min())}; labels are 0 or more")
    return everywhere(eval_model, total, position, torch.cat(parts))[readable], label


def in_classes_of(train: Source, dataset: Source, label: Tensor) -> Tensor:
    """Labels as numbers of the classes of the data set that was trained on, by their names.

    Raises:
        CorekitError: a class has no namesake there.
    """
    names, own = list(dataset_info(train).class_names), list(dataset_info(dataset).class_names)
    if not names or not own or names == own:
        return label
    twice = next((name for name in own if names.count(name) > 1), None)
    if twice is not None:
        raise CorekitError(f"the data set '{dataset_info(train).name}', which was trained on, has "
                           f"two classes called '{twice}': give them two names")
    unknown = [name for name in own if name not in names]
    if unknown:
        raise CorekitError(f"the data set '{dataset_info(dataset).name}' has classes that "
                           f"'{dataset_info(train).name}', which was trained on, has not: "
                           f"{', '.join(unknown[:5])}")
    if len(label) and int(label.max()) >= len(own):
        raise CorekitError(f"a label is {int(label.max())}, but the data set "
                           f"'{dataset_info(dataset).name}' has {len(own)} class names")
    return torch.tensor([names.index(name) for name in own], device=label.device)[label]
