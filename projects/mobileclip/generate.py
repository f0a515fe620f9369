"""The job ``reinforce``: image-text shards in, reinforced shards out, in the form of DataCompDR."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor

from corekit.data.datasets.base import BadSampleError
from corekit.data.fields import find_field, find_fields
from corekit.data.jobs.base import Refuse
from corekit.data.shards.members import RawSample, decode_sample, default_fields, split_extensions
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register

from .captioners import Captioner
from .embeddings import encode_embeddings
from .replay import Replay, parse_augmentation
from .stored_augmentations import BINS, StoredEntry, draw_augmentation
from .teachers import FolderTeacher, Teacher, TeacherEntry

GENERATOR = 2  # raise it with every change that makes other bytes
# of DataCompDR's two: the embeddings of synthetic captions stand behind the real one's, in text_emb
LAYOUT = 1
BATCHES = 8  # of pictures processed together: the last one, which is not full, costs little

_STORED = ("random_resized_crop", "rand_augment")
_OURS = ("paug.json", "syn.json", "npz", "pth.gz")
T = TypeVar("T")


@dataclass
class _Sample:
    """A sample to be reinforced: RGB picture, caption, and any synthetic captions so far."""

    raw: RawSample
    key: str
    uid: str
    image: Image.Image
    text: str
    captions: list[str]


@register("job", "reinforce")
class Reinforce:
    """Stores captions, augmentations and teachers' embeddings for training.

    Vasu et al., 2024, section 3.1.

    Of each sample: synthetic captions, parameters of random augmentations, and what every teacher
    makes of the augmented pictures and of all captions. Pictures are cropped and resized as
    RandomResizedCrop does, then changed as RandAugment does; each teacher sees them at its own
    size, normalised its own way, and reads captions with its own tokenizer. Draws depend on (seed,
    uid, number) alone. Embeddings are of unit length, side by side in the teachers' order.

    Writes ``<uid>.paug.json``, ``.syn.json`` and ``.npz`` (fp32, int8) or ``.pth.gz`` (bf16), in
    version 1 of DataCompDR's layout, for the data set ``reinforced``. Samples without picture or
    caption, or that cannot be decoded, are counted and left out.

    Args:
        teachers: paths of runs or model folders, or mappings with the name of a teacher (`corekit
            list teachers`), such as {name: open_clip, model: ViT-L-14, pretrained: openai}.
        captioner: {name: ...} (`corekit list captioners`); None: ``.syn.json`` has captions.
        captions: synthetic captions of a sample.
        augmentations: augmented pictures of a sample.
        image_size: height and width, in pixels, that augmentations are stored for.
        interpolation: of the crop's resizing.
        scale, ratio: RandomResizedCrop's share of the picture, and width / height.
        operations, magnitude: RandAugment's, the magnitude from 0 to 30.
        precision: of stored embeddings.
        keep: write the samples' own members along; else both folders are joined by uid.
        fields: ``image`` and ``text`` -> the extensions that may hold them, separated by ``;``.
        uid: where the source has uids: in the samples' keys, or in their json member.
        synthetic: name of the synthetic captions in ``.syn.json``.
        seed: of all draws.
        batch_size: pictures or captions that a teacher gets at one time.
        device: auto: a GPU where there is one.
        threads: of a process; another number may give other roundings.
    """

    def __init__(self, teachers: list[str | TeacherEntry], captioner: Captioner | None = None,
                 captions: int = 5, augmentations: int = 10, image_size: int = 224,
                 interpolation: Literal["bicubic", "bilinear"] = "bicubic",
                 scale: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (3 / 4, 4 / 3), operations: int = 2,
                 magnitude: int = 9, precision: Literal["fp32", "bf16", "int8"] = "bf16",
                 keep: bool = False, fields: dict[str, str] | None = None,
                 uid: Literal["key", "json"] = "key", synthetic: str = "syn_text", seed: int = 0,
                 batch_size: int = 64, device: str = "auto", threads: int = 1) -> None:
        if not teachers:
            raise CorekitError("job 'reinforce' needs teachers: at least one, as in "
                               "teachers=[runs/my_run]")
        ranges = (("captions", captions, 1, 1000), ("augmentations", augmentations, 1, 1000),
                  ("image_size", image_size, 1, 4096), ("operations", operations, 0, 100),
                  ("magnitude", magnitude, 0, BINS - 1), ("batch_size", batch_size, 1, 10**6),
                  ("threads", threads, 1, 1024))
        for name, value, low, high in ranges:
            if not low <= value <= high:
                raise CorekitError(f"job 'reinforce': {name} must be between {low} and {high}, not "
                                   f"{value}")
        if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise CorekitError("job 'reinforce': scale and ratio must be a smallest and a largest "
                               f"value above 0, scale at most 1, not {list(scale)} and "
                               f"{list(ratio)}")
        if captioner is not None and not hasattr(captioner, "captions"):
            raise CorekitError("job 'reinforce': captioner must be a mapping with a name, as in "
                               f"captioner.name=coca, not {captioner}")
        self.teachers: list[TeacherEntry] = [
            FolderTeacher(teacher) if isinstance(teacher, str) else teacher for teacher in teachers]
        self.captioner, self.captions, self.augmentations = captioner, captions, augmentations
        self.image_size, self.interpolation = image_size, interpolation
        self.scale, self.ratio = scale, ratio
        self.operations, self.magnitude = operations, magnitude
        self.precision, self.keep = precision, keep
        self.extensions = split_extensions(fields or default_fields("image", "text"))
        self.decoders = find_fields(tuple(self.extensions))
        self.uid, self.synthetic, self.seed = uid, synthetic, seed
        self.batch_size, self.threads = batch_size, threads
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(automatic if device == "auto" else device)
        self._loaded: list[Teacher] = []

    def identity(self) -> dict[str, object]:
        """Hashes of the weights of teachers and captioner, and versions of what decides pixels."""
        captioner = self.captioner
        versions = {}
        for package in ("torch", "torchvision", "pillow", "open_clip_torch"):
            with contextlib.suppress(PackageNotFoundError):
                versions[package] = version(package)
        return {"generator": GENERATOR, "layout": LAYOUT,
                "teachers": [teacher.identity() for teacher in self.teachers],
                "captioner": None if captioner is None else captioner.identity(self.captions),
                "versions": versions}

    def process(self, samples: Iterator[RawSample],
                refuse: Refuse) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """The samples of the new shard, in the order of the old one."""
        if not self._loaded:
            self._loaded = [teacher.load().to(self.device) for teacher in self.teachers]
        group = max(1, BATCHES * self.batch_size // self.augmentations)
        for chunk in _chunks(self._readable(samples, refuse), group):
            with _threads(self.threads), torch.inference_mode():
                reinforced = self._reinforce(chunk, refuse)
            yield from reinforced

    def _readable(self, samples: Iterator[RawSample], refuse: Refuse) -> Iterator[_Sample]:
        for raw in samples:
            try:
                yield self._read(raw)
            except BadSampleError as error:
                refuse(error)

    def _read(self, raw: RawSample) -> _Sample:
        where = f"{raw.where}: {raw.key}"
        sample = decode_sample(raw, self.extensions, self.decoders)
        image: Image.Image = sample["image"]
        image.load()
        key = raw.key if self.uid == "key" else _uid(raw, where)
        uid = key.rpartition("/")[2]
        captions = [] if self.captioner is not None else self._captions_of(raw, where)
        return _Sample(raw, key, uid, image.convert("RGB"), sample["text"], captions)

    def _captions_of(self, raw: RawSample, where: str) -> list[str]:
        """The sample's own synthetic captions, where no captioner makes them."""
        if "syn.json" not in raw.members:
            raise BadSampleError("missing_field", f"{where}: no syn.json, and the job has no "
                                                  "captioner")
        try:
            captions = json.loads(raw.members["syn.json"])[self.synthetic]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadSampleError("synthetic_text", f"{where}: no {self.synthetic} in its syn.json "
                                                   f"({error})") from None
        if not isinstance(captions, list) or len(captions) < self.captions:
            raise BadSampleError("synthetic_text", f"{where}: fewer than {self.captions} captions "
                                                   f"of {self.synthetic}")
        caption = find_field("synthetic_text")
        return [str(caption.decode(str(text).encode("utf-8", "replace"), where))
                for text in captions[:self.captions]]

    def _reinforce(self, samples: list[_Sample],
                   refuse: Refuse) -> list[tuple[str, Mapping[str, bytes]]]:
        if self.captioner is not None:
            images, uids = zip(*((sample.image, sample.uid) for sample in samples))
            captions_of_samples = self.captioner.captions(list(images), list(uids), self.captions,
                                                          self.seed, self.batch_size, self.device)
            for sample, captions in zip(samples, captions_of_samples):
                sample.captions = captions
        augmentations = [[draw_augmentation(sample.image, self.seed, sample.uid, number,
                                            self.image_size, self.scale, self.ratio,
                                            self.operations, self.magnitude)
                          for number in range(self.augmentations)] for sample in samples]
        texts = [text for sample in samples for text in (sample.text, *sample.captions)]
        of_images = self._image_rows(samples, augmentations)
        of_texts = [torch.cat([teacher.texts(batch, self.device).cpu()
                               for batch in _chunks(texts, self.batch_size)])
                    for teacher in self._loaded]
        for teacher, image_rows, text_rows in zip(self._loaded, of_images, of_texts):
            if image_rows.shape[1] != text_rows.shape[1]:
                raise CorekitError(f"{teacher.name} gives pictures {image_rows.shape[1]} and "
                                   f"captions {text_rows.shape[1]} numbers: it does not compare "
                                   "them, and cannot teach")
        reinforced: list[tuple[str, Mapping[str, bytes]]] = []
        by_sample = zip(samples, augmentations,
                        torch.split(torch.cat(of_images, 1), self.augmentations),
                        torch.split(torch.cat(of_texts, 1), 1 + self.captions))
        for sample, entries, image_rows, text_rows in by_sample:
            where = f"{sample.raw.where}: {sample.raw.key}"
            if not all(text.strip() for text in sample.captions):
                refuse(BadSampleError("empty_text", f"{where}: a caption that was made for it is "
                                                    "empty"))
            elif not bool(image_rows.isfinite().all() and text_rows.isfinite().all()):
                refuse(BadSampleError("embeddings", f"{where}: an embedding is not finite"))
            else:
                members = self._members(sample, entries, image_rows, text_rows)
                reinforced.append((sample.key, members))
        return reinforced

    def _image_rows(self, samples: list[_Sample],
                    augmentations: list[list[StoredEntry]]) -> list[Tensor]:
        """float32 [samples * augmentations, D] of each teacher; pictures of one size are shared."""
        rows_of_teachers: list[list[Tensor]] = [[] for _ in self._loaded]
        for size in sorted({teacher.preprocess.size for teacher in self._loaded}):
            replay = Replay(Preprocess(size, self.interpolation, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
                            self.image_size)
            pictures = (replay.replay(sample.image, parse_augmentation(entry, _STORED, sample.key))
                        for sample, entries in zip(samples, augmentations) for entry in entries)
            for batch in _chunks(pictures, self.batch_size):
                pixels = torch.stack(batch).to(self.device)
                for teacher, rows in zip(self._loaded, rows_of_teachers):
                    if teacher.preprocess.size == size:
                        rows.append(teacher.images(teacher.preprocess.normalize(pixels)).cpu())
        return [torch.cat(rows) for rows in rows_of_teachers]

    def _members(self, sample: _Sample, entries: list[StoredEntry], images: Tensor,
                 texts: Tensor) -> dict[str, bytes]:
        rows = {"image_emb": images, "text_emb": texts}
        extension, embeddings = encode_embeddings(rows, self.precision)
        own = {name: content for name, content in sample.raw.members.items()
               if name not in _OURS} if self.keep else {}
        return {**own, "paug.json": json.dumps({"param_aug": entries}).encode(),
                "syn.json": json.dumps({self.synthetic: sample.captions}).encode(),
                extension: embeddings}


def _uid(raw: RawSample, where: str) -> str:
    try:
        uid = json.loads(raw.members["json"])["uid"]
    except (ValueError, KeyError, TypeError, RecursionError):
        uid = None
    if not isinstance(uid, str) or not uid or "." in uid or "/" in uid or not uid.isprintable():
        raise BadSampleError("uid", f"{where}: no uid in its json that could be the name of a file")
    return uid


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


