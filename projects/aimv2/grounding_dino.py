"""MM-Grounding-DINO (Zhao et al., 2024) of transformers around any encoder of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from corekit.errors import CorekitError
from corekit.models.dense.encoder import DenseEncoder, Images, Size, maps_of, padded

from .grounding_loss import LOSSES, losses
from .grounding_text import FIRST_FREE, is_word, prompt


@dataclass(frozen=True)
class Sizes:
    """What a detector is made of; widths and numbers of blocks.

    ``end_token`` and ``bert_ids`` say how tokenizers mark a phrase, as of the models' arguments.
    """

    context_length: int
    vocab_size: int
    end_token: int | None
    bert_ids: bool
    queries: int
    width: int
    heads: int
    layers: int
    text_width: int
    text_layers: int
    text_heads: int


class GroundingDino(nn.Module):
    """Boxes of what a phrase names, by transformers' ``MMGroundingDinoForObjectDetection``.

    The whole phrase is one name, as for referring expressions. In training ``forward`` gives six
    losses. Pictures of different sizes come as a list and are padded with zeros at the right and
    below; the encoder sees these, the detector does not.

    Args:
        encoder: a ``DenseEncoder``.
        pyramid: its maps to a list of maps of ``sizes.width`` channels.
        levels: how many these are; the detector adds one at half the last.
        sizes: of the detector.

    Raises:
        CorekitError: transformers or scipy is not installed.
    """

    towers = ("encoder", "detector.model.text_backbone")

    def __init__(self, encoder: nn.Module, pyramid: nn.Module, levels: int, sizes: Sizes) -> None:
        super().__init__()
        assert isinstance(encoder, DenseEncoder)
        self.encoder, self.pyramid, self.divisor = encoder, pyramid, encoder.strides[-1]
        self.detector = _detector(levels, sizes)
        # both stay below their own names
        self.detector.model.backbone.conv_encoder.model = _Maps(encoder, pyramid, sizes.queries)
        decoder = self.detector.model.decoder
        del decoder.class_embed, decoder.bbox_embed
        decoder.bbox_embed = tuple(self.detector.bbox_embed)
        self.context_length, self.offset = sizes.context_length, FIRST_FREE
        self.start_token: int | None = None
        if sizes.bert_ids:
            self.start_token, self.end_token, self.offset = 101, 102, 0
        elif sizes.end_token is None:
            self.start_token, self.end_token = sizes.vocab_size - 2, sizes.vocab_size - 1
        else:
            self.end_token = sizes.end_token

    def forward(self, image: Images, text: Tensor, boxes: Tensor,
                box_offsets: Tensor) -> dict[str, Tensor]:
        """The losses of a micro-batch, each [], sums over layers over the number of boxes.

        Args:
            image: float [B, 3, H, W], or a list of [3, H, W].
            text: int64 [B, L], a tokenizer's ids.
            boxes: float [sum n, 4], x1 y1 x2 y2 in pixels of the picture.
            box_offsets: int64 [B + 1], where the rows of each picture begin.
        """
        assert self.training, "losses are of training; use refer()"
        if boxes.is_meta:  # whose detector looks at values
            return self._shapes_alone(image)
        result: dict[str, Tensor] = self._losses(image, text, boxes, box_offsets)
        return result

    @torch.no_grad()
    def refer(self, image: Images, text: Tensor) -> dict[str, Tensor]:
        """The boxes of a picture, best first.

        The score of a box is the mean over the words of the phrase, as MMDetection's.

        Returns:
            ``boxes`` [B, N, 4] in pixels of each picture, and ``scores`` [B, N].
        """
        assert not self.training, "call eval() first"
        batch, sizes = padded(image, self.divisor)
        ids = self.prompt(text)
        logits, boxes, _ = self.levels(batch, sizes, ids)
        words = is_word(ids).float()[:, None]
        probabilities = logits[-1, :, :, :ids.shape[1]].float().sigmoid()
        scores = (probabilities * words).sum(-1) / words.sum(-1).clamp(min=1)
        scores, order = scores.sort(1, descending=True)
        best = boxes[-1].float().gather(1, order[..., None].expand(-1, -1, 4))
        corners = box_convert(best, "cxcywh", "xyxy") * scale_of(sizes, best)[:, None]
        return {"boxes": corners, "scores": scores}

    def prompt(self, text: Tensor) -> Tensor:
        """A tokenizer's ids as transformers' detector wants them.

        Raises:
            CorekitError: they are longer than the model's context.
        """
        if text.shape[1] > self.context_length:
            raise CorekitError(f"phrases have {text.shape[1]} tokens, but the model is made for "
                               f"{self.context_length}: set model.context_length to "
                               "data.tokenizer.context_length")
        return prompt(text, self.start_token, self.end_token, self.offset)

    def levels(self, batch: Tensor, sizes: Sequence[Size],
               ids: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Logits [layers, B, N, T] and boxes [layers, B, N, 4] of the decoder, and all outputs.

        Boxes are center, width and height in sides of the picture; logits are -inf where no text
        is.
        """
        mask, detector = ids != 0, self.detector
        outputs = detector.model(pixel_values=batch, input_ids=ids, attention_mask=mask.long(),
                                 pixel_mask=_pixel_mask(batch, sizes))
        hidden, text = outputs.intermediate_hidden_states, outputs.encoder_last_hidden_state_text
        references = (outputs.init_reference_points,
                      *outputs.intermediate_reference_points[:, :-1].unbind(1))
        logits = [head(x, text, mask) for head, x in zip(detector.class_embed, hidden.unbind(1))]
        boxes = [(head(x) + torch.special.logit(reference, eps=1e-5)).sigmoid()
                 for head, x, reference in zip(detector.bbox_embed, hidden.unbind(1), references)]
        return torch.stack(logits), torch.stack(boxes), outputs

    # transformers' detector looks at values; the encoder stays one graph
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _losses(self, image: Images, text: Tensor, boxes: Tensor,
                box_offsets: Tensor) -> dict[str, Tensor]:
        batch, sizes = padded(image, self.divisor)
        ids = self.prompt(text)
        logits, found, outputs = self.levels(batch, sizes, ids)
        counts = box_offsets.diff()
        scale = scale_of(sizes, boxes).repeat_interleave(counts, 0)
        targets = (box_convert(boxes, "xyxy", "cxcywh") / scale).split(counts.tolist())
        return losses(self.detector, ids, logits, found, outputs, targets)

    def _shapes_alone(self, image: Images) -> dict[str, Tensor]:
        """The losses on the meta device, after the encoder and its pyramid."""
        batch, _ = padded(image, self.divisor)
        maps = self.pyramid(maps_of(self.encoder, batch))
        total = torch.stack([level.sum() for level in maps]).sum()
        return dict.fromkeys(LOSSES, total)


