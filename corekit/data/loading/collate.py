"""Batches of samples, field by field: collated, joined, cut, and moved to the device."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from corekit.data.datasets.base import Batch, Sample
from corekit.data.fields import Field
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError

Fields = Mapping[str, Field]


def stack(values: Sequence[object]) -> object:
    """Tensors as one, numbers as a tensor, anything else as a list.

    Tensors of different shapes become a list of views of one piece of memory, which a worker hands
    over whole.
    """
    if not all(isinstance(value, Tensor) for value in values):
        numbers = isinstance(values[0], (int, float))
        return torch.tensor(values) if numbers else list(values)
    tensors = cast(Sequence[Tensor], values)
    if all(value.shape == tensors[0].shape for value in tensors):
        return torch.stack(list(tensors))
    pieces = torch.split(torch.cat([value.flatten() for value in tensors]),
                         [value.numel() for value in tensors])
    return [piece.view(value.shape) for piece, value in zip(pieces, tensors)]


def concatenate(values: Sequence[Tensor | list[object]]) -> object:
    """Tensors of one width as one, anything else as a list of all items."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) == len(values) and len({value.shape[1:] for value in tensors}) == 1:
        return torch.cat(tensors)
    return [item for value in values for item in value]


def collate(samples: Sequence[Sample], fields: Fields, tokenizer: Tokenizer | None) -> Batch:
    """The batch of some samples: ``key``, and the entries of every field.

    Raises:
        CorekitError: fields that have a row for the same things differ in how many.
    """
    if not samples:
        return {}
    batch: Batch = {"key": [sample["key"] for sample in samples]}
    for name, field in fields.items():
        entries = field.collate([sample[name] for sample in samples], tokenizer)
        shared = str(field.offsets)
        if shared in entries.keys() & batch and not torch.equal(entries[shared], batch[shared]):
            raise CorekitError(f"field '{name}' has not as many rows in each sample as the fields "
                               f"before it that share {field.offsets}")
        batch.update(entries)
    return batch


def join(batches: Sequence[Batch], fields: Fields) -> Batch:
    """The samples of several batches, one after the other."""
    if len(batches) == 1:
        return batches[0]
    joined: Batch = {"key": [key for batch in batches for key in batch["key"]]}
    for field in fields.values():
        joined.update(field.join(batches))
    return joined


def split(batch: Batch, parts: int, fields: Fields) -> list[Batch]:
    """A batch cut into equal micro-batches in order, also entries that belong to no field."""
    count = len(batch["key"]) // parts
    return [cut(batch, part * count, (part + 1) * count, fields) for part in range(parts)]


def cut(batch: Batch, first: int, last: int, fields: Fields) -> Batch:
    """The samples of a batch from ``first`` up to ``last``."""
    part = {name: value[first:last] for name, value in batch.items()}
    for name, field in fields.items():
        if name in batch:
            part.update(field.cut(batch, first, last))
    return part


def example_batch(fields: Fields, preprocess: Preprocess, tokenizer: Tokenizer | None, samples: int,
                  device: str = "meta") -> Batch:
    """A batch with the shapes and dtypes of the declared entries, and no content."""
    batch: Batch = {"key": [str(number) for number in range(samples)]}
    for field in fields.values():
        batch.update(field.example(samples, preprocess, tokenizer, device))
    return batch


def to_device(batch: Batch, fields: Fields, preprocess: Preprocess, device: torch.device,
              channels_last: bool = False) -> Batch:
    """The batch on a device, with every field normalised for the model."""
    on_device = {name: _to_device(value, device) for name, value in batch.items()}
    for name in fields.keys() & on_device.keys():
        value = fields[name].normalize(on_device[name], preprocess)
        if channels_last and fields[name].geometry == "image" and isinstance(batch[name], Tensor):
            value = cast(Tensor, value).to(memory_format=torch.channels_last)
        on_device[name] = value
    return on_device


def _to_device(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return [item.to(device, non_blocking=True) for item in value]
    return value
