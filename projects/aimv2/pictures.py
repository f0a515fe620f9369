"""Pictures of the patches that a pre-trained model predicts, beside the true ones."""

import inspect

import torch
from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.image_grid import captioned_grid
from corekit.data.loading.eval_loader import Chunk, chunks
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Picture, Result
from corekit.linear_output import dense
from corekit.registry import register

from .blocks import PATCH_SIZE
from .losses import patchify
from .prefix import prefix_lengths

UNSEEN = 127  # the grey of patches that the encoder was not shown
LEAVE_OUT = "type '~evaluators.LABEL', with its label, to go without it"


@register("evaluator", "patch_pictures")
class PatchPictures:
    """Pictures, their prefix, and the patches after it as the model predicts them.

    Each patch is predicted from all before it. It has no brightness and contrast of its own where
    the model was trained on normalised patches: it is shown with those of the true one.
    ``explained_variance`` is 1 - |predicted - true|^2 / |true - its mean|^2 over the predicted
    patches, all of them with mean 0 and variance 1 if ``normalize``: 0 for plain grey patches.

    Args:
        dataset: where the pictures come from; with ``text`` for a model that predicts words too.
        samples: how many, from the first one on.
        prefix: share of a picture's patches that are the prefix.
        normalize: False for a model that predicts the pixels as they are.
    """

    def __init__(self, dataset: Source, samples: int = 8, prefix: float = 0.25,
                 normalize: bool = True) -> None:
        if samples < 1 or not 0 <= prefix < 1:
            raise CorekitError("evaluator 'patch_pictures' needs samples of 1 or more and a prefix "
                               "of 0 or more and below 1")
        self.dataset, self.samples = dataset, samples
        self.prefix, self.normalize = prefix, normalize

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Predict and draw; every rank does the same."""
        if "uniform" not in inspect.signature(eval_model.model.forward).parameters:
            raise CorekitError("evaluator 'patch_pictures' needs a model that is pre-trained to "
                               "predict patches, as aimv2_pretrain is, and this is a "
                               f"{type(eval_model.model).__name__}: {LEAVE_OUT}")
        chunk = next(chunks(self.dataset, eval_model.preprocess, self.samples), None)
        if chunk is None or not len(chunk["image"]):
            raise CorekitError("the data set of evaluator 'patch_pictures' holds no samples that "
                               "can be read; set data.root, or its own root")
        image = eval_model.preprocess.normalize(chunk["image"].to(eval_model.device))
        predicted, length = self._predict(eval_model, image, chunk)
        true = patchify(image)
        variance, mean = torch.var_mean(true, -1, keepdim=True)
        scale = (variance + 1e-6).sqrt() if self.normalize else torch.ones_like(variance)
        shift = mean if self.normalize else torch.zeros_like(mean)
        predicted = predicted * scale[:, 1:] + shift[:, 1:]
        wrong, varied = (((values - true[:, 1:]) / scale[:, 1:])[:, length - 1:].square().sum()
                         for values in (predicted, mean[:, 1:]))
        explained = 1 - float(wrong / varied.clamp(min=1e-6))  # plain pictures vary nowhere
        titles = [str(title) for title in chunk["text" if "text" in chunk else "key"]]
        grid = _grid(true, predicted, length, titles, image.shape[3], eval_model.preprocess)
        return Result({"explained_variance": explained}, dataset_info(self.dataset).name,
                      len(image), {"predicted": grid})

    def _predict(self, eval_model: EvalModel, image: Tensor, chunk: Chunk) -> tuple[Tensor, int]:
        """The predicted patches [B, N - 1, 588], and how many patches the prefix has."""
        uniform = torch.full((len(image),), self.prefix, device=eval_model.device)
        inputs = {"image": image, "uniform": uniform}
        if eval_model.tokenize is not None and "text" in chunk:
            inputs["text"] = eval_model.tokenize(chunk["text"]).to(eval_model.device)
        with eval_model.autocast():
            outputs = eval_model.model(**inputs)
        if "patch_predictions" not in outputs:
            raise CorekitError("evaluator 'patch_pictures' needs a model that gives "
                               "patch_predictions, and this one gives "
                               f"{', '.join(outputs)}: {LEAVE_OUT}")
        predicted = dense(outputs["patch_predictions"]).float()
        return predicted, int(prefix_lengths(uniform[:1], predicted.shape[1] + 1))


def _grid(true: Tensor, predicted: Tensor, length: int, titles: list[str], width: int,
          preprocess: Preprocess) -> Picture:
    """A row for each sample: the picture, its prefix, and the predicted patches after it."""
    versions = [true, torch.full_like(true, torch.nan), torch.cat([true[:, :1], predicted], 1)]
    for patches in versions[1:]:
        patches[:, :length] = true[:, :length]
    columns = [_pixels(patches, width, preprocess) for patches in versions]
    pictures = [picture for row in zip(*columns) for picture in row]
    prefix = f"the first {length} of {true.shape[1]} patches"
    captions = [caption for title in titles
                for caption in (title, prefix, "the others as predicted")]
    return captioned_grid(pictures, captions, columns=6, lines=3)


def _pixels(patches: Tensor, width: int, preprocess: Preprocess) -> list[Picture]:
    """uint8 [H, W, 3] of each row of normalised patches [B, N, 14 · 14 · 3]; NaN is grey."""
    columns = width // PATCH_SIZE
    squares = patches.view(len(patches), -1, columns, PATCH_SIZE, PATCH_SIZE, 3)
    pixels = squares.permute(0, 1, 3, 2, 4, 5).flatten(1, 2).flatten(2, 3).cpu()
    bright = (pixels * torch.tensor(preprocess.std) + torch.tensor(preprocess.mean)) * 255
    return list(bright.nan_to_num(UNSEEN).round().clamp(0, 255).to(torch.uint8).numpy())
