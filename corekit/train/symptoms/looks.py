"""Looks into a run's batches, gradients and parameters, for what a step does not give anyway."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from corekit.data.datasets.base import Batch
from corekit.data.fields import Field, Text
from corekit.data.loading.collate import cut
from corekit.data.loading.loader import Streams
from corekit.data.tokenizers.base import tokenizer_info
from corekit.data.transforms.geometric import CenterCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.fsdp import full
from corekit.recipes.schema import DataConfig
from corekit.train.symptoms import of_data
from corekit.train.symptoms.symptom import Symptom

SAMPLES = 64  # of a batch that are looked at
STREAMS = 4  # that a few samples are read from before training


@runtime_checkable
class Limited(Protocol):
    """A module that holds parameters below a largest value."""

    def limits(self) -> Mapping[str, tuple[Tensor, float, str]]:
        """Parameter -> its value, the largest it may have, and what it means to stand there."""
        ...


@dataclass(frozen=True)
class First:
    """A sampler of the first samples of every stream."""

    count: int

    def draws(self, step: int) -> range:
        return range(self.count)


def as_stored(streams: Streams, preprocess: Preprocess) -> Batch:
    """A few samples whose pictures are not cut at random; {} where they cannot be read."""
    own = streams.streams[:STREAMS]
    few = First(-(-of_data.FEWEST // len(own)))
    plain = replace(streams, transform=CenterCrop(preprocess), sampler=few, streams=own)
    return next(plain.parts(0, 1, own)).batch


def batch_symptoms(batch: Batch, streams: Streams, data: DataConfig
                   ) -> Iterator[Symptom | None]:
    """Of the values of a batch, as it was read or as it is stored."""
    fields, look = streams.fields, how_to_look(data)
    part = cut(batch, 0, SAMPLES, fields)
    for field in fields.values():
        if field.noun and not field.is_class:
            yield from of_data.values_symptoms(field, Counter(field.comparable(part)), look)
        if isinstance(field, Text) and field.caption in part and streams.tokenizer is not None:
            captions = [str(caption) for caption in part[field.caption]]
            length = tokenizer_info(streams.tokenizer).context_length
            yield of_data.cut_captions(captions, streams.tokenizer, length, of_data.CONTEXT)
            yield of_data.padding(part[field.name], of_data.CONTEXT)
            yield of_data.one_token(part[field.name], captions)


def label_symptoms(entries: Batch, fields: Mapping[str, Field], data: DataConfig
                   ) -> Iterator[Symptom | None]:
    """Of all classes seen so far."""
    for field in fields.values():
        if field.is_class and field.noun and entries:
            counts = Counter(field.comparable(entries))
            yield from of_data.values_symptoms(field, counts, how_to_look(data))


def pixel_symptoms(batch: Batch, fields: Mapping[str, Field], preprocess: Preprocess
                   ) -> Iterator[Symptom | None]:
    """Of the first pictures of a batch as the model sees them."""
    for name, field in fields.items():
        if field.geometry in ("image", "pictures") and len(batch[name]):
            pictures = batch[name][:SAMPLES // 8]
            seen = cast(Sequence[Tensor], field.normalize(pictures, preprocess))
            yield of_data.odd_pixels(seen, pictures[0].dtype == torch.uint8)


def how_to_look(data: DataConfig) -> str:
    """A sentence on how to see some samples."""
    if data.root is None:
        return "TensorBoard shows the first batch (data/first_batch)."
    command = shlex.join(["corekit", "data", "check", data.root, "--picture", "samples.png"])
    return f"`{command}` shows some samples."


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """The norm of the gradient of each part of a model that is trained; all ranks call this."""
    grads = {name: [value.grad for value in part.parameters() if value.grad is not None]
             for name, part in parts(model).items()}
    norms = {name: full(get_total_norm(tensors)) for name, tensors in grads.items() if tensors}
    values = torch.stack([*norms.values()]).tolist() if norms else []  # one wait for the device
    return {**dict.fromkeys(grads, 0.0), **dict(zip(norms, values))}


def parts(model: nn.Module) -> dict[str, nn.Module]:
    """The trained modules right below a model, or below one that is alone there."""
    name, trained = "", {"": model}
    while len(trained) == 1:
        name, only = next(iter(trained.items()))
        below = {f"{name}.{child}".lstrip("."): module for child, module in only.named_children()
                 if any(value.requires_grad for value in module.parameters())}
        if not below:
            break
        trained = below
    return trained


def matrix_norms(model: nn.Module) -> list[float]:
    """The norms of all trained parameters of two dimensions and more; all ranks call this."""
    matrices = [value.detach() for value in model.parameters()
                if value.requires_grad and value.dim() > 1]
    norms = torch._foreach_norm(matrices) if matrices else ()
    return torch.stack([full(norm).float() for norm in norms]).tolist() if norms else []


def at_limits(model: nn.Module) -> dict[str, str]:
    """Parameters that stand at their largest values, and what that means; all ranks call this."""
    limits = chain.from_iterable(module.limits().items() for module in model.modules()
                                 if isinstance(module, Limited))
    return {name: sentence for name, (value, largest, sentence) in limits
            if value.requires_grad and float(full(value.detach())) >= largest - 0.02}


def trained_sizes(model: nn.Module) -> dict[str, int]:
    """Name -> how many numbers, of the parameters that are trained."""
    return {name: value.numel() for name, value in model.named_parameters() if value.requires_grad}