class _Maps(nn.Module):
    """The encoder and its pyramid as a backbone of transformers; both belong to another module."""

    def __init__(self, encoder: nn.Module, pyramid: nn.Module, queries: int) -> None:
        super().__init__()
        self.parts, self.queries = (encoder, pyramid), queries

    def forward(self, image: Tensor, return_dict: bool = True) -> SimpleNamespace:
        encoder, pyramid = self.parts
        maps = pyramid(maps_of(encoder, image))
        height, width = maps[-1].shape[2:]
        cells = sum(level[0, 0].numel() for level in maps) + -(-height // 2) * -(-width // 2)
        if cells < self.queries:
            raise CorekitError(f"pictures of {image.shape[3]} x {image.shape[2]} pixels have "
                               f"{cells} cells, fewer than the {self.queries} boxes that the model "
                               "gives: set a smaller model.queries, or larger pictures")
        return SimpleNamespace(feature_maps=maps)


def _detector(levels: int, sizes: Sizes) -> Any:
    """transformers' detector with a stand-in for the encoder, of which the widths alone count."""
    try:
        from transformers import (
            BertConfig,
            MMGroundingDinoConfig,
            MMGroundingDinoForObjectDetection,
            ResNetConfig,
        )
    except ImportError:
        raise _missing() from None
    if find_spec("scipy") is None:  # of the matching, long after
        raise _missing()
    backbone: Any = ResNetConfig(embedding_size=8, hidden_sizes=[8] + [sizes.width] * levels,
                                 depths=[1] * (levels + 1), layer_type="basic")
    backbone.out_features = [f"stage{number + 1}" for number in range(1, levels + 1)]
    vocab_size = sizes.vocab_size if sizes.bert_ids else sizes.vocab_size + FIRST_FREE
    text = BertConfig(vocab_size=vocab_size, hidden_size=sizes.text_width,
                      num_hidden_layers=sizes.text_layers, num_attention_heads=sizes.text_heads,
                      intermediate_size=4 * sizes.text_width)
    # dropout and shares as MMDetection has them
    config = MMGroundingDinoConfig(
        backbone_config=backbone, text_config=text, num_queries=sizes.queries, d_model=sizes.width,
        encoder_layers=sizes.layers, decoder_layers=sizes.layers,
        encoder_attention_heads=sizes.heads, decoder_attention_heads=sizes.heads,
        encoder_ffn_dim=8 * sizes.width, decoder_ffn_dim=8 * sizes.width, dropout=0.0,
        num_feature_levels=levels + 1, max_text_len=sizes.context_length + 2, class_cost=2.0,
        auxiliary_loss=True, decoder_bbox_embed_share=False, decoder_cls_embed_share=False)
    return MMGroundingDinoForObjectDetection(config)


def _missing() -> CorekitError:
    return CorekitError("MM-Grounding-DINO needs transformers, 4.56 or newer, and scipy: "
                        "pip install 'corekit[grounding]'")


def _pixel_mask(batch: Tensor, sizes: Sequence[Size]) -> Tensor:
    """1 where a picture is, [B, H, W]."""
    mask = torch.zeros(len(batch), *batch.shape[2:], dtype=torch.int64, device=batch.device)
    for row, (height, width) in zip(mask, sizes):
        row[:height, :width] = 1
    return mask


def scale_of(sizes: Sequence[Size], like: Tensor) -> Tensor:
    """Width, height, width, height of each picture, [B, 4]."""
    return like.new_tensor([[width, height, width, height] for height, width in sizes])
