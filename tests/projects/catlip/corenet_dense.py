"""CoreNet's Mask R-CNN and DeepLabv3 of CatLIP, from their description alone: slow, over a state of
CoreNet's names, without torchvision.
"""

import math

import corenet_vit
import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
Objects = dict[str, Tensor]
STRIDES = (4, 8, 16, 32, 64)


def part(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items()
            if key.startswith(prefix)}


def tokens(state: State, image: Tensor, heads: int, first_stride: int) -> Tensor:
    """The encoder's map [B, D, h, w]."""
    x, grid = corenet_vit.patches(state, image, first_stride)
    x = corenet_vit.blocks(state, x, heads)
    return x.transpose(1, 2).reshape(len(x), -1, *grid)


def channel_norm(state: State, name: str, x: Tensor) -> Tensor:
    """(x - mean) / (std + eps) over channels."""
    mean = x.mean(1, keepdim=True)
    deviation = (x - mean).square().mean(1, keepdim=True).sqrt()
    weight, bias = (state[f"{name}.{end}"][:, None, None] for end in ("weight", "bias"))
    return (x - mean) / (deviation + 1e-6) * weight + bias


def conv(state: State, name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    weight = state[name + ".weight"]
    padding = weight.shape[2] // 2 * dilation
    return F.conv2d(x, weight, state.get(name + ".bias"), stride, padding, dilation)


def pyramid(state: State, image: Tensor, heads: int) -> list[Tensor]:
    """Maps at strides 4 to 64."""
    state = part(state, "model.backbone.")
    encoder = part(state, "encoder.")
    x = tokens(encoder, image, heads, 4)

    def up(name: str, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, encoder[name + ".weight"], encoder[name + ".bias"], 2)

    quarter = up("simple_fpn.out_l2.0.block.conv", x)
    quarter = F.gelu(channel_norm(encoder, "simple_fpn.out_l2.0.block.norm", quarter))
    maps = {4: up("simple_fpn.out_l2.1.block.conv", quarter),
            8: up("simple_fpn.out_l3.block.conv", x), 16: x, 32: F.max_pool2d(x, 2)}

    def normed(name: str, x: Tensor, stride: int = 1) -> Tensor:
        return channel_norm(state, name + ".block.norm",
                            conv(state, name + ".block.conv", x, stride))

    laterals = {each: normed(f"backbone_proj_layers.{each}", maps[each]) for each in maps}
    outputs = {32: laterals[32], 64: normed("extra_layers.64", laterals[32], 2)}
    above = normed("fpn_proj_layers.32", laterals[32])
    for stride in (16, 8, 4):
        height, width = laterals[stride].shape[2:]
        doubled = above.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :width]
        above = outputs[stride] = normed(f"fpn_proj_layers.{stride}", laterals[stride] + doubled)
    return [outputs[stride] for stride in STRIDES]


def convs(state: State, name: str, x: Tensor, count: int) -> Tensor:
    for number in range(0, 3 * count, 3):
        x = conv(state, f"{name}.{number}.block.conv", x)
        x = channel_norm(state, f"{name}.{number + 1}", x).relu()
    return x


