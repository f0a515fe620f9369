"""CatLIP's detectors and segmenters: counts, CoreNet's names, and outputs and losses against slow
code written from CoreNet's description.
"""


import corenet_dense as corenet
import pytest
import torch
from corekit_projects.catlip.convert_dense import CORENET, CatLIPDenseConverter
from torch import Tensor, nn

import corekit
from corekit import CorekitError
from corekit.optim.adamw import adamw

CONVERTER = CatLIPDenseConverter()
SMALL = {"width_divisor": 12, "depth_divisor": 6, "pos_embed_interp": "flat1d"}  # one head
DETECTOR = {**SMALL, **CORENET, "num_classes": 5}
COUNTS = {  # with RangeAugment's six scalars
    "catlip_mask_rcnn_b16": (111_559_099, 256), "catlip_mask_rcnn_l16": (331_686_907, 400),
    "catlip_mask_rcnn_h16": (662_682_171, 496), "catlip_deeplabv3_b16": (98_751_644, 205),
    "catlip_deeplabv3_l16": (320_435_356, 349), "catlip_deeplabv3_h16": (652_396_700, 445)
}


def trained(name: str, **arguments: object) -> nn.Module:
    """A model whose weights are nowhere 0 or 1, and neither small nor large: scores differ."""
    torch.manual_seed(0)
    model = corekit.create_model(name, **arguments)
    for key, value in model.state_dict().items():
        if key.endswith("tracked"):
            value.fill_(7)
        elif value.ndim == 1:
            value.add_(0.2 * torch.rand(value.shape))
        elif key.startswith(("rpn", "encoder.blocks")):
            value.mul_(5)
        elif "cls_score" in key:
            value.mul_(0.1)
    return model


def corenet_state(model: nn.Module, name: str) -> dict[str, Tensor]:
    return CONVERTER.save(model.state_dict(), name, "corenet")


