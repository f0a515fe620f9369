"""The ``mixture`` dataset: several sources, drawn by weight, with a caption field each."""

import hashlib
import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from corekit.data.datasets.base import Fields, Sample, Source, dataset_info, declared
from corekit.data.loading.shuffled_order import MixedOrder, ShuffledOrder
from corekit.errors import CorekitError
from corekit.registry import register
from corekit.seeds import derive_seed

LONGEST_PERIOD = 1000  # chosen by itself: every stream remembers the order of one period
_KEYS = ("weight", "dataset", "caption")


@register("dataset", "mixture")
class Mixture:
    """Samples of several data sets, in shares by weight.

    Every stream deals its draws to the sources in periods, permuted: after each period every source
    has been drawn by its weight exactly, where the period is long enough to hold the shares as
    whole numbers, else by largest remainder. Each source has streams and passes of its own, so that
    none of its samples comes twice, or is left out, before the others have come.

    Args:
        sources: label -> ``{weight: 2.0, dataset: {name: ..., ...}, caption: text}``: its share
            relative to the others (1 where it is left out), what it is, and which of its fields is
            ``text`` here (``text`` where that is left out).
        period: draws of a stream that are dealt together; None: as few as hold the shares exactly,
            1000 at most.

    Raises:
        CorekitError: the sources do not give the same fields, or an entry is not of this form.
    """

    def __init__(self, sources: dict[str, dict[str, Any]], period: int | None = None) -> None:
        if not sources:
            raise CorekitError("a mixture needs sources: label -> {weight, dataset, caption}")
        for label, entry in sources.items():
            _check_entry(label, entry)
        self.labels = list(sources)
        self.sources: list[Source] = [entry["dataset"] for entry in sources.values()]
        nested = [label for label, source in zip(self.labels, self.sources)
                  if dataset_info(source).order is not None]
        if nested:
            raise CorekitError(f"mixture: source '{nested[0]}' is a mixture itself: name its "
                               "sources here, with their weights")
        self.captions: list[str] = [entry.get("caption", "text") for entry in sources.values()]
        self.counts = share_out({label: entry.get("weight", 1) for label, entry in sources.items()},
                                period)
        self.fields = self._same_fields()
        self.shard_sizes = np.concatenate([source.shard_sizes for source in self.sources])
        self.first_shard = np.cumsum([0, *(len(source.shard_sizes) for source in self.sources)])
        decides = [self.labels, self.captions, self.counts,
                   [source.fingerprint for source in self.sources]]
        self.fingerprint = hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    def _same_fields(self) -> Fields:
        fields_of_sources: list[Fields] = []
        for label, source, caption in zip(self.labels, self.sources, self.captions):
            if caption not in source.fields and caption != "text":
                raise CorekitError(f"mixture: source '{label}' has no field '{caption}' to caption "
                                   f"with; it gives {', '.join(source.fields)}")
            fields_of_sources.append(_renamed(source.fields, caption))
        for label, fields in zip(self.labels, fields_of_sources):
            if set(fields) != set(fields_of_sources[0]):
                raise CorekitError("mixture: every source must give the same fields, but "
                                   f"'{self.labels[0]}' gives {', '.join(fields_of_sources[0])} "
                                   f"and '{label}' gives {', '.join(fields)}: say in each source's "
                                   "`dataset.fields` what is wanted of it")
        return fields_of_sources[0]

    def order(self, streams: int, window: int, seed: int) -> MixedOrder:
        """The order in which the samples of a stream are drawn.

        Raises:
            CorekitError: a source has fewer samples than there are streams.
        """
        orders = []
        for label, source in zip(self.labels, self.sources):
            inner_seed = derive_seed(seed, "source", label)
            try:
                orders.append(ShuffledOrder(source.shard_sizes, streams, window, inner_seed))
            except CorekitError as error:
                raise CorekitError(f"mixture: source '{label}': {error}") from None
        return MixedOrder(orders, self.counts, seed)

    def read(self, shard: int, first: int, count: int) -> list[tuple[int, object]]:
        """(source, its handle) of neighbouring samples; shards are numbered through all sources."""
        number = int(np.searchsorted(self.first_shard, shard, side="right")) - 1
        inner_shard = shard - int(self.first_shard[number])
        return [(number, handle)
                for handle in self.sources[number].read(inner_shard, first, count)]

    def decode(self, handle: tuple[int, object]) -> Sample:
        """One sample of one source, its caption called ``text``."""
        number, inner = handle
        sample = self.sources[number].decode(inner)
        caption = self.captions[number]
        if caption != "text":
            sample["text"] = sample.pop(caption)
        return {name: sample[name] for name in ("key", *self.fields)}


def share_out(weights: Mapping[str, float], period: int | None = None) -> list[int]:
    """The draws of each source in a period, by largest remainder, and at least one of each."""
    exact = [Fraction(str(weight)) for weight in weights.values()]
    shares = [weight / sum(exact) for weight in exact]
    period = period or min(LONGEST_PERIOD, math.lcm(*(share.denominator for share in shares)))
    quotas = [share * period for share in shares]
    counts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(counts)), key=lambda index: counts[index] - quotas[index])
    for index in by_remainder[:period - sum(counts)]:
        counts[index] += 1
    for label, count in zip(weights, counts):
        if count == 0:
            raise CorekitError(f"mixture: source '{label}' has too small a weight to be drawn once "
                               f"in a period of {period}: give the mixture a longer `period`")
    return counts


def _renamed(fields: Fields, caption: str) -> Fields:
    """The fields with the caption's called ``text``, in place of another one of that name."""
    entries = {name: entry for name, entry in declared(fields).items()
            if name != "text" or caption == "text"}
    renamed = {"text" if name == caption else name: entry for name, entry in entries.items()}
    return renamed if isinstance(fields, Mapping) else tuple(renamed)


def _check_entry(label: str, entry: object) -> None:
    if not isinstance(entry, Mapping) or "dataset" not in entry or set(entry) - set(_KEYS):
        raise CorekitError(f"mixture: source '{label}' must be {{weight: 1.0, dataset: {{name: "
                           f"...}}, caption: text}}, not {entry!r}")
    weight = entry.get("weight", 1)
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not is_number or not 0 < weight < math.inf:
        raise CorekitError(f"mixture: the weight of source '{label}' must be a number above 0, not "
                           f"{weight!r}")
    if not isinstance(entry["dataset"], Source):
        raise CorekitError(f"mixture: `dataset` of source '{label}' needs the `name` of a data set")
