"""The ``conversations`` dataset: LLaVA's JSON, and the pictures that it speaks of beside it."""

import hashlib
import json

import numpy as np

from corekit.data.conversations.json_items import item_edges
from corekit.data.datasets.base import BadSampleError, Sample, last_part
from corekit.data.datasets.folder import SHARD, permutation, sizes_of_shards
from corekit.data.fields import find_fields
from corekit.data.storage import Storage
from corekit.errors import CorekitError
from corekit.files import leaves_folder
from corekit.registry import register

HASHED = 1 << 24  # bytes at a time

Handle = tuple[int, bytes]  # the number of an item, and its JSON


@register("dataset", "conversations")
class Conversations:
    """Conversations about pictures, or about none, as LLaVA's mixtures have them.

    The file is a list in JSON, or an item a line. An item has ``image``, the path of a picture or a
    list of paths, or no such key where it is text alone, and ``conversations``, a list of turns
    with ``from`` (human, gpt or system) and ``value``, in which ``<image>`` is the place of the
    next picture. FineVision's ``images`` and ``texts`` are taken too. A sample has ``pictures`` and
    ``conversation``; its key is the number of its item. Items are numbered in an order of their
    own, the same everywhere, so that neighbours are not all of one source.

    Args:
        root: the folder of the pictures, local or remote; ``data.root`` where the recipe gives
            none. None: no samples, as a dry run needs it.
        annotations: the file, by its name in the folder, or where it lies elsewhere.

    Raises:
        CorekitError: there is no such file, or it holds no items.
    """

    fields = ("pictures", "conversation")

    def __init__(self, root: str | None, annotations: str = "conversations.json") -> None:
        self.name, self.fingerprint = last_part(annotations).partition(".")[0], ""
        self.edges = np.zeros((0, 2), dtype=np.int64)
        self.decoders = find_fields(self.fields)
        if root is not None:
            self.pictures = Storage(root)
            folder, _, self.file = annotations.rpartition("/")
            is_elsewhere = annotations.startswith(("/", "~")) or "://" in annotations
            self.storage = Storage(folder or "/" if is_elsewhere else f"{root}/{folder}")
            self._find_items()
        self.shard_sizes = sizes_of_shards(len(self.edges))
        self.order_of_items = permutation(len(self.edges))

    def _find_items(self) -> None:
        where = self.storage.where(self.file)
        if not self.storage.is_file(self.file):
            raise CorekitError(f"{where} does not exist: data.dataset.annotations names the file "
                               "of the conversations, by its place under data.root")
        try:
            with self.storage.open(self.file) as file:
                self.edges = item_edges(file)
                file.seek(0)
                digest = hashlib.sha256()
                while content := file.read(HASHED):
                    digest.update(content)
        except ValueError as error:
            raise CorekitError(f"{where} is {error}: it must hold conversations as LLaVA's do, a "
                               "list in JSON or an item a line") from None
        if not len(self.edges):
            raise CorekitError(f"{where} holds no conversations")
        self.fingerprint = digest.hexdigest()

    def read(self, shard: int, first: int, count: int) -> list[Handle]:
        """The JSON of neighbouring items; their pictures are read when they are decoded."""
        begin = shard * SHARD + first
        numbers = self.order_of_items[begin:begin + count].tolist()
        return [(number, self.storage.read(self.file, *self.edges[number].tolist()))
                for number in numbers]

    def key_of(self, handle: Handle) -> str:
        """The key of an item: its number in the file."""
        return f"{handle[0]:08d}"

    def decode(self, handle: Handle) -> Sample:
        """The pictures and the messages of an item."""
        key, where = self.key_of(handle), f"{self.storage.where(self.file)}: item {handle[0]}"
        messages = self.decoders["conversation"].decode(handle[1], where)  # also of what is no JSON
        try:
            pictures = [self.decoders["pictures"].decode(self._picture(name), f"{where}, {name}")
                        for name in picture_names(json.loads(handle[1]))]
        except BadSampleError as error:
            message = error.message if where in error.message else f"{where}: {error.message}"
            raise BadSampleError(error.kind, message) from None
        return {"key": key, "pictures": pictures, "conversation": messages}

    def _picture(self, name: str) -> bytes:
        if leaves_folder(name):
            raise BadSampleError("path", f"{name!r} leaves the folder of the pictures")
        content = self.pictures.read_if_there(name)
        if content is None:
            raise BadSampleError("missing_file", f"{self.pictures.where(name)} does not exist")
        return content


def picture_names(item: object) -> list[str]:
    """The paths of an item's pictures."""
    values = item if isinstance(item, dict) else {}
    names = values.get("image") or values.get("images") or []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadSampleError("pictures", "its `image` is neither a path nor a list of paths")
    return names
