"""Small detectors, and pictures with objects that have no meaning."""

import torch
from torch import Tensor, nn

import corekit
from corekit import registry


def nano(encoder: dict[str, object], **arguments: object) -> nn.Module:
    """A Mask R-CNN with small heads over an encoder of the registry."""
    torch.manual_seed(0)
    model: nn.Module = registry.build("model", "mask_rcnn", {
        "encoder_model": encoder, "num_classes": 3, "channels": 16, "box_convs": 1, "box_width": 32,
        "mask_convs": 1, "rois": 16, "anchor_scale": 3.0, **arguments})
    return model


def catlip() -> nn.Module:
    torch.manual_seed(0)
    return corekit.create_model("catlip_mask_rcnn_nano", num_classes=3, image_size=64)


def sampling_all(model: nn.Module) -> nn.Module:
    """The model whose losses are of every anchor and region, so that nothing is drawn."""
    for part in (model.rpn, model.roi_heads):
        part.fg_bg_sampler.batch_size_per_image = 10**6
        part.fg_bg_sampler.positive_fraction = 1.0
    return model


def batch(sizes: list[tuple[int, int]], counts: list[int]) -> dict[str, object]:
    """Pictures of these heights and widths with so many objects each, as the loader gives them."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    boxes, masks = [], []
    for (height, width), count in zip(sizes, counts, strict=True):
        sides = torch.tensor([width, height], dtype=torch.float32)
        low = draw(count, 2) * sides / 2
        boxes.append(torch.cat([low, low + 6 + draw(count, 2) * (sides / 2 - 6)], 1))
        masks.append((draw(count, height, width) > 0.5).to(torch.uint8))
    images = [draw(3, *size) for size in sizes]
    alike = len(set(sizes)) == 1
    return {"key": [str(number) for number in range(len(sizes))],
            "image": torch.stack(images) if alike else images, "boxes": torch.cat(boxes),
            "box_labels": torch.arange(sum(counts)) % 3,
            "box_offsets": torch.tensor([0, *counts]).cumsum(0),
            "masks": torch.cat(masks) if alike else masks}


def losses_of(model: nn.Module, entries: dict[str, object], seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    inputs = {name: value for name, value in entries.items() if name != "key"}
    losses: dict[str, Tensor] = model.train()(**inputs)
    return losses
