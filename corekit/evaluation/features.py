"""What a model makes of the images of a data set: a rank's share as it comes, or everything on
every rank.
"""

import inspect
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.constants import IMAGE_EXTENSIONS
from corekit.data.datasets.base import Source
from corekit.data.loading.eval_loader import Chunk, chunks
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.linear_output import LinearOutput, dense

_SHARD_FIELDS = {
    "label": f"{{image: '{IMAGE_EXTENSIONS}', label: cls}}",
    "text": f"{{image: '{IMAGE_EXTENSIONS}', text: txt}}"
}


def check_field(evaluator: str, argument: str, dataset: Source, field: str) -> None:
    """Raise a CorekitError where a data set lacks a field that an evaluator needs."""
    if field not in dataset.fields:
        for_shards = f"; for shards, set {argument}.fields to {_SHARD_FIELDS[field]}" if field in _SHARD_FIELDS else ""
        raise CorekitError(f"evaluator '{evaluator}' needs a data set with a `{field}` "
                           f"field{for_shards}")


@torch.no_grad()
def encode(eval_model: EvalModel, source: Source, batch_size: int,
           output: str | None = None) -> Iterator[tuple[Chunk, Tensor]]:
    """This rank's chunks of a data set, each with the features of its images, float32 [n, ...].

    All ranks run the model equally often, as sharded models need it: on one blank image where a
        chunk has none.

    Args:
        eval_model: the model and how to run it.
        source: the data set.
        batch_size: samples of a chunk.
        output: which entry of the forward's outputs; ``tokens``: what ``encode_tokens`` gives where
            the model has it; None:
            what ``encode_image`` gives where the model has it, else ``pooled``, or the one tensor
            that the forward gives.

    Raises:
        CorekitError: the data set is empty, or the model gives no such features.
    """
    for chunk, found in outputs(eval_model, source, batch_size, output):
        yield chunk, dense(found)[:len(chunk["image"])].float()


@torch.no_grad()
def outputs(eval_model: EvalModel, source: Source, batch_size: int,
            output: str | None) -> Iterator[tuple[Chunk, Tensor | LinearOutput]]:
    """As ``encode``, but what the model gives as it is: of a blank image where a chunk has none."""
    if not source.shard_sizes.sum():
        raise CorekitError("the data set of an evaluator holds no samples; set data.root, or its "
                           "own root")
    for chunk in chunks(source, eval_model.preprocess, batch_size, eval_model.rank,
                        eval_model.world, eval_model.workers):
        images = chunk["image"] if len(chunk["image"]) else torch.zeros(
            1, *chunk["image"].shape[1:], dtype=torch.uint8)
        yield chunk, encode_pixels(eval_model, images, output)


@torch.no_grad()
def encode_pixels(eval_model: EvalModel, images: Tensor,
                  output: str | None) -> Tensor | LinearOutput:
    """What the model gives for images uint8 [B, 3, H, W]; ``output`` as of ``encode``."""
    with eval_model.autocast():
        return _features(eval_model.model,
                         eval_model.preprocess.normalize(images.to(eval_model.device)), output)


def _features(model: nn.Module, images: Tensor, output: str | None) -> Tensor | LinearOutput:
    own = {None: "encode_image", "tokens": "encode_tokens"}.get(output)
    if own is not None and hasattr(model, own):
        features: Tensor = getattr(model, own)(images)
        return features
    needed = [
        parameter.name for parameter in inspect.signature(model.forward).parameters.values() if
        parameter.default is parameter.empty and parameter.kind == parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(needed) > 1:
        raise CorekitError(f"{type(model).__name__} cannot be run on images alone: its forward "
                           f"needs {', '.join(needed)}, and "
                           f"it has no {own}" if own is not None else
                           f"{type(model).__name__} cannot be run on images alone: its forward "
                           f"needs {', '.join(needed)}; "
                           "leave `features` of the evaluator out where the model has encode_image")
    made = model(images)
    if isinstance(made, Tensor) and output is None:
        return made
    given = made if isinstance(made, dict) else {}
    if (output or "pooled") not in given:
        raise CorekitError(f"{type(model).__name__} gives no `{output or 'pooled'}`, but "
                           f"{', '.join(given) or 'one tensor'}: "
                           "name one with `features` of the evaluator")
    chosen: Tensor | LinearOutput = given[output or "pooled"]
    return chosen


@torch.no_grad()
def encode_text(eval_model: EvalModel, sentences: Sequence[str]) -> Tensor:
    """Features of unit length, float32 [n, D], by one forward pass.

    Raises:
        CorekitError: the model has no text tower, or its recipe no tokenizer.
    """
    if eval_model.tokenize is None or not hasattr(eval_model.model, "encode_text"):
        raise CorekitError("this evaluation needs a model with a text tower (encode_text), and "
                           "data.tokenizer in its recipe")
    text = eval_model.tokenize(sentences).to(eval_model.device)
    with eval_model.autocast():
        return F.normalize(eval_model.model.encode_text(text).float(),
                           dim=-1)  # type: ignore[operator]


def everywhere(eval_model: EvalModel, total: int, position: Tensor, values: Tensor) -> Tensor:
    """[total, ...] on every rank of what the ranks have some rows of; rows that nobody has are 0.

    Args:
        eval_model: gives the sum over ranks.
        total: rows of the whole.
        position: int64 [n], where this rank's rows belong.
        values: [n, ...], this rank's rows.
    """
    whole = values.new_zeros(total, *values.shape[1:])
    whole[position] = values
    return eval_model.sum(whole)


def labelled_features(eval_model: EvalModel, source: Source, batch_size: int,
                      output: str | None = None) -> tuple[Tensor, Tensor]:
    """Features float32 [N, ...] and labels int64 [N] of all samples that can be read, in the
    source's order, on every rank.

    The model sees every image once, on one rank. All features are held on each rank's device: 1.3
    million of width 1,024 take 5 GB.

    Raises:
        CorekitError: no sample can be read, or a label is negative.
    """
    parts, labels, positions = [], [], []
    for chunk, features in encode(eval_model, source, batch_size, output):
        parts.append(features)
        labels += chunk["label"]
        positions += chunk["position"]
    total = int(source.shard_sizes.sum())
    position = torch.tensor(positions, dtype=torch.int64, device=eval_model.device)
    label = torch.tensor(labels, dtype=torch.int64, device=eval_model.device)
    readable = everywhere(eval_model, total, position, torch.ones_like(label)) > 0
    label = everywhere(eval_model, total, position, label)[readable]
    if not len(label):
        raise CorekitError("the data set of an evaluator holds no sample that can be read")
    if int(label.min()) < 0:
        raise CorekitError(f"a label is {int(label.min())}; labels are 0 or more")
    return everywhere(eval_model, total, position, torch.cat(parts))[readable], label
