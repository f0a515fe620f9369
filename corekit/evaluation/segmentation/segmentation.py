"""Segmentation: mean intersection over union of a model's classes of pixels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.drawing import draw_classes
from corekit.data.image_grid import Picture
from corekit.data.loading.eval_loader import Chunk
from corekit.data.loading.whole_picture import WholePicture
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.album import Album
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import check_batch_size, check_field
from corekit.evaluation.metrics.confusion import count_pixels, figures, intersection_over_union
from corekit.evaluation.segmentation.logits import picture_logits
from corekit.evaluation.whole_pictures import (
    model_method,
    same_size_groups,
    selected,
    whole_pictures,
)
from corekit.registry import register

LOOKS = 8  # pictures to look at
PIXELS = 2**18  # of the logits that are held at a time, where one picture has not more


@register("evaluator", "segmentation")
class Segmentation:
    """``mean_iou`` and ``pixel_accuracy``, at the own size of every picture.

    One matrix counts the pixels of the whole data set; those labelled 255 count nowhere. Classes
    that are neither labelled nor predicted anywhere are left out of the mean. The model's logits
    are interpolated once, to the picture's own size.

    Args:
        dataset: with a ``segmentation`` field, uint8 [H, W] of the picture's size.
        preprocess: gives the interpolation, and the size where ``size`` is not set.
        size: pixels of a side of what the model sees.
        keep_aspect: the longest side gets ``size`` pixels, and the square is padded. False: the
            picture is squeezed into the square, as CoreNet does.
        longest: the shortest side gets ``size`` instead, and the longest at most so many pixels.
        batch_size: images that are read at a time; those of one size go through the model together.

    Raises:
        CorekitError: the data set has no such field.
    """

    def __init__(self, dataset: Source, preprocess: Preprocess, size: int | None = None,
                 keep_aspect: bool = True, longest: int | None = None,
                 batch_size: int = 8) -> None:
        check_batch_size("segmentation", batch_size)
        check_field("segmentation", "dataset", dataset, "segmentation")
        self.dataset, self.batch_size = dataset, batch_size
        info = dataset_info(dataset)
        self.names = info.segmentation_names or info.class_names
        self.resize = WholePicture(size or preprocess.size, preprocess.interpolation, keep_aspect,
                                   longest)

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every pixel counts once, whatever the number of ranks."""
        segment = model_method(eval_model, "segmentation", "segment")
        counts = torch.zeros(0, 0, dtype=torch.int64, device=eval_model.device)
        album = Album(LOOKS if eval_model.rank == 0 else 0)
        samples = torch.zeros(2, dtype=torch.int64, device=eval_model.device)
        for chunk, images in whole_pictures(eval_model, self.dataset, self.batch_size, self.resize):
            samples += torch.tensor([len(chunk["position"]), chunk["left_out"]],
                                    device=samples.device)
            for places in same_size_groups(eval_model, chunk["size"], PIXELS):
                own = chunk["size"][places[0]] if places else (1, 1)
                with eval_model.autocast():
                    logits = picture_logits(segment, selected(images, places or [0]), self.resize,
                                            own)
                if not counts.numel():
                    counts = counts.new_zeros(logits.shape[1], logits.shape[1])
                prediction = logits[:len(places)].argmax(1)
                for guess, place in zip(prediction, places):
                    counts += self._counted(guess, chunk, place, len(counts))
                    if not album.is_full:
                        self._show(album, chunk, place, guess)
        return self._result(eval_model.sum(counts), eval_model.sum(samples).tolist(),
                            album.pictures())

    def _counted(self, prediction: Tensor, chunk: Chunk, place: int, classes: int) -> Tensor:
        label = torch.as_tensor(chunk["segmentation"][place], device=prediction.device)
        if label.shape != prediction.shape:
            raise CorekitError(f"{chunk['key'][place]}: its segmentation has {list(label.shape)} "
                               f"pixels, but the picture {list(prediction.shape)}")
        return count_pixels(prediction, label, classes)

    def _show(self, album: Album, chunk: Chunk, place: int, prediction: Tensor) -> None:
        """Truth and prediction on the picture, in its own pixels."""
        picture = self.resize.own_picture(chunk["image"][place], chunk["size"][place])
        label = torch.as_tensor(chunk["segmentation"][place]).numpy()
        album.add(chunk["key"][place], *(
            draw_classes(picture, classes, self.names)
            for classes in (label, prediction.cpu().numpy())))

    def _result(self, counts: Tensor, samples: Sequence[int],
                pictures: dict[str, Picture]) -> Result:
        names = self.names
        if names and len(names) != len(counts):
            raise CorekitError(f"evaluator 'segmentation': its dataset has {len(names)} classes, "
                               f"but the model has {len(counts)}")
        ious = intersection_over_union(counts.cpu()).tolist()
        by_class = {names[number] if names else str(number): iou
                    for number, iou in enumerate(ious) if not math.isnan(iou)}
        return Result.on(self.dataset, samples[0], figures(counts.cpu()), pictures,
                         left_out=samples[1], by_class=by_class)
