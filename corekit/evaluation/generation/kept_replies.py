"""Replies that are kept as they come, so that an evaluation that was killed goes on there."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from corekit.evaluation.base import EvalModel
from corekit.evaluation.stored_features import digest, identity

log = logging.getLogger(__name__)


class KeptChunk(NamedTuple):
    """A chunk that was answered: the replies as JSON, and how many samples were left out."""

    replies: dict[int, str]
    left_out: int


class KeptReplies:
    """A folder with a file for each rank, a line for each chunk that it has answered.

    Args:
        eval_model: with a folder ``store``.
        decides: all that replies depend on beside the model, as JSON.
        count: of chunks.
    """

    def __init__(self, eval_model: EvalModel, decides: Mapping[str, object], count: int) -> None:
        assert eval_model.store is not None
        name = digest({**identity(eval_model), **decides})
        self.eval_model, self.count = eval_model, count
        self.folder: Path = eval_model.store / "replies" / name
        self.file: Path = self.folder / f"rank_{eval_model.rank}.jsonl"

    def load(self) -> dict[int, KeptChunk]:
        """The chunks that every rank finds, by number."""
        finished: dict[int, KeptChunk] = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    number, left_out, replies = json.loads(line)
                except ValueError:  # of a process that was killed while it wrote
                    continue
                finished[number] = KeptChunk(
                    {int(place): text for place, text in replies.items()}, left_out)
        model = self.eval_model
        flags = torch.zeros(self.count, dtype=torch.int64, device=model.device)
        flags[[*finished]] = 1
        everywhere = (model.sum(flags) == model.world).tolist()
        if any(everywhere):
            log.info("%d of %d batches were answered before", sum(everywhere), self.count)
        return {number: chunk for number, chunk in finished.items() if everywhere[number]}

    def add(self, number: int, chunk: KeptChunk) -> None:
        """Keep a chunk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps([number, chunk.left_out, chunk.replies])
        with open(self.file, "a", encoding="utf-8") as lines:
            lines.write(f"\n{line}\n")  # a line that was cut off ends before
