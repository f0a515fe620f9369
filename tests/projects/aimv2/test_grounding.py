"""MM-Grounding-DINO around an encoder of ours: its prompts, its losses, and that it learns."""

import sys
from typing import cast

import pytest
import torch
from corekit_projects.aimv2 import grounding_dino
from corekit_projects.aimv2.grounding_dino import GroundingDino, scale_of
from corekit_projects.aimv2.grounding_loss import GroundingLoss
from corekit_projects.aimv2.grounding_text import is_word, prompt
from torch import Tensor
from torchvision.ops import box_convert, box_iou

import corekit
from corekit import CorekitError

START, END = 62, 63
TEXT = torch.tensor([[START, 3, END, 0, 0], [START, 4, 5, 6, END], [START, 7, 8, END, 0]])
BOXES = torch.tensor([[2.0, 2, 30, 30], [34, 20, 60, 60], [10, 34, 30, 50]])


def small() -> GroundingDino:
    """Without stochastic depth, in training."""
    torch.manual_seed(0)
    model = corekit.create_model("aimv2_mm_grounding_dino_nano", vocab_size=64, width=32)
    assert isinstance(model, GroundingDino)
    model.train()
    model.detector.eval()
    with torch.no_grad():  # so that all layers count
        for head in (*model.detector.bbox_embed, model.detector.model.encoder_output_bbox_embed):
            head.layers[-1].weight.normal_(std=0.1)
    return model


def losses_of(model: GroundingDino, image: Tensor, text: Tensor,
              boxes: Tensor) -> dict[str, Tensor]:
    return cast(dict[str, Tensor], model(image, text, boxes, torch.arange(len(boxes) + 1)))


def test_ids_of_any_tokenizer_become_one_phrase_between_berts_marks() -> None:
    clip = prompt(TEXT, START, END, 1030)
    assert clip.tolist()[:2] == [[101, 1033, 1012, 102, 0, 0], [101, 1034, 1035, 1036, 1012, 102]]
    assert is_word(clip).sum(1).tolist() == [1, 3, 2]
    pieces = torch.tensor([[7, 8, 1, 1], [9, 10, 11, 1]])  # SentencePiece's, padded with the end
    assert prompt(pieces, None, 1, 1030).tolist() == [
        [101, 1037, 1038, 1012, 102, 0], [101, 1039, 1040, 1041, 1012, 102]]
    assert prompt(torch.tensor([[101, 1996, 102, 0]]), 101, 102, 0).tolist() == [
        [101, 1996, 1012, 102, 0]]


def test_losses_and_answers_are_those_of_transformers_own_detector() -> None:
    model = small()
    image, text, boxes = torch.rand(2, 3, 64, 64), TEXT[:2], BOXES[:2]
    ours = losses_of(model, image, text, boxes)
    ids, scale = model.prompt(text), scale_of([(64, 64)] * 2, boxes)
    targets = box_convert(boxes, "xyxy", "cxcywh") / scale
    labels = [{"class_labels": torch.tensor([0]), "boxes": each[None]} for each in targets]
    own = model.detector(pixel_values=image, input_ids=ids, attention_mask=(ids != 0).long(),
                         labels=labels)
    for name, part in (("loss_class", "ce"), ("loss_box", "bbox"), ("loss_giou", "giou")):
        expected = sum(value for key, value in own.loss_dict.items()
                       if key.startswith(f"loss_{part}") and not key.endswith("_enc"))
        torch.testing.assert_close(ours[name], expected)
    total = GroundingLoss(class_weight=2.0)(**ours)
    proposals = sum(own.loss_dict[f"loss_{part}_enc"] * weight
                    for part, weight in (("ce", 2), ("bbox", 5), ("giou", 2)))
    torch.testing.assert_close(total["class"] + total["box"] + total["giou"], own.loss - proposals)
    answer = model.eval().refer(image, text)
    words = is_word(ids)[1].nonzero()[:, 0]
    score = own.logits[1][:, words].sigmoid().mean(-1)
    best = score.argmax()
    torch.testing.assert_close(answer["scores"][1, 0], score[best])
    torch.testing.assert_close(answer["boxes"][1, 0],
                               box_convert(own.pred_boxes[1, best], "cxcywh", "xyxy") * 64)


def test_the_loss_of_a_batch_is_the_mean_over_its_pictures() -> None:
    """transformers' own takes the words of the second phrase for the third one."""
    model, image = small(), torch.rand(3, 3, 64, 64)
    together = losses_of(model, image, TEXT, BOXES)
    alone = [losses_of(model, image[[row]], TEXT[[row]], BOXES[[row]]) for row in range(3)]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.stack([each[name] for each in alone]).mean())


def test_two_phrases_of_one_picture_are_learned_and_all_parameters_take_part() -> None:
    model, image = small(), torch.rand(1, 3, 64, 64).expand(2, -1, -1, -1)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for step in range(60):
        parts = GroundingLoss()(**losses_of(model, image, TEXT[:2], BOXES[:2]))
        optimizer.zero_grad()
        sum(parts.values()).backward()  # type: ignore[union-attr]
        if step == 1:
            still = [name for name, value in model.named_parameters()
                     if value.grad is None or not value.grad.any()]
            assert not still
        optimizer.step()
    answer = model.eval().refer(image, TEXT[:2])["boxes"][:, 0]
    assert (box_iou(answer, BOXES[:2]).diag() >= 0.5).all()


def test_pictures_of_different_sizes_have_boxes_in_their_own_pixels() -> None:
    model = small().eval()
    with torch.no_grad():
        for head in model.detector.bbox_embed:  # the whole picture
            head.layers[-1].weight.zero_()
            head.layers[-1].bias.copy_(torch.tensor([0.0, 0, 99, 99]))
    boxes = model.refer([torch.rand(3, 64, 40), torch.rand(3, 48, 64)], TEXT[:2])["boxes"]
    sides = boxes[..., 2:] - boxes[..., :2]
    torch.testing.assert_close(sides[:, 0], torch.tensor([[40.0, 64], [64, 48]]))


def test_what_it_cannot_do_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small().eval()
    model.detector.model.backbone.conv_encoder.model.queries = 30
    with pytest.raises(CorekitError, match=r"32 x 32 pixels have 21 cells, fewer than the 30"):
        model.refer(torch.rand(1, 3, 32, 32), TEXT[:1])
    with pytest.raises(CorekitError, match=r"phrases have 17 tokens, .* made for 16"):
        model.prompt(torch.zeros(1, 17, dtype=torch.int64))
    with monkeypatch.context() as patch:
        patch.setattr(grounding_dino, "find_spec", lambda name: None)
        with pytest.raises(CorekitError, match=r"scipy: pip install 'corekit\[grounding\]'"):
            small()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CorekitError, match=r"needs transformers.*'corekit\[grounding\]'"):
        small()
