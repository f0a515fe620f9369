"""Choices among pictures in shards."""

import hashlib

from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.choices.base import parse_rows
from corekit.data.datasets.choices.instances import Instance, check_instance
from corekit.data.datasets.dense.damage import Damage
from corekit.data.shards.members import default_fields
from corekit.data.shards.notes import INSTANCES
from corekit.data.shards.webdataset import WebDataset
from corekit.data.storage import Storage
from corekit.errors import CorekitError
from corekit.registry import register


@register("dataset", "choices")
class Choices(WebDataset):
    """Choices among pictures in shards, as ``corekit data shards`` writes them; an InstanceSource.

    ``instances.jsonl`` in the folder has a line for each choice, ``{"pictures": [KEY, ...],
    "sentences": [...], "right": [...]}``. Of several pictures and one sentence, ``right`` has the
    places of the right pictures; of one picture, those of its right sentences; of as many pictures
    as sentences, the place of each picture's own sentence. Damaged lines are left out and counted
    by kind, with one warning.

    Args:
        root: the folder; ``data.root`` where the recipe gives none. None: no samples, as a dry run
            needs it.
        shards: pattern of the shards' names under it, as for ``webdataset``.

    Attributes:
        instances: the choices, in the order of the lines.
        damage: lines that are left out, by kind.

    Raises:
        CorekitError: there are no shards or no choices, or two pictures have one key.
    """

    def __init__(self, root: str | None, shards: str = "test/*.tar;*.tar") -> None:
        super().__init__(root, shards, default_fields("image"))
        self.instances: list[Instance] = []
        self.damage = Damage()
        if root is None or self.index is None:
            return
        self.keys = [key for shard in range(len(self.index)) for key in self.index.keys(shard)]
        numbers = {key: number for number, key in enumerate(self.keys)}
        if len(numbers) < len(self.keys):
            twice = next(key for number, key in enumerate(self.keys) if numbers[key] != number)
            raise CorekitError(f"the shards under {root} hold two pictures called {twice}")
        storage = Storage(root)
        content, where = storage.read_if_there(INSTANCES), storage.where(INSTANCES)
        if content is None:
            raise CorekitError(f"{where} does not exist: it says what to choose among the pictures")
        self._read(content, where, numbers)
        self.fingerprint, self.version = (
            hashlib.sha256(each.encode() + content).hexdigest()
            for each in (self.index.fingerprint, self.index.version))

    def _read(self, content: bytes, where: str, numbers: dict[str, int]) -> None:
        for number, row in enumerate(parse_rows(content, where), 1):
            try:
                if not all(isinstance(place, int) for place in row["right"]):
                    raise BadSampleError("right", "")
                if not all(isinstance(sentence, str) for sentence in row["sentences"]):
                    raise BadSampleError("empty_caption", "")
                if not all(key in numbers for key in row["pictures"]):
                    raise BadSampleError("unknown_picture", "")
                instance = Instance(tuple(numbers[key] for key in row["pictures"]),
                                    tuple(row["sentences"]), tuple(row["right"]))
                check_instance(instance)
                self.instances.append(instance)
            except BadSampleError as error:
                self.damage.add(error.kind, f"line {number}")
            except (KeyError, TypeError):
                self.damage.add("line", f"line {number}")
        self.damage.warn(where)
        if not self.instances:
            raise CorekitError(f"{where} holds no choice: " + "; ".join(self.damage.sentences()))

    def key(self, number: int) -> str:
        """The key of a picture."""
        return self.keys[number]
