"""The contract of a dataset: numbered samples in shards, read by position, decoded singly."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # the commands import this module, and --help needs no numpy
    import numpy as np
    from numpy.typing import NDArray

    from corekit.data.fields import Field
    from corekit.data.loading.shuffled_order import MixedOrder, ShuffledOrder

Sample = dict[str, Any]  # field -> its decoded value, and `key`
Batch = dict[str, Any]  # entry -> the values of several samples
# field -> the entry of kind `field` that knows it; names alone: the entries of those names
Fields = Sequence[str] | Mapping[str, "str | Field"]
# the kind of a sample that is sound but not wanted: replaced as a bad one is, and no damage
LEFT_OUT = "left_out"


class BadSampleError(Exception):
    """A sample whose bytes cannot be turned into what its fields promise.

    Bad samples are counted by ``kind``, such as ``image`` or ``missing_field``; ``message`` says
    what is wrong, with the shard and the key.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind, self.message = kind, message


@runtime_checkable
class Source(Protocol):
    """The contract of entries of kind ``dataset``.

    ``shard_sizes`` is int64 [shards]; ``fingerprint`` is another string wherever the samples or
    their order would be others. ``fields`` are what a decoded sample has beside ``key``. What a
    dataset may say of itself beyond that is in ``DatasetInfo``, as attributes of the same names.
    """

    @property
    def fields(self) -> Fields:
        """Names of fields, or field -> the entry of kind ``field`` it is."""
        ...

    shard_sizes: "NDArray[np.int64]"
    fingerprint: str

    def read(self, shard: int, first: int, count: int) -> Sequence[object]:
        """Undecoded handles of ``count`` samples of a shard from ``first``, in one read."""
        ...

    def decode(self, handle: Any) -> Sample:
        """One sample: its ``key`` and its fields, such as a PIL ``image`` and a string ``text``.

        The image may be decoded later, when its pixels are first asked for. Where a sample holds
        several of a kind, one may be drawn from torch's default generator, which training seeds for
        each sample before.

        Raises:
            BadSampleError: the bytes are bad, here or when the image is decoded; the sample is
                counted and replaced. So is one of kind ``LEFT_OUT``, which does not count against
                ``data.max_bad_fraction``.
        """
        ...


@dataclass(frozen=True)
class DatasetInfo:
    """Optional attributes of a dataset, by their names; each has a default.

    ``version`` is another string also where the same shards were written again; None: as
    ``fingerprint``. ``belongs_to`` has fields that are of no use without another one, as features
    of a picture are without the crop that they were made of. ``order`` says which sample a stream's
    k-th draw is, of (streams, window, seed), as a mixture does.
    """

    name: str  # what records call it; its class in lower case
    class_names: Sequence[str] = ()  # of the classes that labels are numbers of
    segmentation_names: Sequence[str] = ()  # of pixels' classes; none: the same
    num_classes: int | None = None  # None: not known
    templates: Sequence[str] = ()  # sentences with {} for a class name
    version: str | None = None
    attribution: str | None = None  # the text of ATTRIBUTION.md beside shards of its samples
    belongs_to: Mapping[str, str] = field(default_factory=dict)
    key_of: Callable[[Any], str] | None = None  # of a handle that was read, before decoding
    order: "Callable[[int, int, int], ShuffledOrder | MixedOrder] | None" = None


def dataset_info(source: object) -> DatasetInfo:
    """The optional attributes of a dataset, with the defaults of those it lacks."""
    attributes = {each.name: getattr(source, each.name) for each in dataclasses.fields(DatasetInfo)
                  if hasattr(source, each.name)}
    return DatasetInfo(**{"name": type(source).__name__.lower(), **attributes})


def last_part(root: str) -> str:
    """The name of a dataset that lies under a folder or URL: the folder's own."""
    return root.rstrip("/").rpartition("/")[2] or root


def declared(fields: Fields) -> "dict[str, str | Field]":
    """field -> its entry, for either way to declare fields."""
    return dict(fields) if isinstance(fields, Mapping) else {name: name for name in fields}


def without(fields: Fields, names: Iterable[str]) -> "dict[str, str | Field]":
    """The declared fields without those of some names."""
    dropped = set(names)
    return {name: entry for name, entry in declared(fields).items() if name not in dropped}
