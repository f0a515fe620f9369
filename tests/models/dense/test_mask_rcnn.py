"""Mask R-CNN: its losses are means over what was sampled, over any encoder and any sizes."""

import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

import corekit
from corekit import CorekitError, registry
from corekit.data.fields import find_fields
from corekit.data.loading.collate import split
from corekit.models.dense.anchors import StridedAnchors
from corekit.models.dense.roi_heads import RoIPool
from tests.models.dense.scenes import batch, catlip, losses_of, nano, sampling_all

FIELDS = find_fields(["image", "boxes", "box_labels", "masks"])
NAMES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
ENCODERS: list[dict[str, object]] = [
    {"name": "catlip_vit_b16", "width_divisor": 12, "depth_divisor": 6, "image_size": 64},
    {"name": "clip_vit_b16", "width_divisor": 12, "depth_divisor": 6, "image_size": 64},
    {"name": "mobileclip_s0", "width_divisor": 16, "depth_divisor": 6},
    {"name": "mobileclip_s3", "width_divisor": 24, "depth_divisor": 6, "text_tower": None},
    {"name": "aimv2_nano"},
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["name"])
def test_any_encoder_of_the_registry_stands_under_both_heads(encoder: dict[str, object]) -> None:
    model = nano(encoder)
    entries = batch([(64, 64)] * 2, [2, 3])
    losses = losses_of(model, entries)
    assert tuple(sorted(losses)) == tuple(sorted(NAMES))
    sum(losses.values()).backward()
    missed = [name for name, value in model.named_parameters() if value.grad is None]
    assert not missed, "no part of the encoder's own outputs is left"
    segmenter = registry.build("model", "deeplabv3", {"encoder_model": encoder, "num_classes": 3,
                                                      "channels": 8})
    assert segmenter(entries["image"])["logits"].shape == (2, 3, 64, 64)


def test_what_gives_no_map_is_refused() -> None:
    with pytest.raises(CorekitError, match="a Linear gives no map of features"):
        registry.build("model", "mask_rcnn", {"encoder_model": nn.Linear(1, 1)})


def test_losses_are_means_over_what_was_sampled() -> None:
    model = sampling_all(catlip())
    model.rpn.proposal_matcher.low_threshold = 0.7  # every anchor counts
    entries = batch([(64, 64)] * 2, [1, 3])
    regions: list[int] = []
    model.roi_heads.box_head.register_forward_hook(lambda *own: regions.append(len(own[2])))

    def of(each: dict[str, object]) -> dict[str, float]:
        model.train().encoder.eval()  # without statistics of batches
        inputs = {name: value for name, value in each.items() if name != "key"}
        return {name: float(value.detach()) for name, value in model(**inputs).items()}

    both, one, other = of(entries), *(of(each) for each in split(entries, 2, FIELDS))
    assert regions[0] == regions[1] + regions[2]
    for name in NAMES[:2]:  # equally many anchors
        assert both[name] == pytest.approx((one[name] + other[name]) / 2, rel=1e-5)
    for name in NAMES[2:4]:
        mean = (regions[1] * one[name] + regions[2] * other[name]) / regions[0]
        assert both[name] == pytest.approx(mean, rel=1e-5)


def test_the_background_threshold_moves_what_it_should() -> None:
    losses = []
    for threshold in (0.3, 0.7):
        model = sampling_all(catlip())
        model.rpn.proposal_matcher.low_threshold = threshold
        losses.append(losses_of(model, batch([(64, 64)], [2])))
    low, high = losses
    for name in NAMES[2:]:
        assert torch.equal(low[name], high[name])
    for name in NAMES[:2]:
        assert low[name] != high[name]


def test_a_picture_without_objects_has_losses_and_no_mask() -> None:
    losses = losses_of(catlip(), batch([(64, 64)] * 2, [0, 0]))
    assert losses["loss_mask"] == losses["loss_box_reg"] == 0
    assert all(value.isfinite() for value in losses.values())


def test_lists_are_batches_of_pictures_that_were_padded() -> None:
    model = sampling_all(catlip())
    alike = batch([(64, 64)] * 2, [2, 1])
    listed = {**alike, "image": list(alike["image"]),
              "masks": [alike["masks"][:2], alike["masks"][2:]]}
    expected, actual = losses_of(model, alike), losses_of(model, listed)
    for name in NAMES:
        assert torch.equal(expected[name], actual[name])
    model.eval()
    model.roi_heads.score_thresh = 0.0
    pictures = [torch.rand(3, 64, 40), torch.rand(3, 32, 64)]
    for picture, objects in zip(pictures, model.detect(pictures)):
        assert len(objects["boxes"]) > 0
        assert objects["boxes"].amin() >= 0
        assert objects["boxes"][:, 2].amax() <= picture.shape[2]
        assert objects["boxes"][:, 3].amax() <= picture.shape[1]
        assert {name: tuple(value.shape[1:]) for name, value in objects.items()} == {
            "boxes": (4,), "scores": (), "labels": (), "masks": (28, 28)}
        assert set(objects["labels"].tolist()) <= {0, 1, 2}


def test_bf16_gives_nearly_the_losses_of_fp32_and_boxes_in_fp32() -> None:
    model, entries = sampling_all(catlip()), batch([(64, 64)] * 2, [2, 1])
    expected = losses_of(model, entries)
    with torch.autocast("cpu", torch.bfloat16):
        actual = losses_of(model, entries)
        objects = model.eval().detect(entries["image"])
    for name in NAMES:
        assert actual[name].dtype == torch.float32
        assert float(actual[name].detach()) == pytest.approx(float(expected[name].detach()),
                                                             rel=0.05, abs=2e-3)
    assert objects[0]["boxes"].dtype == objects[0]["scores"].dtype == torch.float32


def test_anchors_step_by_the_stride_about_each_cells_corner() -> None:
    image = ImageList(torch.zeros(1, 3, 56, 56), [(56, 56)])
    anchors, = StridedAnchors([128], [3.5])(image, [torch.zeros(1, 1, 16, 16)])
    squares = anchors.view(16, 16, 3, 4)[:, :, 1]
    assert torch.equal(squares[0, 0], torch.tensor([-64.0, -64, 64, 64]))
    corners = torch.arange(16) * 3.5
    assert torch.equal(squares[0, :, 0] + 64, corners)
    assert torch.equal(squares[:, 0, 1] + 64, corners)


@pytest.mark.parametrize("aligned", [False, True])
def test_regions_are_pooled_from_the_level_that_fits_them(aligned: bool) -> None:
    levels = {str(number): torch.rand(1, 2, 64 // 2**number, 64 // 2**number)
              for number in range(3)}
    boxes = torch.tensor([[10.0, 20, 70, 90], [3, 5, 203, 155], [1, 2, 254, 255]])
    pooled = RoIPool((4, 8, 16), 7, 2, aligned)(levels, [boxes], [(256, 256)])
    # floor(4 + log2(side / 224)), of the second and third level of 4, 8, 16
    for box, level, region in zip(boxes, (2, 3, 4), pooled, strict=True):
        expected = roi_align(levels[str(level - 2)], [box[None]], 7, 0.5**level, 2, aligned)
        assert torch.allclose(region, expected[0], atol=1e-5)


def test_outside_training_losses_are_refused_and_the_other_way_round() -> None:
    model = corekit.create_model("catlip_mask_rcnn_nano")
    with pytest.raises(AssertionError, match="eval"):
        model.train().detect(torch.zeros(1, 3, 64, 64))
