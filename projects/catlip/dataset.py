"""Data sets labelled with rows of a vocabulary, mined while training or stored."""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets import base
from corekit.data.datasets.base import BadSampleError, Sample, Source
from corekit.data.fields import find_fields
from corekit.data.jobs.manifest import MANIFEST
from corekit.data.shards.indexing import load_index
from corekit.data.shards.join import Join
from corekit.data.shards.members import RawSample, decode_sample, default_fields, split_extensions
from corekit.errors import CorekitError
from corekit.registry import register

from .jobs import ROWS
from .versions import warn_of_other_nltk
from .vocabulary import Vocabulary, read_vocabulary


@register("dataset", "mined_labels")
class MinedLabels:
    """Another data set's samples with the rows of a vocabulary that their captions name.

    These are CatLIP's labels, mined while training. A sample has what the other data set's has,
    with ``label_rows`` (int32 [n], ascending) in place of ``text``.

    Args:
        dataset: where pictures and captions come from, ``{name: ..., ...}``.
        vocabulary: a table that ``corekit data vocabulary`` wrote, or CoreNet's pickle, of
            which nothing is called. None: no labels, as a dry run needs it.
        size: take its first rows only.
        nouns: tagged or first_sense, as for the vocabulary.
        compounds: also find nouns of several words, such as hot dog.
        empty: what becomes of a caption that names nothing in the vocabulary: keep it, with a
            target of zeros, as CoreNet does; or drop it, which takes another sample of its window
            in its place, and counts it apart from bad ones.

    Raises:
        CorekitError: no captions, no WordNet, or no vocabulary of this WordNet.
    """

    def __init__(self, dataset: Source, vocabulary: str | None = None, size: int | None = None,
                 nouns: Literal["first_sense", "tagged"] = "first_sense", compounds: bool = False,
                 empty: Literal["keep", "drop"] = "keep") -> None:
        from .labels import CODE, NounLabels  # imports NLTK

        if "text" not in dataset.fields:
            raise CorekitError("dataset 'mined_labels': its dataset has no text to find nouns in; "
                               f"it gives {', '.join(dataset.fields)}")
        if vocabulary is None and dataset.shard_sizes.sum():
            raise _missing("mined_labels", "vocabulary", "corekit data vocabulary")
        self.dataset, self.labels, self.empty = dataset, NounLabels(nouns, compounds), empty
        self.fields = {**base.without(dataset.fields, ["text"]), "label_rows": "label_rows"}
        self.shard_sizes = dataset.shard_sizes
        self.vocabulary = read_vocabulary(vocabulary, size) if vocabulary is not None else None
        if self.vocabulary is not None:
            self.vocabulary.check()
            warn_of_other_nltk(f"vocabulary {vocabulary}", self.vocabulary.versions.get("nltk"))
        self.num_classes = len(self.vocabulary) if self.vocabulary is not None else None
        self.fingerprint = _fingerprint(self.vocabulary, dataset.fingerprint, CODE, nouns,
                                        compounds, empty)
        self.order = base.dataset_info(dataset).order  # of a mixture

    def read(self, shard: int, first: int, count: int) -> Sequence[object]:
        """The other data set's."""
        return self.dataset.read(shard, first, count)

    def decode(self, handle: object) -> Sample:
        """The other data set's sample, labelled."""
        assert self.vocabulary is not None
        sample = self.dataset.decode(handle)
        try:
            keys = self.labels(sample.pop("text"))
        except BadSampleError as error:
            raise BadSampleError(error.kind, f"{sample['key']}: {error.message}") from None
        return _labelled(sample, self.vocabulary.rows(keys), self.empty)


