"""Zero-shot classification: images against the text features of class names in templates."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.data.chunks import chunks
from corekit.data.pictures import captioned_grid
from corekit.data.source import Source
from corekit.errors import CorekitError
from corekit.evaluation.base import Result, Subject
from corekit.registry import register

EXAMPLES = 8


@register("evaluator", "zero_shot")
class ZeroShot:
    """Top-1, top-5 and mean per-class recall of a model with ``encode_image`` and ``encode_text``.

    A class's weight is the mean over templates of the normalised text features, normalised again (Radford et al. 2021,
    section 3.1.4).

    Args:
        dataset: with a ``label`` field, and class names and templates unless they are given here.
        class_names: what fills the templates, in the order of the labels.
        templates: sentences with one ``{}`` each.
        batch_size: images of one forward pass.

    Raises:
        CorekitError: the dataset has no labels, or nobody gives class names.
    """

    def __init__(self, dataset: Source, class_names: list[str] | None = None, templates: list[str] | None = None,
                 batch_size: int = 256) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.class_names = class_names or list(getattr(dataset, "class_names", []))
        self.templates = templates or list(getattr(dataset, "templates", [])) or ["a photo of a {}."]
        # CLIP_benchmark writes {c} where the class name goes
        self.templates = [template.replace("{c}", "{}") for template in self.templates]
        if "label" not in dataset.fields:
            raise CorekitError("evaluator 'zero_shot' needs a data set with a `label` field; for shards, set "
                               "dataset.fields to {image: 'jpg;png', label: cls}")
        if not self.class_names:
            raise CorekitError("evaluator 'zero_shot' needs class names: a classnames.txt beside the shards, or "
                               "class_names in the recipe")
        if not all(template.count("{}") == 1 for template in self.templates):
            raise CorekitError("every template of evaluator 'zero_shot' needs one {} for the class name")

    @torch.no_grad()
    def __call__(self, subject: Subject) -> Result:
        """Evaluate; every sample counts once, whatever the number of ranks."""
        if subject.tokenize is None or not hasattr(subject.model, "encode_text"):
            raise CorekitError("zero-shot evaluation needs a model with a text tower, and data.tokenizer in its recipe")
        weights = self._class_weights(subject, subject.tokenize)  # [K, D]
        seen = torch.zeros(3, len(self.class_names), dtype=torch.int64, device=subject.device)
        examples: list[tuple[Tensor, int, Tensor]] = []
        for chunk in chunks(self.dataset, subject.preprocess, self.batch_size, subject.rank, subject.world,
                            subject.workers):
            if "label" not in chunk:
                continue  # nothing in it could be decoded
            label = torch.tensor(chunk["label"], device=subject.device)
            if int(label.max()) >= len(self.class_names) or int(label.min()) < 0:
                raise CorekitError(f"a label is {int(label.max())}, but there are {len(self.class_names)} class names")
            with subject.autocast():
                features = subject.model.encode_image(  # type: ignore[operator]
                    subject.preprocess.normalize(chunk["image"].to(subject.device)))
            scores = F.normalize(features.float(), dim=-1) @ weights.T  # [n, K]
            best = scores.topk(min(5, len(self.class_names))).indices
            hits = torch.stack([torch.ones_like(label), best[:, 0] == label, (best == label[:, None]).any(1)])
            seen.index_add_(1, label, hits.to(torch.int64))
            if len(examples) < EXAMPLES:
                examples += list(zip(chunk["image"], chunk["label"], best.cpu(), strict=True))[:EXAMPLES - len(examples)]
        seen = subject.sum(seen).cpu()
        count, top1, top5 = seen
        present = count > 0
        total = int(count.sum())
        if not total:
            raise CorekitError("the zero-shot data set holds no sample that can be read")
        metrics = {"top1": int(top1.sum()) / total, "top5": int(top5.sum()) / total,
                   "mean_per_class_recall": float((top1[present] / count[present]).double().mean())}
        return Result(metrics, type(self.dataset).__name__.lower(), total, {"examples": self._picture(examples)})

    def _class_weights(self, subject: Subject, tokenize: "Sequence[str] | object") -> Tensor:
        sentences = [template.format(name) for name in self.class_names for template in self.templates]
        features = []
        for first in range(0, len(sentences), self.batch_size):
            text = subject.tokenize(sentences[first:first + self.batch_size]).to(subject.device)  # type: ignore[misc]
            with subject.autocast():
                features.append(F.normalize(subject.model.encode_text(text).float(), dim=-1))  # type: ignore[operator]
        by_class = torch.cat(features).view(len(self.class_names), len(self.templates), -1)
        return F.normalize(by_class.mean(1), dim=-1)

    def _picture(self, examples: list[tuple[Tensor, int, Tensor]]) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        images = [image.permute(1, 2, 0).cpu().numpy() for image, _, _ in examples]
        captions = ["\n".join([f"{self.class_names[label]}:"[:28],
                               *(("* " if guess == label else "  ") + self.class_names[guess] for guess in best.tolist())])
                    for _, label, best in examples]
        return captioned_grid(images, captions, lines=6)
