"""Models run on whole pictures, each as large as it is."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from corekit.data.datasets.base import Source
from corekit.data.loading.eval_loader import Chunk, chunks
from corekit.data.loading.whole_picture import Size, WholePicture
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.features import everywhere

Images = Tensor | list[Tensor]  # float [B, 3, H, W], or a list of [3, H, W] where sizes differ


def model_method(eval_model: EvalModel, evaluator: str, name: str) -> Callable[..., object]:
    """A method that an evaluator cannot do without; or a CorekitError."""
    method = eval_model.method(name)
    if method is None:
        raise CorekitError(f"evaluator '{evaluator}' needs a model with a method `{name}`, which "
                           f"{type(eval_model.model).__name__} has not")
    return method


def whole_pictures(eval_model: EvalModel, source: Source, batch_size: int,
                   resize: WholePicture) -> Iterator[tuple[Chunk, Images]]:
    """This rank's chunks of a data set, each with its images normalised and on the device.

    All ranks get equally many, as sharded models need it: one blank image where a chunk has none.

    Raises:
        CorekitError: the data set is empty.
    """
    if not source.shard_sizes.sum():
        raise CorekitError("the data set of an evaluator holds no samples; set data.root, or its "
                           "own root")
    for chunk in chunks(source, eval_model.preprocess, batch_size, eval_model.rank,
                        eval_model.world, eval_model.workers, resize):
        chunk["size"] = [(height, width) for height, width in chunk["size"]]
        images = chunk["image"]
        if not len(images):
            images = torch.zeros(1, *images.shape[1:], dtype=torch.uint8)
        yield chunk, normalized(eval_model, images)


def normalized(eval_model: EvalModel, images: Images) -> Images:
    """Images as the model takes them, of uint8 ones."""
    if isinstance(images, Tensor):
        return eval_model.preprocess.normalize(images.to(eval_model.device))
    return [eval_model.preprocess.normalize(image[None].to(eval_model.device))[0]
            for image in images]


def selected(images: Images, places: Sequence[int]) -> Tensor:
    """Some images of one shape, as one tensor."""
    return torch.stack([images[place] for place in places])


def same_size_groups(eval_model: EvalModel, sizes: Sequence[Size],
                     pixels: int) -> list[list[int]]:
    """Places of pictures of one size, at most so many pixels together or one picture.

    Empty groups are added until all ranks have equally many, as sharded models need it.
    """
    groups: list[list[int]] = []
    for size in dict.fromkeys(sizes):
        places = [place for place, each in enumerate(sizes) if each == size]
        most = max(1, pixels // (size[0] * size[1]))
        groups += [places[first:first + most] for first in range(0, len(places), most)]
    rank = torch.tensor([eval_model.rank], device=eval_model.device)
    count = torch.tensor([len(groups)], device=eval_model.device)
    most_of_ranks = int(everywhere(eval_model, eval_model.world, rank, count).max())
    return groups + [[] for _ in range(most_of_ranks - len(groups))]
