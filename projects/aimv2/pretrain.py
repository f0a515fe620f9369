"""AIM's pre-training: from patches and words to the next ones.

AIMv2 has one causal decoder of both (Fini et al., 2024, section 2); AIMv1 has a head over each
patch (El-Nouby et al., 2024, section 4).
"""

import math
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from corekit import registry
from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.models.layers.attention import AttentionFunction, causal
from corekit.models.layers.linear import LinearHead
from corekit.registry import register

from .blocks import PATCH_SIZE, Images, block, grids_of, mlp, norm, patch_counts, sine_positions
from .encoder import Encoder, EncoderWrapper
from .prefix import Backend, prefix_attention, prefix_lengths

PIXELS = 3 * PATCH_SIZE**2  # values of a patch
Objective = Literal["both", "image", "text"]


class Decoder(nn.Module):
    """A causal decoder over patches and then words, which predicts the next of each.

    A row is the N patches, a learned token for the beginning, and the L tokens of the caption; each
    sees itself and those before it. The output at patch i is patch i + 1; at the beginning, the
    first token; at token l, token l + 1. Text has a position table; patches bring their positions.

    Args:
        encoder_width: of the patches.
        context_length: L.
        objective: what is predicted; patches are always read, text only where it is predicted.
    """

    def __init__(self, encoder_width: int, width: int, layers: int, context_length: int,
                 vocab_size: int, objective: Objective, head_width: int) -> None:
        super().__init__()
        self.objective = objective
        self.projection = nn.Linear(encoder_width, width)
        self.blocks = nn.ModuleList(block(width, head_width=head_width) for _ in range(layers))
        self.norm = norm(width, 2)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        if objective != "text":
            self.patch_head = _head(width, PIXELS, layers)
        if objective != "image":
            self.context_length = context_length
            self.token_embedding = nn.Embedding(vocab_size, width)
            self.cls_token = nn.Parameter(nn.init.normal_(torch.empty(1, 1, width), std=0.02))
            table = torch.empty(1 + context_length, width)
            self.positional_embedding = nn.Parameter(nn.init.normal_(table, std=0.01))
            self.text_head = _head(width, vocab_size, layers)
            nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, patches: Tensor, grids: list[tuple[int, int]],
                text: Tensor | None) -> dict[str, LinearOutput]:
        # the residual stream stays in the parameters' precision under autocast, as that of the
        # encoder does
        x, count = self.projection(patches).to(self.norm.weight.dtype), patches.shape[1]
        if self.objective != "image":
            if text is None:
                raise CorekitError("the decoder says words and was given no text: set "
                                   "model.objective=image")
            if text.shape[1] > self.context_length:
                raise CorekitError(f"captions have {text.shape[1]} tokens, and the decoder is made "
                                   f"for {self.context_length}: have the tokenizer cut them "
                                   "(context_length)")
            words = torch.cat([self.cls_token.expand(text.shape[0], -1, -1),
                               self.token_embedding(text)], 1)
            x = torch.cat([x, words + self.positional_embedding[:words.shape[1]]], 1)
        attention = _unseen_filling([math.prod(grid) for grid in grids], x)
        for layer in self.blocks:
            x = layer(x, attention)
        outputs = {}
        # the norm of each part, because FSDP2 wants no views of one tensor
        if self.objective != "text":
            outputs["patch_predictions"] = self.patch_head(self.norm(x[:, :count - 1]))
        if self.objective != "image":
            outputs["text_logits"] = self.text_head(self.norm(x[:, count:-1]))
        return outputs


class PatchBlock(nn.Module):
    """x + feed-forward(norm(x)) for x of [B, N, D]: a block of AIMv1 without its attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width, 1)
        self.mlp = mlp(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))  # type: ignore[no-any-return]


class PatchDecoder(nn.Module):
    """AIMv1's head: each patch alone, with its position once more, predicts the next one."""

    def __init__(self, encoder_width: int, width: int, layers: int) -> None:
        super().__init__()
        self.projection = nn.Linear(encoder_width, width)
        self.blocks = nn.ModuleList(PatchBlock(width) for _ in range(layers))
        self.norm = norm(width, 1)
        self.patch_head = _head(width, PIXELS, layers)

    def forward(self, patches: Tensor, grids: list[tuple[int, int]],
                text: Tensor | None) -> dict[str, LinearOutput]:
        tables = {grid: sine_positions(*grid, patches) for grid in grids}
        positions = tables[grids[0]]
        if len(tables) > 1:
            positions = pad_sequence([tables[grid] for grid in grids], batch_first=True)
        x = self.projection(patches + positions)[:, :-1].to(self.norm.weight.dtype)
        for layer in self.blocks:
            x = layer(x)
        return {"patch_predictions": self.patch_head(self.norm(x))}


