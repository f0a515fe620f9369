"""Predictions of zero-shot classification, complete on every rank."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from corekit.data.datasets.base import Source, declared
from corekit.data.loading.eval_loader import Chunk
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.features import encode, everywhere
from corekit.evaluation.gathering import gathered
from corekit.evaluation.metrics.ties import best_classes, decided_by_tie
from corekit.evaluation.text_features import TextFeatures

Arrays = dict[str, NDArray[np.generic]]
Look = Callable[[Chunk, Tensor], None]  # is shown every chunk and its best classes


def class_scores(eval_model: EvalModel, dataset: Source, names: Sequence[str],
                 templates: Sequence[str], texts: TextFeatures,
                 batch_size: int) -> Iterable[tuple[Chunk, Tensor]]:
    """This rank's chunks with the cosines of their images and all classes, float32 [n, K].

    Classes of one name have the same score to the bit.
    """
    distinct = list(dict.fromkeys(names))
    weights = texts.class_weights(distinct, templates)
    column = torch.tensor([distinct.index(name) for name in names], device=weights.device)
    for chunk, features in encode(eval_model, dataset, batch_size):
        yield chunk, (F.normalize(features, dim=-1) @ weights.T)[:, column]


@torch.no_grad()
def zero_shot_predictions(eval_model: EvalModel, dataset: Source, names: Sequence[str],
                          templates: Sequence[str], texts: TextFeatures, batch_size: int,
                          look: Look = lambda chunk, best: None) -> Arrays:
    """The best classes of all readable images, in the data set's order.

    Args:
        eval_model, dataset: the model, and a data set with a ``label`` field.
        names: of the classes.
        templates: sentences with one ``{}`` each for the name.
        texts: where the sentences' features come from.
        batch_size: images of one forward pass.

    Returns:
        ``label`` int64 [N]; ``best`` int64 [N, 5 or fewer], the classes of highest score, of equal
        ones the first first; ``tied`` bool [N], whether another class has the score of the best;
        ``classes`` int64 []; ``metadata`` int64 [N, M] where the data set has it.

    Raises:
        CorekitError: no image can be read, or a label has no class name.
    """
    rows: dict[str, list[Tensor]] = {"label": [], "best": [], "tied": []}
    positions: list[int] = []
    metadata: dict[int, bytes] = {}
    for chunk, scores in class_scores(eval_model, dataset, names, templates, texts, batch_size):
        best = best_classes(scores)
        look(chunk, best)
        positions += chunk["position"]
        label = torch.tensor(chunk["label"], dtype=torch.int64, device=scores.device)
        for name, values in (("label", label), ("best", best), ("tied", decided_by_tie(scores))):
            rows[name].append(values)
        for position, values in zip(chunk["position"], chunk.get("metadata", ())):
            metadata[position] = np.asarray(values, dtype=np.int64).tobytes()
    total = int(dataset.shard_sizes.sum())
    position = torch.tensor(positions, dtype=torch.int64, device=eval_model.device)
    readable = everywhere(eval_model, total, position, torch.ones_like(position)) > 0
    arrays: dict[str, NDArray[np.int64]] = {
        name: everywhere(eval_model, total, position, torch.cat(parts).long())[readable]
        .cpu().numpy() for name, parts in rows.items()}
    _check_labels(arrays["label"], len(names))
    arrays["classes"] = np.array(len(names))
    if "metadata" in declared(dataset.fields):
        content = list(gathered(eval_model, total, metadata, on_all_ranks=True))
        arrays["metadata"] = _rows([each for each in content if each])
    return {**arrays, "tied": arrays["tied"] > 0}


def _check_labels(label: NDArray[np.int64], classes: int) -> None:
    low, high = int(label.min()), int(label.max())
    if low < 0:
        raise CorekitError(f"a label is {low}; labels are 0 or more")
    if high >= classes:
        raise CorekitError(f"a label is {high}, but there are {classes} class names")


def _rows(content: Sequence[bytes]) -> NDArray[np.int64]:
    if len({len(each) for each in content}) > 1:
        raise CorekitError("samples have different numbers of metadata")
    return np.frombuffer(b"".join(content), dtype=np.int64).reshape(len(content), -1)