def anchors(maps: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
    """Of each level, cell after cell, ratios 0.5, 1, 2 in each."""
    levels = []
    for side, level in zip((32, 64, 128, 256, 512), maps):
        rows, columns = level.shape[2:]
        boxes = []
        for row in range(rows):
            for column in range(columns):
                x, y = column * (size[1] // columns), row * (size[0] // rows)
                for ratio in (0.5, 1.0, 2.0):
                    height, width = side * math.sqrt(ratio), side / math.sqrt(ratio)
                    half_w, half_h = round(width / 2), round(height / 2)
                    boxes.append([x - half_w, y - half_h, x + half_w, y + half_h])
        levels.append(torch.tensor(boxes, dtype=torch.float32))
    return levels


def decode(deltas: Tensor, boxes: Tensor, weights: tuple[float, float]) -> Tensor:
    """Deltas [n, 4] applied to boxes [n, 4]."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sides / 2 + deltas[:, :2] / weights[0] * sides
    sides = sides * (deltas[:, 2:] / weights[1]).clamp(max=math.log(1000 / 16)).exp()
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


def encode(boxes: Tensor, references: Tensor, weights: tuple[float, float]) -> Tensor:
    sides, own = references[:, 2:] - references[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + own / 2 - references[:, :2] - sides / 2) / sides
    return torch.cat([shift * weights[0], (own / sides).log() * weights[1]], 1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    limits = torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float32)
    return boxes.clamp(min=0).minimum(limits)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inside = (high - low).clamp(min=0).prod(2)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (boxes, others)]
    return inside / (areas[0][:, None] + areas[1][None] - inside)


def nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> list[int]:
    """The boxes that stay, best first; boxes of other groups never meet."""
    overlaps = iou(boxes, boxes) * (groups[:, None] == groups[None])
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if not kept or overlaps[index, kept].max() <= threshold:
            kept.append(index)
    return kept


def roi_align(level: Tensor, box: Tensor, stride: int, cells: int, points: int = 2) -> Tensor:
    """[C, cells, cells] of a map [C, h, w], without the half-pixel shift.

    With 0 points a cell has as many as it has pixels.
    """
    sides = ((box[2:] - box[:2]) / stride).clamp(min=1)
    counts = [points or math.ceil(float(side) / cells) for side in sides]
    columns, rows = (
        _weights(box[axis] / stride, sides[axis], cells * counts[axis], level.shape[2 - axis])
        for axis in (0, 1))
    sampled = torch.einsum("yh,chw,xw->cyx", rows, level, columns)
    return F.avg_pool2d(sampled, (counts[1], counts[0]))


def _weights(start: Tensor, side: Tensor, points: int, length: int) -> Tensor:
    """[points, length]: what each cell of a line counts at each point of a stretch of it."""
    at = start + (torch.arange(points) + 0.5) / points * side
    outside = (at < -1) | (at > length)
    distance = (at.clamp(0, length - 1)[:, None] - torch.arange(length)[None]).abs()
    return (1 - distance).clamp(min=0) * ~outside[:, None]


def pooled(maps: list[Tensor], boxes: Tensor, cells: int) -> Tensor:
    """[n, C, cells, cells] of one picture's maps [C, h, w]."""
    regions = []
    for box in boxes:
        side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
        number = min(max(math.floor(4 + math.log2(max(side, 1e-9) / 224) + 1e-6), 2), 6)
        regions.append(roi_align(maps[number - 2], box, 2**number, cells))
    return torch.stack(regions) if regions else torch.zeros(0, len(maps[0]), cells, cells)


def rpn(state: State, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Of each level, logits [B, cells · 3] and deltas [B, cells · 3, 4]."""
    logits, deltas = [], []
    for level in maps:
        hidden = convs(state, "model.rpn.head.conv", level, 2)
        score = conv(state, "model.rpn.head.cls_logits.block.conv", hidden)
        delta = conv(state, "model.rpn.head.bbox_pred.block.conv", hidden)
        logits.append(score.permute(0, 2, 3, 1).flatten(1))
        deltas.append(delta.permute(0, 2, 3, 1).reshape(len(delta), -1, 4))
    return logits, deltas


def proposals(logits: list[Tensor], deltas: list[Tensor], references: list[Tensor],
              size: tuple[int, int], most: int) -> Tensor:
    """Of one picture, from each level's logits [n] and deltas [n, 4]."""
    boxes, scores, levels = [], [], []
    for number, (score, delta, reference) in enumerate(zip(logits, deltas, references)):
        order = score.argsort(descending=True, stable=True)[:most]
        boxes.append(clip(decode(delta[order], reference[order], (1, 1)), size))
        scores.append(score[order])
        levels.append(torch.full((len(order),), number))
    box, score, level = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
    wide = ((box[:, 2:] - box[:, :2]) >= 1e-3).all(1)
    box, score, level = box[wide], score[wide].sigmoid(), level[wide]
    return box[nms(box, score, level, 0.7)[:most]]


def box_head(state: State, regions: Tensor) -> tuple[Tensor, Tensor]:
    name = "model.roi_heads.box_head"
    hidden = convs(state, name, regions, 4).flatten(1)
    hidden = F.linear(hidden, state[name + ".13.weight"], state[name + ".13.bias"]).relu()
    name = "model.roi_heads.box_predictor"
    return (F.linear(hidden, state[name + ".cls_score.weight"], state[name + ".cls_score.bias"]),
            F.linear(hidden, state[name + ".bbox_pred.weight"], state[name + ".bbox_pred.bias"]))


def mask_head(state: State, regions: Tensor) -> Tensor:
    hidden = convs(state, "model.roi_heads.mask_head", regions, 4)
    name = "model.roi_heads.mask_predictor"
    hidden = F.conv_transpose2d(hidden, state[name + ".0.block.conv.weight"], None, 2)
    return conv(state, name + ".3.block.conv", channel_norm(state, name + ".1", hidden).relu())


def detect(state: State, image: Tensor, heads: int) -> Objects:
    """The objects of one picture [1, 3, H, W], labels from 1."""
    size = (image.shape[2], image.shape[3])
    maps = pyramid(state, image, heads)
    logits, deltas = rpn(state, maps)
    boxes = proposals([each[0] for each in logits], [each[0] for each in deltas],
                      anchors(maps, size), size, 1000)
    own = [level[0] for level in maps]
    scores, changes = box_head(state, pooled(own, boxes, 7))
    scores = scores.softmax(1)
    candidates, kept, labels = [], [], []
    for label in range(1, scores.shape[1]):
        candidates.append(clip(decode(changes[:, 4 * label:4 * label + 4], boxes, (10, 5)), size))
        kept.append(scores[:, label])
        labels.append(torch.full((len(boxes),), label))
    box, score, label_of = torch.cat(candidates), torch.cat(kept), torch.cat(labels)
    fits = (score > 0.05) & ((box[:, 2:] - box[:, :2]) >= 1e-2).all(1)
    box, score, label_of = box[fits], score[fits], label_of[fits]
    best = nms(box, score, label_of, 0.5)[:100]
    box, score, label_of = box[best], score[best], label_of[best]
    masks = mask_head(state, pooled(own, box, 14))[torch.arange(len(box)), label_of].sigmoid()
    return {"boxes": box, "scores": score, "labels": label_of, "masks": masks}


def losses(state: State, image: Tensor, heads: int, targets: list[Objects]) -> dict[str, Tensor]:
    """The five losses where every anchor and every region is sampled; labels from 1."""
    size = (image.shape[2], image.shape[3])
    maps = pyramid(state, image, heads)
    logits, deltas = rpn(state, maps)
    levels = anchors(maps, size)
    references = torch.cat(levels)
    sums = dict.fromkeys(("objectness", "rpn_box_reg", "classifier", "box_reg"), torch.zeros(()))
    regions, sampled, masks, wanted = 0, 0, [], []
    for number, target in enumerate(targets):
        overlaps = iou(target["boxes"], references)
        positive = (overlaps >= 0.7).any(0) | (overlaps == overlaps.amax(1, keepdim=True)).any(0)
        score = torch.cat([each[number] for each in logits])
        delta = torch.cat([each[number] for each in deltas])
        goal = encode(target["boxes"][overlaps.argmax(0)], references, (1, 1))
        sums["objectness"] = sums["objectness"] + F.binary_cross_entropy_with_logits(
            score, positive.float(), reduction="sum")
        sums["rpn_box_reg"] = sums["rpn_box_reg"] + smooth_l1(delta[positive] - goal[positive])
        sampled += len(references)
        boxes = proposals([each[number].detach() for each in logits],
                          [each[number].detach() for each in deltas], levels, size, 2000)
        boxes = torch.cat([boxes, target["boxes"]])
        overlaps = iou(target["boxes"], boxes)
        object_of, matched = overlaps.argmax(0), overlaps.amax(0) >= 0.5
        label = target["labels"][object_of] * matched
        own = [level[number] for level in maps]
        scores, changes = box_head(state, pooled(own, boxes, 7))
        rows = matched.nonzero()[:, 0]
        change = changes.reshape(len(boxes), -1, 4)[rows, label[rows]]
        goal = encode(target["boxes"][object_of[rows]], boxes[rows], (10, 5))
        sums["classifier"] = sums["classifier"] + F.cross_entropy(scores, label, reduction="sum")
        sums["box_reg"] = sums["box_reg"] + smooth_l1(change - goal)
        regions += len(boxes)
        logit = mask_head(state, pooled(own, boxes[rows], 14))
        masks.append(logit[torch.arange(len(rows)), label[rows]])
        wanted += [roi_align(target["masks"][index][None].float(), box, 1, 28, 0)[0]
                   for box, index in zip(boxes[rows], object_of[rows])]
    mask = F.binary_cross_entropy_with_logits(torch.cat(masks), torch.stack(wanted))
    return {"loss_objectness": sums["objectness"] / sampled,
            "loss_rpn_box_reg": sums["rpn_box_reg"] / sampled,
            "loss_classifier": sums["classifier"] / regions,
            "loss_box_reg": sums["box_reg"] / regions, "loss_mask": mask}


def smooth_l1(difference: Tensor) -> Tensor:
    """Summed, with a beta of 1/9."""
    size = difference.abs()
    return torch.where(size < 1 / 9, 4.5 * size**2, size - 1 / 18).sum()


def segment(state: State, image: Tensor, heads: int, size: tuple[int, int]) -> Tensor:
    """Logits [B, K, *size] of a DeepLabv3 in evaluation."""
    x = tokens(part(state, "encoder."), image, heads, 2)
    state = part(state, "seg_head.")

    def normed(name: str, x: Tensor, dilation: int = 1) -> Tensor:
        x = conv(state, name + ".block.conv", x, dilation=dilation)
        ends = ("running_mean", "running_var", "weight", "bias")
        norm = [state[f"{name}.block.norm.{end}"] for end in ends]
        return F.gelu(F.batch_norm(x, *norm, eps=1e-5))

    name = "aspp.aspp_layer"
    branches = [normed(f"{name}.convs.{number}", x, dilation)
                for number, dilation in enumerate((1, 12, 24, 36))]
    mean = normed(f"{name}.convs.4.aspp_pool.conv_1x1", x.mean((2, 3), keepdim=True))
    x = normed(name + ".project", torch.cat([*branches, mean.expand_as(branches[0])], 1))
    return F.interpolate(conv(state, "classifier.block.conv", x), size, mode="bilinear",
                         align_corners=True)
