"""Captioners, which write synthetic captions for pictures."""

from hashlib import sha256
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from corekit.checkpoint.foreign.open_clip_models import OpenClip
from corekit.data.shards.indexing import build_index
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import declare_kind, register
from corekit.seeds import derive_seed

from .teachers import FolderTeacher, Teacher

declare_kind("captioner", "writes captions for pictures")

START, END, PAD = 49_406, 49_407, 0  # tokens of CLIP's vocabulary
SHORTEST = 5  # tokens, the start among them, before a caption may end: open_clip's


class Captioner(Protocol):
    """The contract of kind ``captioner``; constructors read nothing and load nothing."""

    def identity(self, count: int) -> dict[str, object]:
        """What decides the captions, as JSON; a CorekitError where it cannot write ``count``."""

    def captions(self, images: list[Image.Image], uids: list[str], count: int, seed: int,
                 batch_size: int, device: torch.device) -> list[list[str]]:
        """``count`` captions of each RGB picture, drawn by (seed, uid, number of the caption)."""


@register("captioner", "coca")
class CoCa:
    """A CoCa of open_clip (Yu et al., 2022) that writes captions; DataCompDR's are from one.

    Tokens are drawn from the most probable with ``top_p`` together, up to the first full stop.

    Args:
        model: open_clip's name for it, such as ``coca_ViT-L-14``, or ``local-dir:FOLDER``.
        pretrained: open_clip's tag of published weights, or a file of weights.
        preprocess: size, interpolation, mean and std, where nothing else tells them, as for a file.
        top_p: probability that the tokens drawn from have together.
        length: most tokens of a caption, start and end among them.
    """

    def __init__(self, model: str, pretrained: str | None = None,
                 preprocess: dict[str, object] | None = None, top_p: float = 0.9,
                 length: int = 30) -> None:
        if not 0 < top_p <= 1 or length <= SHORTEST:
            raise CorekitError("captioner 'coca': top_p must be above 0 and at most 1, and length "
                               f"above {SHORTEST}, not {top_p} and {length}")
        self.source, self.preprocess = OpenClip(model, pretrained, hub=True), preprocess
        self.top_p, self.length = top_p, length
        self._loaded: tuple[nn.Module, Preprocess] | None = None

    def identity(self, count: int) -> dict[str, object]:
        """The hash of the weights."""
        self.source.wanted(self.preprocess)  # raises where it is wrong or missing
        return self.source.identity()

    @torch.inference_mode()
    def captions(self, images: list[Image.Image], uids: list[str], count: int, seed: int,
                 batch_size: int, device: torch.device) -> list[list[str]]:
        """Empty where nothing stands before the first full stop."""
        model, preprocess = self._load(device)
        decode = ClipTokenizer().decode
        captions = []
        pictures_a_batch = max(1, batch_size // count)
        for first in range(0, len(images), pictures_a_batch):
            part = slice(first, first + pictures_a_batch)
            seeds = [derive_seed(seed, "caption", uid, number)
                     for uid in uids[part] for number in range(count)]
            rows = self._write(model, _pixels(images[part], preprocess, device), count, seeds)
            texts = [decode(row).split(".")[0].strip() for row in rows.tolist()]
            captions += [texts[start:start + count] for start in range(0, len(texts), count)]
        return captions

    def _load(self, device: torch.device) -> tuple[nn.Module, Preprocess]:
        if self._loaded is None:
            model = self.source.load()
            if not hasattr(model, "text_decoder"):
                raise CorekitError(f"captioner 'coca': open_clip's {self.source.model} is no CoCa: "
                                   "it writes no captions")
            self._loaded = model.to(device), self.source.wanted(self.preprocess)
        return self._loaded

    def _write(self, model: nn.Module, pixels: Tensor, count: int, seeds: list[int]) -> Tensor:
        """int64 [B * count, length or fewer]: tokens, drawn with uniform numbers of each row's own.

        open_clip's ``generate`` draws for a whole batch from one generator.
        """
        outputs = model(pixels)
        latent, tokens = (outputs[name].repeat_interleave(count, 0)
                          for name in ("image_features", "image_embs"))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        uniform = torch.stack([torch.rand(self.length, generator=generator, dtype=torch.float64)
                               for generator in generators]).to(pixels.device)
        rows = torch.full((len(seeds), 1), START, device=pixels.device)
        for length in range(1, self.length):
            ended = (rows[:, -1] == END) | (rows[:, -1] == PAD)
            if bool(ended.all()):
                break
            logits = model(None, rows, image_latent=latent, image_embs=tokens,
                           output_labels=False)["logits"][:, -1].double()
            if length < SHORTEST:
                logits[:, END] = -torch.inf
            token = _draw(nucleus(logits.softmax(1), self.top_p), uniform[:, length])
            if length + 1 == self.length:
                token = torch.full_like(token, END)
            rows = torch.cat([rows, token.masked_fill(ended, PAD)[:, None]], 1)
        return rows


@register("captioner", "nearest_captions")
class NearestCaptions:
    """Draws captions from a list by how well they fit the picture.

    It serves where no model writes captions, as for drawn scenes. Captions of a picture differ.
    They come from softmax(scale * similarity), of which the ones that together have ``top_p`` are
    drawn from, or as many as are asked for where that is more.

    Args:
        path: of a run or model folder with features of pictures and captions.
        candidates: a text file, a caption a line; or a folder of shards with captions (``.txt``).
        scale: what similarities are multiplied by; None: the model's own logit scale.
        top_p: probability that the captions drawn from have together.
    """

    def __init__(self, path: str, candidates: str, scale: float | None = None,
                 top_p: float = 0.9) -> None:
        if not 0 < top_p <= 1 or (scale is not None and scale <= 0):
            raise CorekitError("captioner 'nearest_captions': top_p must be above 0 and at most 1, "
                               f"and scale above 0, not {top_p} and {scale}")
        self.folder, self.candidates = FolderTeacher(path), Path(candidates)
        self.scale, self.top_p = scale, top_p
        self._loaded: tuple[Teacher, Tensor, float] | None = None

    def identity(self, count: int) -> dict[str, object]:
        """Hashes of the model and of the list."""
        lines = self._lines()
        if len(lines) < count:
            raise CorekitError(f"captioner 'nearest_captions': {self.candidates} holds "
                               f"{len(lines)} different captions, and {count} are to be drawn for "
                               "each picture")
        digest = sha256("\n".join(lines).encode()).hexdigest()
        return {**self.folder.identity(), "candidates": digest}

    @torch.inference_mode()
    def captions(self, images: list[Image.Image], uids: list[str], count: int, seed: int,
                 batch_size: int, device: torch.device) -> list[list[str]]:
        """All of one picture are different; which come first is drawn too."""
        teacher, features, scale = self._load(batch_size, device)
        lines, captions = self._lines(), []
        for first in range(0, len(images), batch_size):
            part = slice(first, first + batch_size)
            image_features = teacher.images(_pixels(images[part], teacher.preprocess, device))
            similarities = (image_features @ features.T).double().cpu()
            shares = nucleus((scale * similarities).softmax(1), self.top_p, count)
            for share, uid in zip(shares, uids[part]):
                generator = torch.Generator().manual_seed(derive_seed(seed, "caption", uid))
                rows = torch.multinomial(share, count, generator=generator).tolist()
                captions.append([lines[row] for row in rows])
        return captions

    def _load(self, batch_size: int, device: torch.device) -> tuple[Teacher, Tensor, float]:
        if self._loaded is None:
            teacher, lines = self.folder.load().to(device), self._lines()
            scale = self.scale
            if scale is None:
                if not isinstance(getattr(teacher.model, "logit_scale", None), Tensor):
                    raise CorekitError(f"captioner 'nearest_captions': {teacher.name} has no logit "
                                       "scale: give scale")
                scale = float(teacher.model.logit_scale.exp())
            features = [teacher.texts(lines[first:first + batch_size], device)
                        for first in range(0, len(lines), batch_size)]
            self._loaded = teacher, torch.cat(features), scale
        return self._loaded

    def _lines(self) -> list[str]:
        try:
            if self.candidates.is_dir():
                index = build_index(self.candidates)
                lines = [sample.members.get("txt", b"").decode()
                         for shard, size in enumerate(index.samples.tolist())
                         for sample in index.read_samples(shard, 0, size)]
            else:
                lines = self.candidates.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CorekitError(f"captioner 'nearest_captions': candidates={self.candidates} cannot "
                               f"be read: {error}") from None
        return list(dict.fromkeys(filter(None, map(str.strip, lines))))


def _pixels(images: list[Image.Image], preprocess: Preprocess, device: torch.device) -> Tensor:
    """Normalised pictures, float [B, 3, size, size]."""
    crops = torch.stack([preprocess.crop(image) for image in images])
    return preprocess.normalize(crops.to(device))


def nucleus(shares: Tensor, top_p: float, least: int = 1) -> Tensor:
    """Probabilities [n, K], 0 outside the nucleus (Holtzman et al., 2020), not rescaled.

    Args:
        shares: rows that add up to 1.
        top_p: the last one taken is the one that reaches it.
        least: as many are taken even where fewer reach it; none of these is 0.
    """
    ordered, places = shares.sort(stable=True, dim=1, descending=True)
    inside = ordered.cumsum(1) - ordered < top_p
    inside[:, :least] = True
    return torch.zeros_like(shares).scatter_(1, places, ordered.clamp(min=1e-30) * inside)


def _draw(shares: Tensor, uniform: Tensor) -> Tensor:
    """int64 [n]: one of each row [n, K] of shares, by a number in [0, 1) each."""
    sums = shares.cumsum(1)
    columns = torch.searchsorted(sums, uniform[:, None] * sums[:, -1:], right=True)[:, 0]
    return columns.clamp(max=shares.shape[1] - 1)
