"""Retrieval: images by their captions, and captions by their images."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.data.datasets.base import Source
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import check_field, encode, encode_text, everywhere
from corekit.evaluation.metrics.recall import recall_at
from corekit.evaluation.metrics.retrieval import AT
from corekit.evaluation.metrics.ties import TIE
from corekit.registry import register


@register("evaluator", "retrieval")
class Retrieval:
    """Recall at 1, 5 and 10 by cosine similarity, from images to captions and back.

    Every line of a sample's text is a caption of its own. Image to text counts an image whose first
    k captions hold one of its own (Karpathy and Fei-Fei 2015); text to image has a query for each
    caption. Where scores are equal, a figure is its mean over all orders of the equal ones: a model
    that answers everything alike gets what chance gives.

    Each rank encodes its share and compares its captions with all images, in blocks; all image
    features are held on every rank's device.

    Args:
        dataset: with a ``text`` field.
        batch_size: images of one forward pass; all their captions are one pass too.
        block: images, and captions, that are compared at once: the scores held are at most block x
            block.

    Raises:
        CorekitError: the data set has no texts.
    """

    def __init__(self, dataset: Source, batch_size: int = 256, block: int = 4096) -> None:
        check_field("retrieval", "dataset", dataset, "text")
        if min(batch_size, block) < 1:
            raise CorekitError("evaluator 'retrieval' needs batch_size and block of 1 or more")
        self.dataset, self.batch_size, self.block = dataset, batch_size, block

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every image and every caption counts once, whatever the number of ranks."""
        images: list[Tensor] = []
        texts: list[Tensor] = []
        positions: list[int] = []  # of this rank's images in the data set
        counts: list[int] = []  # of the captions of each
        for chunk, features in encode(eval_model, self.dataset, self.batch_size):
            captions = [[line for line in text.splitlines() if line.strip()]
                        for text in chunk["text"]]
            for key, lines in zip(chunk["key"], captions):
                if not lines:
                    raise CorekitError(f"evaluator 'retrieval': sample {key} has no caption")
            positions += chunk["position"]
            counts += map(len, captions)
            images.append(F.normalize(features, dim=-1))
            flat = [line for lines in captions for line in lines]
            # all ranks run the model equally often
            texts.append(encode_text(eval_model, flat or ["a"])[:len(flat)])
        as_tensor = partial(torch.tensor, dtype=torch.int64, device=eval_model.device)
        return self._compare(eval_model, torch.cat(images), torch.cat(texts), as_tensor(positions),
                             as_tensor(counts))

    def _compare(self, eval_model: EvalModel, images: Tensor, texts: Tensor, positions: Tensor,
                 counts: Tensor) -> Result:
        """The figures of this rank's images [n, D] and captions [m, D], ``counts`` of them each."""
        total, device = int(self.dataset.shard_sizes.sum()), eval_model.device
        owner = torch.repeat_interleave(counts)  # the image of each caption, among this rank's
        own = (images[owner] * texts).sum(1)
        best = own.new_full((len(images),), -1.0).scatter_reduce(0, owner, own, "amax")
        equal = torch.zeros_like(counts).index_add_(0, owner, (own >= best[owner] - TIE).long())
        # from here on for all images of the data set that can be read
        all_counts = everywhere(eval_model, total, positions, counts)
        readable = all_counts > 0
        all_counts = all_counts[readable]
        all_images, all_best, all_equal = (
            everywhere(eval_model, total, positions, values)[readable]
            for values in (images, best, equal))
        if not len(all_images):
            raise CorekitError("the data set of evaluator 'retrieval' holds no sample that can be "
                               "read")
        # of this rank's images among the readable ones
        places = (readable.cumsum(0) - 1)[positions]
        rivals = self._rivals(all_images, all_best, texts, own, places[owner])
        above_image, tied_image = eval_model.sum(torch.stack(rivals[:2]))
        captions = int(all_counts.sum())
        first = (all_counts.cumsum(0) - all_counts)[places]  # caption of each of this rank's images
        within = torch.arange(len(texts), device=device) - (counts.cumsum(0) - counts)[owner]
        above_text, tied_text = everywhere(eval_model, captions, first[owner] + within,
                                           torch.stack(rivals[2:], 1)).T
        of_image = above_image, tied_image, all_equal
        of_text = above_text, tied_text, torch.ones_like(above_text)
        metrics = {f"image_to_text_r{k}": recall_at(k, *of_image) for k in AT}
        metrics |= {f"text_to_image_r{k}": recall_at(k, *of_text) for k in AT}
        return Result.on(self.dataset, len(all_images), metrics, captions=captions)

    def _rivals(self, images: Tensor, best: Tensor, texts: Tensor, own: Tensor,
                owner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How many others score above the right answer, and how many equal to it.

        Args:
            images, texts: [N, D] and [m, D].
            best: [N], each image's score with the nearest of its captions.
            own: [m], each caption's score with its image, ``owner``.

        Returns:
            captions above and equal for each image, int64 [N], and images for each caption [m].
        """
        above_image = torch.zeros_like(best, dtype=torch.int64)
        tied_image = torch.zeros_like(above_image)
        above_text, tied_text = torch.zeros_like(owner), torch.zeros_like(owner)
        for row in range(0, len(images), self.block):
            rows = slice(row, row + self.block)
            numbers = torch.arange(row, min(len(images), row + self.block), device=images.device)
            for column in range(0, len(texts), self.block):
                columns = slice(column, column + self.block)
                scores = images[rows] @ texts[columns].T
                # no rival of itself
                scores.masked_fill_(numbers[:, None] == owner[columns], float("-inf"))
                ahead = scores - best[rows, None]
                above_image[rows] += (ahead > TIE).sum(1)
                tied_image[rows] += (ahead.abs() <= TIE).sum(1)
                ahead = scores - own[columns]
                above_text[columns] += (ahead > TIE).sum(0)
                tied_text[columns] += (ahead.abs() <= TIE).sum(0)
        return above_image, tied_image, above_text, tied_text
