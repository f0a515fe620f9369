"""Zero-shot classification: images against the text features of class names in templates."""

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.image_grid import captioned_grid
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Picture, Result
from corekit.evaluation.features import check_batch_size, check_field, encode, encode_text
from corekit.evaluation.metrics.accuracy import count_hits, figures
from corekit.evaluation.metrics.ties import best_classes
from corekit.registry import register

EXAMPLES = 8
Example = tuple[Tensor, int, Tensor]  # image, label, best classes


@register("evaluator", "zero_shot")
class ZeroShot:
    """Top-1, top-5 and mean per-class recall of a model with ``encode_image`` and ``encode_text``.

    A class's weight is the mean over templates of the normalised text features, normalised again
    (Radford et al. 2021, section 3.1.4).

    Args:
        dataset: with a ``label`` field, and class names and templates unless they are given here.
        class_names: what fills the templates, in the order of the labels.
        templates: sentences with one ``{}`` each.
        batch_size: images of one forward pass.

    Raises:
        CorekitError: the dataset has no labels, or there are no class names.
    """

    def __init__(self, dataset: Source, class_names: list[str] | None = None,
                 templates: list[str] | None = None, batch_size: int = 256) -> None:
        info = dataset_info(dataset)
        self.dataset, self.batch_size = dataset, batch_size
        self.class_names = class_names or list(info.class_names)
        own_templates = templates or list(info.templates) or ["a photo of a {}."]
        # CLIP_benchmark writes {c} where the class name goes
        self.templates = [template.replace("{c}", "{}") for template in own_templates
                          if template.strip()]
        check_batch_size("zero_shot", batch_size)
        check_field("zero_shot", "dataset", dataset, "label")
        if not self.class_names:
            raise CorekitError("evaluator 'zero_shot' needs class names: a classnames.txt beside "
                               "the shards, or class_names in the recipe")
        if "" in self.class_names:
            number = self.class_names.index("")
            raise CorekitError(f"evaluator 'zero_shot': class {number} has no name, as an empty "
                               "line in classnames.txt gives it; names of later classes may belong "
                               "one line up")
        for template in self.templates:
            if "{}" not in template or set("{}") & set(template.replace("{}", "")):
                raise CorekitError(f"the template '{template}' of evaluator 'zero_shot' must hold "
                                   "{} or {c} for the class name, and no other braces")

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every sample counts once, whatever the number of ranks."""
        weights = self._class_weights(eval_model)  # [K, D]
        hits = torch.zeros(3, len(self.class_names), dtype=torch.int64, device=eval_model.device)
        examples: list[Example] = []
        for chunk, features in encode(eval_model, self.dataset, self.batch_size):
            wrong = [label for label in chunk["label"] if not 0 <= label < len(self.class_names)]
            if wrong:
                raise CorekitError(f"a label is {max(wrong)}, but there are "
                                   f"{len(self.class_names)} class names")
            scores = F.normalize(features, dim=-1) @ weights.T  # [n, K]
            best = best_classes(scores)
            label = torch.tensor(chunk["label"], dtype=torch.int64, device=eval_model.device)
            hits += count_hits(best, label, len(self.class_names))
            if len(examples) < EXAMPLES:
                of_chunk = zip(chunk["image"], chunk["label"], best.cpu(), strict=True)
                examples += list(of_chunk)[:EXAMPLES - len(examples)]
        hits = eval_model.sum(hits)
        return Result.on(self.dataset, int(hits[0].sum()), figures(hits),
                         {"examples": self._picture(examples)})

    def _class_weights(self, eval_model: EvalModel) -> Tensor:
        sentences = [template.replace("{}", name) for name in self.class_names
                     for template in self.templates]
        features = [encode_text(eval_model, sentences[first:first + self.batch_size])
                    for first in range(0, len(sentences), self.batch_size)]
        by_class = torch.cat(features).view(len(self.class_names), len(self.templates), -1)
        return F.normalize(by_class.mean(1), dim=-1)

    def _picture(self, examples: list[Example]) -> Picture:
        images, captions = [], []
        for image, label, best in examples:
            images.append(image.permute(1, 2, 0).cpu().numpy())
            guesses = [("* " if guess == label else "  ") + self.class_names[guess]
                       for guess in best.tolist()]
            captions.append("\n".join([f"{self.class_names[label]}:"[:28], *guesses]))
        return captioned_grid(images, captions, lines=6)
