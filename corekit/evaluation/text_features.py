"""Features of sentences: each distinct one goes through the text tower once."""

import json
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from corekit.evaluation.base import EvalModel
from corekit.evaluation.features import encode_text, everywhere
from corekit.evaluation.stored_features import digest, identity
from corekit.files import write_bytes

EVERY = 30.0  # seconds between two lines of a long list of sentences
BATCH = 256  # sentences of one forward pass; always so many, so that features do not depend on it

log = logging.getLogger(__name__)


class TextFeatures:
    """Features of unit length of sentences, float32 [n, D], the same on all ranks.

    Sentences that were asked for before, by this object or where features are kept, are not encoded
    again. The ranks share the others.
    """

    def __init__(self, eval_model: EvalModel) -> None:
        self.eval_model = eval_model
        self.rows: dict[str, int] = {}
        self.features: Tensor | None = None  # float32 [rows, D]
        self.encoded = 0  # sentences that went through the text tower, on any rank
        self.folder: Path | None = None
        if eval_model.features is not None:
            self.folder = eval_model.features / f"text_{digest(identity(eval_model))}"

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """The features [n, D] of some sentences; all ranks ask for the same ones.

        Raises:
            CorekitError: the model has no text tower, or its recipe no tokenizer.
        """
        self.encode(sentences)
        assert self.features is not None
        rows = torch.tensor([self.rows[sentence] for sentence in sentences], dtype=torch.int64)
        return self.features[rows.to(self.features.device)]

    def encode(self, sentences: Iterable[str]) -> None:
        """Encode those of the sentences that are not known, many at a time."""
        if self.features is None:
            self._load()
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.rows]
        if new:
            self._add(new, self._encode(new))
            self._save(new)

    def class_weights(self, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """[K, D]: of each class the mean over templates, of unit length.

        Radford et al. 2021, section 3.1.4. The templates hold ``{}`` for the name.
        """
        filled = [[template.replace("{}", name) for name in names] for template in templates]
        self.encode(sentence for of_template in filled for sentence in of_template)
        total = self(filled[0])
        for of_template in filled[1:]:  # not all at once: 80 of 1,000 classes take 164 MB
            total = total + self(of_template)
        return F.normalize(total / len(filled), dim=-1)

    def _encode(self, sentences: Sequence[str]) -> Tensor:
        model = self.eval_model
        rows, positions, last = [], list[int](), time.monotonic()
        step = BATCH * model.world
        for first in range(0, len(sentences), step):
            if time.monotonic() - last > EVERY:
                last = time.monotonic()
                log.info("%s of %s sentences encoded", f"{first:,}", f"{len(sentences):,}")
            begin = first + model.rank * BATCH
            own = sentences[begin:begin + BATCH]
            # all ranks run the model equally often
            rows.append(encode_text(model, own or sentences[:1])[:len(own)])
            positions += range(begin, begin + len(own))
        position = torch.tensor(positions, dtype=torch.int64, device=model.device)
        self.encoded += len(sentences)
        return everywhere(model, len(sentences), position, torch.cat(rows))

    def _add(self, sentences: Sequence[str], features: Tensor) -> None:
        for sentence in sentences:
            self.rows[sentence] = len(self.rows)
        before = [] if self.features is None else [self.features]
        self.features = torch.cat([*before, features])

    def _save(self, sentences: Sequence[str]) -> None:
        if self.folder is None or self.eval_model.rank:
            return
        assert self.features is not None
        content = save({"features": self.features[-len(sentences):].cpu().contiguous()},
                       {"sentences": json.dumps(list(sentences))})
        write_bytes(self.folder / f"{digest(list(sentences))}.safetensors", content)

    def _load(self) -> None:
        """What is kept, where all ranks see the same."""
        blocks = sorted(self.folder.glob("*.safetensors")) if self.folder else []
        device = self.eval_model.device
        loaded = [(sentences, features.to(device)) for sentences, features in map(_block, blocks)]
        count = torch.tensor([sum(len(sentences) for sentences, _ in loaded)], device=device)
        if int(self.eval_model.sum(count.clone())) == self.eval_model.world * int(count):
            for sentences, features in loaded:
                self._add(sentences, features)


def _block(path: Path) -> tuple[list[str], Tensor]:
    with safe_open(path, "pt") as file:
        sentences: list[str] = json.loads(file.metadata()["sentences"])
        return sentences, file.get_tensor("features")
