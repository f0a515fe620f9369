"""Referring expressions: where in a picture is what a phrase names."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.dense.encoder import DenseEncoder, maps_of
from corekit.models.layers.attention import Attention
from corekit.models.layers.block import Block
from corekit.models.layers.mlp import MLP

WAVES = 4  # of a cell's place in the picture: half a period over it, one, two and four


class Referring(nn.Module):
    """One transformer over the cells of an encoder's map and the words of a phrase.

    Every cell gives a score and a box; the box of the best cell is the answer. The sides of a box
    are as far from the middle of its cell as ``softplus`` of four outputs says, in strides.

    Args:
        encoder: a ``DenseEncoder``, whose coarsest map counts.
        width, layers, heads: of the transformer.
        context_length: most tokens of a phrase.
        vocab_size: number of token ids, of which the last ends a phrase.
    """

    towers = ("encoder",)

    def __init__(self, encoder: nn.Module, width: int, layers: int, heads: int,
                 context_length: int, vocab_size: int) -> None:
        super().__init__()
        assert isinstance(encoder, DenseEncoder)
        self.encoder, self.stride = encoder, encoder.strides[-1]
        self.context_length, self.end_token = context_length, vocab_size - 1
        self.projection = nn.Linear(encoder.widths[-1], width)
        self.place = nn.Linear(4 * WAVES, width)
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.blocks = nn.ModuleList(
            Block(width, Attention(width, heads), MLP(width, 4 * width)) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.score, self.inside = nn.Linear(width, 1), nn.Linear(width, 1)
        self.box = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.02)

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """What every cell says.

        Args:
            image: float [B, 3, H, W].
            text: int64 [B, L], ended by the last id of the vocabulary.

        Returns:
            ``cell_scores`` [B, N]; ``cell_inside`` [B, N], logits of being in the box;
            ``cell_boxes`` [B, N, 4], x1 y1 x2 y2 in pixels; and ``cell_centers`` [B, N, 2], x y in
            pixels.
        """
        features = maps_of(self.encoder, image)[-1]
        centers = self._centers(features)
        places = self.place(_waves(centers / centers.new_tensor(image.shape[:1:-1])))
        cells = self.projection(features.flatten(2).transpose(1, 2)) + places
        words = self.token_embedding(text) + self.positional_embedding[:text.shape[1]]
        x, count = torch.cat([cells, words], 1), cells.shape[1]
        # padding follows the end of the phrase
        end = (text == self.end_token).int().argmax(1, keepdim=True)
        is_word = torch.arange(text.shape[1], device=text.device) <= end
        mask = F.pad(is_word, (count, 0), value=True)[:, None, None]
        attention = partial(F.scaled_dot_product_attention, attn_mask=mask)
        for block in self.blocks:
            x = block(x, attention)
        cells = self.norm(x[:, :count])
        reach = self.stride * F.softplus(self.box(cells).float())
        boxes = torch.cat([centers - reach[..., :2], centers + reach[..., 2:]], -1)
        return {"cell_scores": self.score(cells)[..., 0], "cell_inside": self.inside(cells)[..., 0],
                "cell_boxes": boxes, "cell_centers": centers.expand(len(image), -1, -1)}

    @torch.no_grad()
    def refer(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """``boxes`` [B, N, 4] in pixels of the image, best first, and their ``scores`` [B, N]."""
        outputs = self(image, text)
        scores, order = outputs["cell_scores"].float().softmax(1).sort(1, descending=True)
        boxes = outputs["cell_boxes"].gather(1, order[..., None].expand(-1, -1, 4))
        return {"boxes": boxes, "scores": scores}

    def _centers(self, features: Tensor) -> Tensor:
        """The middle of each cell, float [h · w, 2]: x y in pixels."""
        rows, columns = (self.stride * (torch.arange(side, device=features.device) + 0.5)
                         for side in features.shape[2:])
        return torch.cartesian_prod(rows, columns).flip(-1)


def _waves(places: Tensor) -> Tensor:
    """Sines and cosines of places [N, 2], shares of the picture's sides: [N, 4 · WAVES]."""
    angles = places[..., None] * math.pi * 2.0**torch.arange(WAVES, device=places.device)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)