def objects(pictures: int, side: int = 64) -> list[dict[str, Tensor]]:
    """Some objects in each picture, as torchvision has them: labels from 1."""
    targets = []
    for _ in range(pictures):
        low = torch.rand(3, 2) * side / 2
        boxes = torch.cat([low, low + 8 + torch.rand(3, 2) * (side / 2 - 8)], 1)
        masks = torch.zeros(3, side, side, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
            mask[top:bottom, left:(left + right) // 2] = 1
        targets.append({"boxes": boxes, "labels": torch.randint(1, 6, (3,)), "masks": masks})
    return targets


def batched(targets: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
    """The same as the entries of a batch: boxes, labels, offsets, masks."""
    offsets = torch.tensor([0, *(len(each["labels"]) for each in targets)]).cumsum(0)
    boxes, labels, masks = (torch.cat([each[name] for each in targets])
                            for name in ("boxes", "labels", "masks"))
    return boxes, labels - 1, offsets, masks


def sampling_all(model: nn.Module) -> nn.Module:
    """The model whose losses are of every anchor and region, so that nothing is drawn."""
    for part in (model.rpn, model.roi_heads):
        part.fg_bg_sampler.batch_size_per_image = 10**6
        part.fg_bg_sampler.positive_fraction = 1.0
    return model


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    return trained("catlip_mask_rcnn_b16", **DETECTOR)


@pytest.fixture(scope="module")
def segmenter() -> nn.Module:
    return trained("catlip_deeplabv3_b16", **SMALL, num_classes=7).eval()


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_entries_are_corenets(name: str) -> None:
    with torch.device("meta"):
        model = corekit.create_model(name)
    count = sum(value.numel() for value in model.parameters())
    assert (count + 6, len(model.state_dict()) + 6) == COUNTS[name]
    state = corenet_state(model, name)
    assert CONVERTER.detect(state) == [name]
    scalars = {f"{'model.backbone.' * ('mask' in name)}encoder.neural_augmentor.{kind}.{end}":
               torch.zeros(()) for kind in ("brightness", "contrast", "noise")
               for end in ("_low", "_high")}
    assert CONVERTER.detect({**state, **scalars}) == [name]
    assert CONVERTER.detect(dict(list(state.items())[1:])) == []


@pytest.mark.parametrize("name", ["catlip_mask_rcnn_b16", "catlip_deeplabv3_b16"])
def test_weights_go_out_and_come_in_to_the_bit(name: str, detector: nn.Module,
                                               segmenter: nn.Module) -> None:
    model = detector if "mask" in name else segmenter
    state = corenet_state(model, name)
    converted = CONVERTER.load(state, name)
    assert converted.weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[key]) and value.dtype ==
               model.state_dict()[key].dtype for key, value in converted.weights.items())
    assert converted.arguments == (DETECTOR if "mask" in name else {**SMALL, "num_classes": 7})
    with pytest.raises(CorekitError, match="1 left over"):
        CONVERTER.load({**state, "head": torch.zeros(1)}, name)


def test_detections_are_corenets(detector: nn.Module) -> None:
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = corenet.detect(corenet_state(detector, "catlip_mask_rcnn_b16"), image, 1)
    objects, = detector.eval().detect(image)
    assert len(expected["scores"]) > 20
    assert torch.equal(objects["labels"], expected["labels"] - 1)
    assert (objects["boxes"] - expected["boxes"]).abs().max() <= 1e-3
    assert (objects["scores"] - expected["scores"]).abs().max() <= 1e-4
    assert (objects["masks"] - expected["masks"]).abs().max() <= 1e-4


def test_losses_and_gradients_are_corenets(detector: nn.Module) -> None:
    sampling_all(detector.train())
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    image, targets = torch.rand(2, 3, 64, 64), objects(2)
    state = {key: value.detach().requires_grad_(value.is_floating_point() and "running" not in key)
             for key, value in corenet_state(detector, "catlip_mask_rcnn_b16").items()}
    expected = corenet.losses(state, image, 1, targets)
    losses = detector(image, *batched(targets))
    for name, value in expected.items():
        assert value > 1e-3
        assert (losses[name] - value).abs() <= 1e-5, name
    sum(expected.values()).backward()
    sum(losses.values()).backward()
    slopes = CONVERTER.save({key: value.grad for key, value in detector.named_parameters()},
                            "catlip_mask_rcnn_b16", "corenet")
    for key, value in slopes.items():
        assert (value - state[key].grad).norm() <= 1e-3 * state[key].grad.norm() + 1e-6, key


@pytest.mark.parametrize("size", [(96, 128), (90, 70)])
def test_logits_are_corenets_at_any_size(segmenter: nn.Module, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        expected = corenet.segment(corenet_state(segmenter, "catlip_deeplabv3_b16"), image, 1,
                                   size)
    assert (segmenter.segment(image, size) - expected).abs().max() <= 1e-5
    if size == (96, 128):
        assert torch.equal(segmenter(image)["logits"].detach(), segmenter.segment(image, size))


@pytest.mark.parametrize(("name", "decay", "layers"), [("catlip_mask_rcnn_b16", 0.7, 12),
                                                       ("catlip_mask_rcnn_l16", 0.8, 24),
                                                       ("catlip_mask_rcnn_h16", 0.9, 32)])
def test_layer_decay_is_corenets(name: str, decay: float, layers: int) -> None:
    with torch.device("meta"):
        model = corekit.create_model("range_augment", model=corekit.create_model(name))
    optimizer = adamw(model, 3e-4, weight_decay=0.1, layer_decay=decay,
                      no_decay=["norms", "biases", "pyramid.0.*"])
    group_of = {id(value): group for group in optimizer.param_groups for value in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(group_of)
    for key, value in model.named_parameters():
        depth, group = layers + 1, group_of[id(value)]
        if key.startswith(("neural_augmentor.", "encoder.patch_embed.", "encoder.pos_embed")):
            depth = 0
        elif key.startswith("encoder.blocks."):
            depth = 1 + int(key.split(".")[2])
        elif key.startswith("encoder.norm."):
            depth = layers
        assert group["lr_scale"] == pytest.approx(decay ** (layers + 1 - depth)), key
        decayed = value.ndim != 1 and not key.startswith("pyramid.0.")
        assert group["weight_decay"] == (0.1 if decayed else 0.0), key
    if name.endswith("b16"):
        scale = group_of[id(model.encoder.blocks[0].attn.qkv.weight)]["lr_scale"]
        assert round(scale, 5) == 0.01384
