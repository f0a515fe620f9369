"""Zero-shot classification: images against the text features of class names in templates."""

from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.image_grid import captioned_grid
from corekit.data.loading.eval_loader import Chunk
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Picture, Result
from corekit.evaluation.classification.predictions import zero_shot_predictions
from corekit.evaluation.features import check_batch_size, check_field
from corekit.evaluation.metrics.classification import classification_figures
from corekit.evaluation.text_features import TextFeatures
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

    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every sample counts once, whatever the number of ranks."""
        examples: list[Example] = []

        def look(chunk: Chunk, best: Tensor) -> None:
            # chunks have no images where features were kept
            of_chunk = zip(chunk["image"], chunk["label"], best.cpu())
            examples.extend(list(of_chunk)[:EXAMPLES - len(examples)])

        predictions = zero_shot_predictions(eval_model, self.dataset, self.class_names,
                                            self.templates, TextFeatures(eval_model),
                                            self.batch_size, look)
        figures = classification_figures(predictions)
        values = {name: figures[name].value for name in ("top1", "top5", "mean_per_class_recall")}
        metrics = {name: value for name, value in values.items() if value is not None}
        pictures = {"examples": self._picture(examples)} if examples else {}
        return Result.on(self.dataset, len(predictions["label"]), metrics, pictures)

    def _picture(self, examples: list[Example]) -> Picture:
        images, captions = [], []
        for image, label, best in examples:
            images.append(image.permute(1, 2, 0).cpu().numpy())
            guesses = [("* " if guess == label else "  ") + self.class_names[guess]
                       for guess in best.tolist()]
            captions.append("\n".join([f"{self.class_names[label]}:"[:28], *guesses]))
        return captioned_grid(images, captions, lines=6)
