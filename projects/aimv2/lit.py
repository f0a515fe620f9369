"""AIMv2's towers of locked-image tuning (Fini et al., 2024, table 5; Zhai et al., 2022)."""

import torch
from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.models.layers.attention import causal
from corekit.models.layers.pooling import AttentionPool

from .blocks import HEAD_WIDTH, block, norm
from .encoder import Encoder


class ImageTower(nn.Module):
    """An encoder, attention over its tokens, a projection: [B, 3, H, W] to [B, embed_dim].

    The tokens are those after the last norm. ``model.frozen: [image_tower.encoder]`` locks the
    encoder; the other two have to be trained.
    """

    def __init__(self, encoder: Encoder, width: int, embed_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = AttentionPool(width, width, max(1, width // HEAD_WIDTH))
        self.projection = nn.Linear(width, embed_dim, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.encoder.features(image, norm=True)["tokens"]
        features: Tensor = self.projection(self.head(tokens))
        return features

    def dense(self) -> Encoder:
        """The encoder as one of maps."""
        return self.encoder.dense()


class TextTower(nn.Module):
    """Token ids int64 [B, L] to features [B, embed_dim]: those of the first ``end_token``.

    The end token is the last id, as in CLIP. Each token sees itself and those before it, so padding
    after the end needs no mask. A caption without an end is read at its last token.

    Args:
        context_length: most tokens of a caption; shorter rows take the first positions.

    Raises:
        CorekitError: in ``forward``, captions longer than the context.
    """

    def __init__(self, width: int, layers: int, embed_dim: int, context_length: int = 77,
                 vocab_size: int = 49408) -> None:
        super().__init__()
        self.context_length, self.end_token = context_length, vocab_size - 1
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.zeros(context_length, width))
        self.blocks = nn.ModuleList(block(width) for _ in range(layers))
        self.norm = norm(width, 2)
        self.projection = nn.Linear(width, embed_dim, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        tokens = self.tokens(text)
        ends = text == self.end_token
        end_positions = torch.where(ends.any(1), ends.int().argmax(1), text.shape[1] - 1)
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        features: Tensor = self.projection(tokens[rows, end_positions])
        return features

    def tokens(self, text: Tensor) -> Tensor:
        """All tokens after the last norm, [B, L, D]."""
        if text.shape[1] > self.context_length:
            raise CorekitError(f"captions have {text.shape[1]} tokens, and the text tower is made "
                               f"for {self.context_length}: have the tokenizer cut them "
                               "(context_length)")
        x = self.token_embedding(text) + self.positional_embedding[:text.shape[1]]
        for layer in self.blocks:
            x = layer(x, causal)
        return self.norm(x)  # type: ignore[no-any-return]
