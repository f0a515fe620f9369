"""Data sets and models whose features are known, and evaluators run on several ranks."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from corekit.data.datasets.base import LEFT_OUT, BadSampleError
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel, Result
from corekit.models.layers.pooling import AttentionPool

SHARD = 7


class Numbered:
    """Pictures whose colour is a number, from which ``Table`` knows the features; some may be
    undecodable, and those in ``left_out`` are none of the data set's.
    """

    left_out: frozenset[int] = frozenset()

    def __init__(self, numbers: Sequence[int], label: Sequence[int] | None = None,
                 text: Sequence[str] | None = None, bad: Sequence[int] = ()) -> None:
        self.numbers, self.bad = list(numbers), set(bad)
        self.values = {
            name: value for name, value in (("label", label), ("text", text)) if value is not None
        }
        self.fields = ("image", *self.values)
        self.shard_sizes = np.array([len(self.numbers[first:first + SHARD])
                                     for first in range(0, len(self.numbers), SHARD)])
        self.fingerprint = ""

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(shard * SHARD + first, shard * SHARD + first + count))

    def decode(self, handle: int) -> dict[str, Any]:
        if handle in self.left_out:
            raise BadSampleError(LEFT_OUT, "it has no labels")
        if handle in self.bad:
            raise BadSampleError("image", "broken")
        number = self.numbers[handle]
        image = Image.new("RGB", (2, 2), (number % 256, number // 256, 0))
        return {
            "key": str(handle), "image": image,
            **{name: value[handle] for name, value in self.values.items()}
        }


class Table(nn.Module):
    """Image features by the picture's number, text features by the number in the sentence."""

    def __init__(self, images: Tensor, texts: Tensor | None = None) -> None:
        super().__init__()
        self.images, self.texts, self.seen = images, texts, []  # type: ignore[var-annotated]

    def encode_image(self, image: Tensor) -> Tensor:
        colour = (image[:, :, 0, 0] * 255).round().long()
        number = colour[:, 0] + 256 * colour[:, 1]
        self.seen += number.tolist()
        return self.images[number]

    def encode_text(self, text: Tensor) -> Tensor:
        assert self.texts is not None
        return self.texts[text[:, 0]]


def attention_pool(pool: AttentionPool, tokens: Tensor) -> Tensor:
    """As AIM's code has it: keys and values of every token."""
    query, key, value = (part.view(*part.shape[:2], pool.heads, -1).transpose(1, 2) for part in (
        pool.cls_token.expand(tokens.shape[0], -1, -1), pool.k(tokens), pool.v(tokens)))
    mixed = F.scaled_dot_product_attention(query, key,
                                           value).transpose(1, 2).reshape(tokens.shape[0], -1)
    output: Tensor = pool.linear(mixed)
    return output


def tokenize(sentences: Sequence[str]) -> Tensor:
    return torch.tensor([[int(sentence) if sentence.isdigit() else 0] for sentence in sentences])


def eval_model(model: nn.Module, workers: int = 0) -> EvalModel:
    return EvalModel(model.eval(), Preprocess(2, "bilinear", (0, 0, 0), (1, 1, 1)), tokenize,
                     torch.device("cpu"), contextlib.nullcontext, workers=workers)


def on_ranks(evaluator: Callable[[EvalModel], Result], alone: EvalModel,
             world: int) -> list[Result]:
    """What each of several ranks finds: threads that meet where they add up."""
    barrier = threading.Barrier(world, timeout=60)
    shares: list[Tensor] = [torch.empty(0)] * world
    results: list[Result] = [None] * world  # type: ignore[list-item]
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        def add(tensor: Tensor) -> Tensor:
            shares[rank] = tensor.clone()
            barrier.wait()
            assert len({(share.shape, share.dtype)
                        for share in shares}) == 1, "ranks add up different things"
            tensor.copy_(torch.stack(shares).sum(0))
            barrier.wait()
            return tensor

        try:
            results[rank] = evaluator(replace(alone, rank=rank, world=world, sum=add))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return results
