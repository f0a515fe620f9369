"""Masks pasted as run lengths are those that torchvision pastes, also at the picture's edges."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from corekit.data.loading.whole_picture import WholePicture
from corekit.data.outlines import mask_functions
from corekit.evaluation.detection.detection import Detection
from corekit.evaluation.detection.paste import in_picture, pasted, pasted_then_resized
from tests.evaluation.detection.annotated import PREPROCESS, Annotated, guesses_model

SIZE = (37, 50)
BOXES = torch.tensor([[3.2, 4.7, 30.1, 20.9], [0.0, 0.0, 50.0, 37.0], [40.5, 30.0, 50.0, 37.0],
                      [7.0, 7.0, 7.4, 7.4], [-3.0, -2.0, 9.0, 60.0], [49.0, 0.0, 50.0, 37.0]])


def masks(every: float) -> torch.Tensor:
    random = torch.rand(len(BOXES), 28, 28, generator=torch.Generator().manual_seed(0))
    return random**every


@pytest.mark.parametrize("every", [0.0, 0.3, 1.0, 50.0])  # full ... empty
def test_run_lengths_are_of_the_pixels_that_torchvision_pastes(every: float) -> None:
    expected = paste_masks_in_image(masks(every)[:, None], BOXES, SIZE)[:, 0] > 0.5
    encoded = list(pasted(masks(every), BOXES, SIZE))
    assert np.array_equal(mask_functions().decode(encoded).transpose(2, 0, 1), expected.numpy())
    pixels = expected.permute(1, 2, 0).numpy().astype("uint8")
    whole = mask_functions().encode(np.asfortranarray(pixels))
    assert [each["counts"] for each in encoded] == [each["counts"].decode() for each in whole]


def test_corenets_masks_are_resized_after_pasting() -> None:
    seen, own = (32, 32), (45, 61)
    boxes = 0.6 * BOXES
    probabilities = paste_masks_in_image(masks(0.3)[:, None], boxes, seen)
    resized = F.interpolate(probabilities, own, mode="bilinear", align_corners=True)[:, 0] > 0.5
    encoded = list(pasted_then_resized(masks(0.3), boxes, seen, own))
    assert np.array_equal(mask_functions().decode(encoded).transpose(2, 0, 1), resized.numpy())


def test_boxes_come_back_to_the_pictures_own_pixels() -> None:
    own = (200, 300)
    box = torch.tensor([[32.0, 16.0, 96.0, 64.0]])
    square = WholePicture(128, "bilinear", keep_aspect=False)
    assert in_picture(box, square, own).tolist() == [[75.0, 25.0, 225.0, 100.0]]
    padded = WholePicture(150, "bilinear")
    assert in_picture(box, padded, own).tolist() == [[64.0, 32.0, 192.0, 128.0]]
    assert in_picture(box * 10, padded, own).tolist() == [[300.0, 200.0, 300.0, 200.0]]


@pytest.mark.parametrize(("own", "longest", "content", "padded"), [
    ((480, 640), None, (96, 128), (128, 128)),
    ((480, 640), 150, (112, 150), (128, 160)),
    ((100, 100), 150, (128, 128), (128, 128)),
    ((2, 4000), None, (1, 128), (128, 128)),
])
def test_sizes_that_keep_the_aspect_ratio(own: tuple[int, int], longest: int | None,
                                          content: tuple[int, int],
                                          padded: tuple[int, int]) -> None:
    resize = WholePicture(128, "bilinear", longest=longest)
    assert (resize.content(own), resize.padded(own)) == (content, padded)


def test_protocols_give_figures_of_their_own() -> None:
    own = Detection(Annotated(), PREPROCESS)(guesses_model())
    corenet = Detection(Annotated(), PREPROCESS, keep_aspect=False, paste="seen")(guesses_model())
    assert own.metrics["mask_ap"] != corenet.metrics["mask_ap"]
    assert own.files["ground_truth.json"] == corenet.files["ground_truth.json"]
