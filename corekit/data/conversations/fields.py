"""The fields of conversations about pictures."""

import json
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from corekit.data.conversations.formats import as_notes, read_messages
from corekit.data.conversations.messages import Message
from corekit.data.datasets.base import BadSampleError, Batch, Sample
from corekit.data.fields import MOST_TEXT, Field, Geometry, Image, thumbnail
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.tokenizers.chat import ChatTokenizer, Encoded
from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from corekit.data.transforms.preprocess import Preprocess


@register("field", "pictures")
class Pictures(Image):
    """The pictures of a sample, of which there may be none or several.

    In a shard they are ``KEY.jpg``, or ``KEY.0.jpg``, ``KEY.1.jpg``, ... A sample has a list of
    them: PIL images, and after the transform uint8 [t, 3, S, S] each, the picture as t tiles. A
    batch has all tiles, float [sum of t, 3, S, S], and in ``picture_offsets`` where each sample's
    begin, int64 [B + 1].
    """

    geometry: Geometry | None = "pictures"
    offsets = "picture_offsets"
    several = True

    @property
    def entries(self) -> tuple[str, ...]:
        return (self.name, str(self.offsets))

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        import torch

        tiles = [_tiles(value) for value in values]
        counts = torch.tensor([0, *(len(each) for each in tiles)])
        pictures = [each for each in tiles if len(each)] or tiles[:1]
        return {self.name: torch.cat(pictures), str(self.offsets): counts.cumsum(0)}

    def join(self, parts: Sequence[Batch]) -> Batch:
        from corekit.data.loading.ragged import join

        rows = [(part[self.name], part[str(self.offsets)]) for part in parts
                if len(part[self.name])]
        offsets = join([(part[str(self.offsets)], part[str(self.offsets)]) for part in parts])[1]
        return dict(zip(self.entries, (join(rows)[0] if rows else parts[0][self.name], offsets)))

    def cut(self, batch: Batch, first: int, last: int) -> Batch:
        from corekit.data.loading.ragged import cut

        return dict(zip(self.entries, cut(batch[self.name], batch[str(self.offsets)], first, last)))

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        seen = [thumbnail(tile) for tile in batch[self.name]]
        edges = batch[str(self.offsets)].tolist()  # samples without pictures are not alike in that
        return [tuple(seen[first:last]) for first, last in pairwise(edges) if last > first]

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        shape = (samples, 3, preprocess.size, preprocess.size)
        return {self.name: torch.zeros(shape, device=device),
                str(self.offsets): torch.arange(samples + 1, device=device)}

    def normalize(self, value: object, preprocess: "Preprocess") -> object:
        import torch

        assert isinstance(value, torch.Tensor)
        return preprocess.normalize(value)


@register("field", "conversation")
class Conversation(Field):
    """Questions and answers: a list of ``Message`` in a sample.

    In a shard it is ``KEY.json``, in LLaVA's form or in FineVision's. A batch has the token ids of
    all samples one after the other, int64 [sum of L], in which -1 is a place of a picture;
    ``target_mask``, bool [sum of L], the tokens that are learned: answers and what ends them; and
    in ``conversation_offsets``, int64 [B + 1], where each sample's begin.
    """

    extensions = ("json", )
    offsets = "conversation_offsets"
    noun = "conversation"
    mask = "target_mask"

    @property
    def entries(self) -> tuple[str, ...]:
        return (self.name, self.mask, str(self.offsets))

    def decode(self, content: bytes, where: str) -> list[Message]:
        if len(content) > MOST_TEXT:
            raise BadSampleError("too_large", f"{where}: {self.name} has {len(content):,} bytes")
        try:
            return read_messages(json.loads(content))
        except BadSampleError as error:
            raise BadSampleError(error.kind, f"{where}: {error.message}") from None
        except (ValueError, RecursionError):
            raise BadSampleError("json", f"{where}: {self.name} is no JSON") from None

    def encode(self, value: object, extension: str) -> bytes:
        assert isinstance(value, list)
        return json.dumps(as_notes(value)).encode()

    def tokenize(self, sample: Sample, tokenizer: Tokenizer | None) -> object:
        """The conversation's token ids; a BadSampleError where it is of no use."""
        tiles = [len(picture) for picture in sample.get("pictures", ())]
        try:
            return _chat(tokenizer).encode(sample[self.name], tiles)
        except BadSampleError as error:
            raise BadSampleError(error.kind, f"{sample['key']}: {error.message}") from None

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        import torch

        encoded = [value for value in values if isinstance(value, Encoded)]
        counts = torch.tensor([0, *(len(each.ids) for each in encoded)])
        return {self.name: torch.cat([each.ids for each in encoded]),
                self.mask: torch.cat([each.target_mask for each in encoded]),
                str(self.offsets): counts.cumsum(0)}

    def join(self, parts: Sequence[Batch]) -> Batch:
        from corekit.data.loading.ragged import join

        columns = [join([(part[entry], part[str(self.offsets)]) for part in parts])
                   for entry in self.entries[:-1]]
        return dict(zip(self.entries, (*(rows for rows, _ in columns), columns[0][1])))

    def cut(self, batch: Batch, first: int, last: int) -> Batch:
        from corekit.data.loading.ragged import cut

        columns = [cut(batch[entry], batch[str(self.offsets)], first, last)
                   for entry in self.entries[:-1]]
        return dict(zip(self.entries, (*(rows for rows, _ in columns), columns[0][1])))

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        ids, edges = batch[self.name].tolist(), batch[str(self.offsets)].tolist()
        return [tuple(ids[first:last]) for first, last in pairwise(edges)]

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        length = _chat(tokenizer).context_length
        ids = torch.zeros(samples * length, dtype=torch.int64, device=device)
        offsets = torch.arange(0, (samples + 1) * length, length, device=device)
        return dict(zip(self.entries, (ids, ids.bool(), offsets)))


def _chat(tokenizer: Tokenizer | None) -> ChatTokenizer:
    """The recipe's tokenizer, which has to be one of conversations."""
    if not isinstance(tokenizer, ChatTokenizer):
        raise CorekitError("conversations need a tokenizer that has a chat template: set "
                           "data.tokenizer.name=chat and data.tokenizer.path to a folder of a "
                           "language model")
    return tokenizer


def _tiles(value: object) -> "Tensor":
    """All tiles of a sample's pictures, uint8 [sum of t, 3, S, S]."""
    import torch

    assert isinstance(value, list)
    return torch.cat(value) if value else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
