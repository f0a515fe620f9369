"""The ``webdataset`` dataset: tar shards read by index, one ranged read a window."""

import numpy as np

from corekit.data.datasets.base import Sample, last_part
from corekit.data.fields import find_fields
from corekit.data.object_fields import BoxLabels
from corekit.data.shards.indexing import load_index
from corekit.data.shards.members import RawSample, decode_sample, default_fields, split_extensions
from corekit.data.shards.notes import CLASS_NAMES, TEMPLATES
from corekit.data.storage import read_lines, split_pattern
from corekit.errors import CorekitError
from corekit.registry import register


@register("dataset", "webdataset")
class WebDataset:
    """Image-text samples in WebDataset tar shards under one folder, local or remote.

    Args:
        root: the folder, or a URL that fsspec understands such as ``s3://bucket/shards``;
            ``data.root`` where the recipe gives none. It may end in the shards themselves, as in
            ``web/{00000..00099}.tar``. None: no samples, as a dry run needs it.
        shards: pattern of the shards' names under it, with ``{00000..00099}`` for a range; of
            several, separated by ``;``, the first that any shard matches. With the default, folders
            below the root are searched only where ``corekit data index`` has been there, or the
            root holds shards itself.
        fields: field -> the extensions that may hold it, separated by ``;``, the first one there is
            taken.

    Raises:
        CorekitError: no folder, no shards, no samples, or shards that ``corekit data index`` has to
            index first.
    """

    def __init__(self, root: str | None, shards: str = "**/*.tar",
                 fields: dict[str, str] | None = None) -> None:
        if root is not None:
            root, pattern = split_pattern(root)
            shards = pattern or shards
        self.extensions = split_extensions(fields or default_fields("image", "text"))
        self.fields, self.decoders = tuple(self.extensions), find_fields(tuple(self.extensions))
        self.name = last_part(root or "webdataset")
        self.index = load_index(root, shards) if root is not None else None
        self.shard_sizes = self.index.samples if self.index else np.zeros(0, dtype=np.int64)
        self.fingerprint = self.index.fingerprint if self.index else ""
        self.version = self.index.version if self.index else None
        if self.index and not self.shard_sizes.sum():
            raise CorekitError(f"the shards under {root} hold no samples")
        self.class_names = read_lines(root, CLASS_NAMES) if root else []
        for field in self.decoders.values():
            if self.class_names and isinstance(field, BoxLabels):
                field.num_classes = len(self.class_names)
        self.templates = read_lines(root, TEMPLATES) if root else []

    def read(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The bytes of neighbouring samples, by one ranged read."""
        assert self.index is not None
        return self.index.read_samples(shard, first, count)

    def key_of(self, handle: RawSample) -> str:
        """The key of a sample that was read."""
        return handle.key

    def decode(self, handle: RawSample) -> Sample:
        """The fields of one sample, decoded by their canonical names."""
        return decode_sample(handle, self.extensions, self.decoders)