@register("dataset", "stored_labels")
class StoredLabels:
    """Pictures in tar shards with the rows that ``corekit data label`` stored for them.

    These are CatLIP's labels, mined ahead of time. They lie in shards of the same names, and are
    joined with the pictures by key; pictures without any, because their captions could not be read,
    are left out and counted when the run starts. A sample has ``label_rows``, int32 [n], ascending.

    Args:
        root: the folder or URL of the pictures' shards; ``data.root`` where the recipe gives none.
            None: no samples, as a dry run needs it.
        labels: the folder or URL that ``corekit data label`` wrote.
        vocabulary: the one that they were made with.
        size: take its first rows only, as the labels did.
        shards: pattern of the shards' names under both; of several, separated by ``;``, the first
            that any shard matches.
        fields: field -> the extensions that may hold it, separated by ``;``; default: image.
        empty: what becomes of a sample without any row: keep or drop, as in ``mined_labels``.

    Raises:
        CorekitError: no folder, no shards, none with a partner, or labels of another vocabulary.
    """

    def __init__(self, root: str | None, labels: str | None = None, vocabulary: str | None = None,
                 size: int | None = None, shards: str = "**/*.tar",
                 fields: dict[str, str] | None = None,
                 empty: Literal["keep", "drop"] = "keep") -> None:
        self.extensions = split_extensions(fields or default_fields("image"))
        self.decoders, self.empty = find_fields(tuple(self.extensions)), empty
        self.fields = (*self.extensions, "label_rows")
        self.shard_sizes, self.fingerprint = np.zeros(0, dtype=np.int64), ""
        table = read_vocabulary(vocabulary, size) if vocabulary is not None else None
        self.num_classes = len(table) if table is not None else None
        if root is None:
            return
        if labels is None or table is None:
            raise _missing("stored_labels", "labels" if labels is None else "vocabulary",
                           "corekit data label")
        label_index = load_index(labels, shards)
        _check_labels(labels, label_index.storage.read_if_there(MANIFEST), table)
        self.join = Join(load_index(root, shards), label_index, same_shards=True)
        self.shard_sizes = self.join.counts
        self.fingerprint = _fingerprint(table, self.join.images.fingerprint,
                                        label_index.fingerprint, self.extensions, empty)

    def read(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The bytes of neighbouring samples, with their labels."""
        return self.join.read(shard, first, count)

    def decode(self, handle: RawSample) -> Sample:
        """One sample with its rows."""
        sample = decode_sample(handle, self.extensions, self.decoders)
        assert self.num_classes is not None
        rows = _stored_rows(handle.members.get(ROWS, b""), self.num_classes)
        if rows is None:
            raise BadSampleError("label_rows", f"{handle.where}: {handle.key}: its {ROWS} holds no "
                                               "rows of the vocabulary")
        return _labelled(sample, rows, self.empty)


def _labelled(sample: Sample, rows: NDArray[np.int32], empty: str) -> Sample:
    if not len(rows) and empty == "drop":
        raise BadSampleError(base.LEFT_OUT, f"{sample['key']}: its caption names nothing in the "
                                       "vocabulary")
    sample["label_rows"] = rows
    return sample


def _stored_rows(content: bytes, classes: int) -> NDArray[np.int32] | None:
    try:
        rows: NDArray[np.int32] = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception:  # bad bytes raise anything in NumPy
        return None
    if not isinstance(rows, np.ndarray) or rows.dtype != np.int32 or rows.ndim != 1:
        return None
    ascending = bool((np.diff(rows) > 0).all())
    return rows if not len(rows) or (rows[0] >= 0 and rows[-1] < classes and ascending) else None


def _check_labels(labels: str, manifest: bytes | None, vocabulary: Vocabulary) -> None:
    try:
        made_by = json.loads(manifest or b"")["made_by"]
        fingerprint, nltk = made_by["vocabulary"], made_by.get("nltk")
    except (ValueError, KeyError, TypeError):
        raise CorekitError(f"{labels} has no {MANIFEST} of labels: give a folder that `corekit "
                           "data label` wrote") from None
    if fingerprint != vocabulary.fingerprint:
        raise CorekitError(f"the labels under {labels} were made with another vocabulary than "
                           "data.dataset.vocabulary, or with another size of it: give the one they "
                           "were made with, or label again")
    warn_of_other_nltk(f"{labels}, a folder of labels,", nltk and str(nltk))


def _fingerprint(vocabulary: Vocabulary | None, *decides: object) -> str:
    words = json.dumps([vocabulary.fingerprint if vocabulary is not None else None, *decides])
    return hashlib.sha256(words.encode()).hexdigest()


def _missing(name: str, what: str, command: str) -> CorekitError:
    return CorekitError(f"dataset '{name}' needs data.dataset.{what}={what.upper()}; `{command}` "
                        "makes it")
