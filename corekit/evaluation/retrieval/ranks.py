"""How many wrong answers come before the right one: of every image, and of every caption."""

import json
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from corekit.data.datasets.base import Source
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.features import encode, everywhere
from corekit.evaluation.gathering import gathered
from corekit.evaluation.metrics.ties import TIE
from corekit.evaluation.text_features import TextFeatures

Ranks = dict[str, NDArray[np.int64]]


@torch.no_grad()
def retrieval_ranks(eval_model: EvalModel, dataset: Source, texts: TextFeatures, batch_size: int,
                    block: int) -> Ranks:
    """The ranks of the right answers, on every rank of the run.

    Args:
        eval_model, dataset: the model, and a data set with a ``text`` field, a caption a line.
        texts: where the captions' features come from.
        batch_size: images of one forward pass.
        block: images, and captions, that are compared at once; the ranks share the blocks.

    Returns:
        ``image_above``, ``image_tied``: captions of other images scored above the image's best own
        one, and equal to it; ``image_right``: own captions equal to that, all int64 [images].
        ``text_above``, ``text_tied``: other images above and equal to the caption's own one, and
        ``text_owner``, that one's place; int64 [captions].

    Raises:
        CorekitError: an image has no caption, or none can be read.
    """
    images, captions = _images_with_captions(eval_model, dataset, batch_size)
    features = texts([line for lines in captions for line in lines])
    counts = torch.tensor([len(lines) for lines in captions], device=eval_model.device)
    owner = torch.repeat_interleave(counts)
    own = torch.cat([(images[rows] * of_rows).sum(1) for rows, of_rows in zip(
        torch.split(owner, block), torch.split(features, block))])  # each with its own image
    best = own.new_full((len(images),), -1.0).scatter_reduce(0, owner, own, "amax")
    right = torch.zeros_like(counts).index_add_(0, owner, (own >= best[owner] - TIE).long())
    of_images = torch.zeros(2, len(images), dtype=torch.int64, device=eval_model.device)
    of_texts = torch.zeros(2, len(owner), dtype=torch.int64, device=eval_model.device)
    for row in range(eval_model.rank * block, len(images), eval_model.world * block):
        rows = slice(row, row + block)
        numbers = torch.arange(row, min(len(images), row + block), device=images.device)
        for column in range(0, len(features), block):
            columns = slice(column, column + block)
            scores = images[rows] @ features[columns].T
            # no rival of itself
            scores.masked_fill_(numbers[:, None] == owner[columns], float("-inf"))
            of_images[:, rows] += _rivals(scores, best[rows, None], 1)
            of_texts[:, columns] += _rivals(scores, own[columns], 0)
    of_images, of_texts = eval_model.sum(of_images), eval_model.sum(of_texts)
    arrays = {"image_above": of_images[0], "image_tied": of_images[1], "image_right": right,
              "text_above": of_texts[0], "text_tied": of_texts[1], "text_owner": owner}
    return {name: tensor.cpu().numpy() for name, tensor in arrays.items()}


def _rivals(scores: Tensor, right: Tensor, along: int) -> Tensor:
    """How many scores are above the right answer's, and how many equal to it."""
    return torch.stack([(scores > right + TIE).sum(along),
                        ((scores >= right - TIE) & (scores <= right + TIE)).sum(along)])


def _images_with_captions(eval_model: EvalModel, dataset: Source,
                          batch_size: int) -> tuple[Tensor, Sequence[Sequence[str]]]:
    """Features [N, D] of unit length of all readable images, and their captions, on every rank."""
    parts: list[Tensor] = []
    lines_of: dict[int, bytes] = {}  # of this rank's images, by their numbers in the data set
    for chunk, features in encode(eval_model, dataset, batch_size):
        for position, key, text in zip(chunk["position"], chunk["key"], chunk["text"]):
            lines = [line.strip() for line in text.split("\n") if line.strip()]
            lines_of[position] = json.dumps([key, *lines]).encode()
        parts.append(F.normalize(features, dim=-1))
    total = int(dataset.shard_sizes.sum())
    position = torch.tensor(list(lines_of), dtype=torch.int64, device=eval_model.device)
    readable = everywhere(eval_model, total, position, torch.ones_like(position)) > 0
    images = everywhere(eval_model, total, position, torch.cat(parts))[readable]
    captions = [json.loads(content) for content in
                gathered(eval_model, total, lines_of, on_all_ranks=True) if content]
    for key, *lines in captions:
        if not lines:
            raise CorekitError(f"evaluator 'retrieval': sample {key} has no caption")
    return images, [lines for _, *lines in captions]
