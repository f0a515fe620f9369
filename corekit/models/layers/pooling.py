"""Pooling by attention: one learned query looks at all tokens of an image."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.errors import CorekitError


class AttentionPool(nn.Module):
    """A learned query looks at all tokens, and a linear layer follows: [B, N, D] to [B, outputs].

    Keys and values have no bias, the query is not projected (El-Nouby et al., 2024, 4.2).
    """

    def __init__(self, width: int, outputs: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise CorekitError(f"{heads} heads of attention do not divide a width of {width}")
        self.heads = heads
        self.cls_token = nn.Parameter(nn.init.normal_(torch.empty(1, 1, width), std=0.02))
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.linear = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.cls_token.expand(tokens.shape[0], -1, -1), self.k(tokens), self.v(tokens)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.linear(mixed.flatten(1))  # type: ignore[no-any-return]

    def copies(self, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """The outputs of G such modules for the same tokens: [B, N, D] to [G, B, outputs].

        With a single query, keys and values need not be computed for every token: the query's
        product with the key W x is that of W^T q with x, and the mean of values W x is W of the
        mean of x. So all modules read the tokens together, twice, in D / heads times less
        arithmetic. Their parameters are stacked, [G, ...].
        """
        query, key, value = (parameters[name] for name in ("cls_token", "k.weight", "v.weight"))
        count, width = query.shape[0], query.shape[-1]
        split = (count, self.heads, width // self.heads)
        query, key = query.view(split), key.view(*split, width)
        query = torch.einsum("ghd,ghdw->ghw", query, key) * split[2] ** -0.5
        weights = (tokens @ query.flatten(0, 1).T).softmax(1)  # [B, N, G · heads]
        means = (weights.transpose(1, 2) @ tokens).view(tokens.shape[0], count, self.heads, width)
        mixed = torch.einsum("bghw,ghdw->gbhd", means, value.view(*split, width)).flatten(2)
        weight, bias = parameters["linear.weight"], parameters["linear.bias"]
        return torch.baddbmm(bias[:, None], mixed, weight.transpose(1, 2))
