"""The ``reinforced`` dataset: image shards with captions and embeddings, in DataCompDR's form."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.fields import find_fields
from corekit.data.shards.indexing import load_index
from corekit.data.shards.join import Join
from corekit.data.shards.members import RawSample, decode_sample, default_fields, split_extensions
from corekit.errors import CorekitError
from corekit.registry import register

from .embeddings import decode_embeddings
from .replay import STORED, parse_augmentation

LOOKED_AT = 64  # samples, to find one that says which version a set is of
_ADDED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("real", "synthetic", "one"), ("teacher_text_features",)),
    "both": ("teacher_text_features", "synthetic_text", "teacher_synthetic_text_features")}


@dataclass(frozen=True)
class Layout:
    """The layout of a set: version 1 keeps synthetic embeddings behind the real one's, 2 apart."""

    version: int
    width: int


@dataclass(frozen=True)
class Reinforcement:
    """What is stored for one sample: captions with their embeddings, augmentations with theirs.

    ``real`` is a row of its embeddings, ``synthetic`` has (caption, embeddings, row) of each.
    """

    layout: Layout
    augmentations: list[object]
    image: Tensor
    real: tuple[Tensor, int]
    synthetic: list[tuple[str, Tensor, int]]


@register("dataset", "reinforced")
class Reinforced:
    """Image-text shards with stored captions, augmentations and embeddings of teachers.

    A sample (Vasu et al., 2024, section 3) is a picture with one of its stored augmentations
    (``augmentation``, for the transform ``replay``), drawn anew each time, the teachers' embedding
    of just that (``teacher_image_features``), and captions with theirs. They are stored as
    ``<uid>.paug.json``, ``.syn.json`` and ``.npz`` or ``.pth.gz``, in the image shards themselves
    or in shards of their own, as Apple publishes DataCompDR: these are joined with the pictures by
    uid where they lie.

    A sample of another version (the synthetic captions' embeddings in ``text_emb``, or in arrays of
    their own) or width than the set's first one is a bad sample, as is one whose parts do not fit
    each other. Pictures and reinforcements without a partner are left out, and counted when the run
    starts.

    Args:
        root: the folder or URL of the image shards; ``data.root`` where the recipe gives none.
            None: no samples, as a dry run needs it.
        reinforcements: the folder or URL of shards without pictures; None: those of ``root``.
        shards: pattern of the shards' names under both; of several, separated by ``;``, the first
            that any shard matches.
        fields: ``image`` and ``text`` -> the extensions that may hold them, separated by ``;``.
        uid: where image shards have the uids: the samples' keys, or ``uid`` in their json member.
        captions: both: real ones as ``text`` and synthetic ones as ``synthetic_text``; real,
            synthetic, or one of either kind at random: as ``text``.
        synthetic: regular expression of the names in ``.syn.json`` whose captions are taken.
        augmentations: the transforms whose parameters are stored, in that order.

    Raises:
        CorekitError: no folder or shards, or no sample with a partner that can be read.
    """

    belongs_to = {"teacher_image_features": "augmentation"}

    def __init__(self, root: str | None, reinforcements: str | None = None,
                 shards: str = "**/*.tar", fields: dict[str, str] | None = None,
                 uid: Literal["key", "json"] = "key",
                 captions: Literal["both", "real", "synthetic", "one"] = "both",
                 synthetic: str = "syn_text.*",
                 augmentations: tuple[str, ...] = ("random_resized_crop", "rand_augment")) -> None:
        self.extensions = split_extensions(fields or default_fields("image", "text"))
        self.decoders = find_fields(tuple(self.extensions))
        self.captions, self.stored = captions, tuple(augmentations)
        if captions not in _ADDED:
            raise CorekitError("dataset 'reinforced': captions must be one of "
                               f"{', '.join(_ADDED)}, not '{captions}'")
        if unknown := [name for name in self.stored if name not in STORED]:
            raise CorekitError(f"dataset 'reinforced': augmentations may be {', '.join(STORED)}, "
                               f"not {unknown[0]}")
        try:
            self.synthetic = re.compile(synthetic)
        except re.error as error:
            raise CorekitError(f"dataset 'reinforced': synthetic={synthetic} is no pattern: "
                               f"{error}") from None
        self.fields = (*self.extensions, "augmentation", "teacher_image_features",
                       *_ADDED[captions])
        self.shard_sizes, self.fingerprint = np.zeros(0, dtype=np.int64), ""
        self.join: Join | None = None
        if root is None:
            return
        self.index = load_index(root, shards)
        decides = [self.index.fingerprint, uid, captions, synthetic, self.stored, self.extensions]
        self.shard_sizes = self.index.samples
        if reinforcements is not None:
            self.join = Join(self.index, load_index(reinforcements, shards), uid,
                             merge=_reinforced_anew)
            self.shard_sizes = self.join.counts
            decides.append(self.join.others.fingerprint)
        self.fingerprint = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        self.layout = self._find_layout(root)

    def read(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The bytes of neighbouring samples, with those of their reinforcements."""
        if self.join is not None:
            return self.join.read(shard, first, count)
        return self.index.read_samples(shard, first, count)

    def decode(self, handle: RawSample) -> Sample:
        """One sample with an augmentation and a caption drawn from torch's default generator."""
        where = f"{handle.where}: {handle.key}"
        sample = decode_sample(handle, self.extensions, self.decoders)
        reinforcement = self._reinforcement(handle.members, where)
        if reinforcement.layout != self.layout:
            raise BadSampleError(
                "version" if reinforcement.layout.version != self.layout.version else "width",
                f"{where}: a reinforcement of {_described(reinforcement.layout)} in a set of "
                f"{_described(self.layout)}")
        choices = (len(reinforcement.augmentations), len(reinforcement.synthetic), 2)
        augmentation, caption, is_synthetic = map(_draw, choices)
        sample["augmentation"] = parse_augmentation(reinforcement.augmentations[augmentation],
                                                    self.stored, where)
        sample["teacher_image_features"] = _row(reinforcement.image, augmentation, where)
        text, rows, row = reinforcement.synthetic[caption]
        if self.captions == "both":
            sample |= {"synthetic_text": text,
                       "teacher_synthetic_text_features": _row(rows, row, where)}
        if self.captions == "synthetic" or (self.captions == "one" and is_synthetic):
            sample |= {"text": text, "teacher_text_features": _row(rows, row, where)}
        else:
            sample["teacher_text_features"] = _row(*reinforcement.real, where)
        return {name: sample[name] for name in ("key", *self.fields)}

    def _find_layout(self, root: str) -> Layout:
        """That of the first sample that can be read: a set is of one version."""
        bad = None
        for handle in self._first_samples():
            where = f"{handle.where}: {handle.key}"
            try:
                if handle.bad is not None:
                    raise BadSampleError(handle.bad[0], f"{where}: {handle.bad[1]}")
                return self._reinforcement(handle.members, where).layout
            except BadSampleError as error:
                bad = bad or error.message
        advice = ""
        if self.join is None:
            advice = "; data.dataset.reinforcements names the shards where they lie elsewhere"
        raise CorekitError(f"data.root={root} holds no reinforced sample that can be read: "
                           f"{bad or 'no sample at all'}{advice}")

    def _first_samples(self) -> Iterator[RawSample]:
        left = LOOKED_AT
        for shard, size in enumerate(self.shard_sizes.tolist()):
            yield from self.read(shard, 0, min(size, left)) if size else ()
            left -= min(size, left)
            if not left:
                return

    def _reinforcement(self, members: Mapping[str, bytes], where: str) -> Reinforcement:
        augmentations = _unpacked(_json(members, "paug.json", where).get("param_aug"))
        names = _json(members, "syn.json", where)
        captions_by_name = {name: _unpacked(names[name]) for name in sorted(names)
                            if self.synthetic.fullmatch(name)}
        embeddings = decode_embeddings(members, where)
        image, real = (embeddings.get(name) for name in ("image_emb", "text_emb"))
        if image is None or real is None:
            raise BadSampleError("embeddings", f"{where}: no rows of numbers called image_emb and "
                                               "text_emb")
        augmentations = augmentations if isinstance(augmentations, list) else []
        if len(augmentations) != len(image) or not augmentations:
            raise BadSampleError("augmentation", f"{where}: {len(augmentations)} augmentations for "
                                                 f"{len(image)} rows of image_emb")
        separate = [name for name in captions_by_name if f"{name}_emb" in embeddings]
        captions: list[tuple[str, Tensor, int]] = []
        for name, texts in captions_by_name.items():
            rows, first = (embeddings[f"{name}_emb"], 0) if name in separate else (real, 1)
            mixed = len(captions_by_name) > 1 and name not in separate
            if mixed or not isinstance(texts, list) or len(texts) != len(rows) - first:
                raise BadSampleError("synthetic_text", f"{where}: no row of embeddings for each "
                                                       f"caption of {name}")
            if not all(isinstance(text, str) and text.strip() for text in texts):
                raise BadSampleError("empty_text", f"{where}: a caption of {name} is empty")
            captions += [(text, rows, first + row) for row, text in enumerate(texts)]
        if not captions:
            raise BadSampleError("synthetic_text", f"{where}: no captions in syn.json that match "
                                                   f"{self.synthetic.pattern}")
        if separate and len(real) != 1:
            raise BadSampleError("embeddings", f"{where}: {len(real)} rows of text_emb for one "
                                               "caption")
        if len({rows.shape[1] for rows in (image, real, *(rows for _, rows, _ in captions))}) > 1:
            raise BadSampleError("width", f"{where}: pictures and captions have embeddings of "
                                          "different widths")
        layout = Layout(2 if separate else 1, image.shape[1])
        return Reinforcement(layout, augmentations, image, (real, 0), captions)


def _reinforced_anew(own: Mapping[str, bytes], other: Mapping[str, bytes]) -> dict[str, bytes]:
    """A picture's members with its partner's reinforcements in place of its own."""
    replaced = {"npz", "pth.gz", *({"paug.json", "syn.json"} & other.keys())}
    return {**other, **{name: content for name, content in own.items() if name not in replaced}}


def _described(layout: Layout) -> str:
    return f"version {layout.version}, {layout.width} wide"


def _json(members: Mapping[str, bytes], extension: str, where: str) -> dict[str, object]:
    if extension not in members:
        raise BadSampleError("missing_field", f"{where}: no {extension}")
    try:
        content = json.loads(members[extension])
    except (ValueError, RecursionError) as error:
        raise BadSampleError("json", f"{where}: its {extension} is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise BadSampleError("json", f"{where}: its {extension} is no mapping")
    return content


def _unpacked(value: object) -> object:
    """A list that may be stored as the JSON of a list; None where it is neither."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None


def _draw(number: int) -> int:
    return int(torch.randint(number, ()))


def _row(rows: Tensor, index: int, where: str) -> Tensor:
    row = rows[index].float()
    if not bool(row.isfinite().all()):
        raise BadSampleError("embeddings", f"{where}: an embedding is not finite")
    return row