class Pretrainer(EncoderWrapper):
    """An encoder with prefix attention, and the decoder over its tokens after the last norm.

    ``forward`` gives ``patch_predictions``, a ``LinearOutput`` [B, N - 1, 588] whose row i is of
    patch i + 1, and ``text_logits``, a ``LinearOutput`` [B, L, K] whose row l is of token l.
    Without ``uniform`` prefixes come from torch's generator. Pictures of different sizes come as a
    list; what fills up their rows is seen by nothing that counts.
    """

    def __init__(self, encoder: Encoder, decoder: nn.Module, attention: Backend) -> None:
        super().__init__(encoder)
        self.decoder, self.attention = decoder, attention

    def forward(self, image: Images, text: Tensor | None = None,
                uniform: Tensor | None = None) -> dict[str, LinearOutput]:
        grids = grids_of(image)
        uniform = torch.rand(len(grids), device=image[0].device) if uniform is None else uniform
        lengths = prefix_lengths(uniform, patch_counts(image, uniform.device))
        longest = max(math.prod(grid) for grid in grids)
        attention = prefix_attention(lengths, longest, self.attention)
        tokens = self.encoder.features(image, norm=True, attention=attention)["tokens"]
        outputs: dict[str, LinearOutput] = self.decoder(tokens, grids, text)
        return outputs


@register("model", "aimv2_pretrain")
def aimv2_pretrain(encoder: str = "aimv2_large_224", context_length: int = 77,
                   vocab_size: int = 32000, objective: Literal["both", "image", "text"] = "both",
                   attention: Literal["sdpa", "flex"] = "sdpa", decoder_width: int = 1024,
                   decoder_layers: int = 12, width_divisor: int = 1, depth_divisor: int = 1
                   ) -> nn.Module:
    """AIMv2's encoder and its decoder of 12 blocks, 1,024 wide whatever the encoder.

    L comes with 221.4 M of decoder. Gives patch_predictions and text_logits.

    Args:
        encoder: the model that is trained, one of those that give tokens.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        objective: what the decoder predicts: the next patch, the next word, or both.
        attention: of prefixes: sdpa, by a mask of all pairs; flex, by blocks (not on a CPU).
        decoder_width, decoder_layers: the paper's table 9 tries others.
        width_divisor: divides the widths: above 1, a narrow copy, to try things.
        depth_divisor: divides the numbers of blocks (one stays).
    """
    trained = encoder_named(encoder, width_divisor, depth_divisor)
    width, layers = decoder_width // width_divisor, max(1, decoder_layers // depth_divisor)
    decoder = Decoder(trained.width, width, layers, context_length, vocab_size, objective,
                      trained.head_width)
    return Pretrainer(trained, decoder, attention)


@register("model", "aimv1_pretrain")
def aimv1_pretrain(encoder: str = "aimv1_600m", attention: Literal["sdpa", "flex"] = "sdpa",
                   width_divisor: int = 1, depth_divisor: int = 1) -> nn.Module:
    """AIMv1's encoder and its head of 12 blocks, 2,048 wide, over one patch at a time.

    El-Nouby et al., 2024, section 4.2. Gives patch_predictions. Arguments as of aimv2_pretrain.
    """
    trained = encoder_named(encoder, width_divisor, depth_divisor)
    decoder = PatchDecoder(trained.width, 2048 // width_divisor, max(1, 12 // depth_divisor))
    return Pretrainer(trained, decoder, attention)


def _unseen_filling(counts: list[int], row: Tensor) -> AttentionFunction:
    """Causal attention over rows [B, L, D] that ignores what fills up shorter pictures."""
    longest = max(counts)
    if min(counts) == longest:
        return causal
    place = torch.arange(row.shape[1], device=row.device)
    filled = (place < torch.tensor(counts, device=row.device)[:, None]) | (place >= longest)
    mask = filled[:, None, None] & (place <= place[:, None])
    return partial(F.scaled_dot_product_attention, attn_mask=mask)


def encoder_named(name: str, width_divisor: int = 1, depth_divisor: int = 1) -> Encoder:
    """The encoder of a registered name; a CorekitError where the model is no encoder."""
    divisors = {"width_divisor": width_divisor, "depth_divisor": depth_divisor}
    encoder = registry.build("model", name, divisors)
    if not isinstance(encoder, Encoder):
        raise CorekitError(f"model.encoder={name} is no encoder of patches; name one such as "
                           "aimv2_large_224")
    return encoder


def _head(width: int, outputs: int, layers: int) -> LinearHead:
    """A head that starts small after a deep decoder: std (D · (1 + layers))^-½, cut at two."""
    head = LinearHead(width, outputs, bias=False)
    std = (width * (1 + layers)) ** -0.5 / 0.87962566103423978  # what cutting takes away
    nn.init.trunc_normal_(head.weight, std=std, a=-2 * std, b=2 * std)
    return head
