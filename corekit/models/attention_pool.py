"""Pooling by attention: one learned query looks at all tokens of an image."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from corekit.errors import CorekitError


class AttentionPool(nn.Module):
    """A learned query looks at all tokens, and a linear layer follows: [B, N, D] to [B, outputs] (El-Nouby et al., 2024, 4.2).

    Keys and values have no bias, the query is not projected. With a single query they need not be made for every token: its
    product with the key W x is that of W^T q with x, and the mean of values W x is W of the mean of x. That is the same
    function in D / heads times less arithmetic.

    Args:
        width: D.
        outputs: of the linear layer.
        heads: of the attention; divides the width.

    Raises:
        CorekitError: the heads do not divide the width.
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
        return self.copies({name: value[None] for name, value in self.named_parameters()}, tokens)[0]

    def copies(self, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """What G such modules with parameters [G, ...] give for the same tokens [B, N, D]: [G, B, outputs].

        All of them read the tokens together, twice.
        """
        query, key, value = parameters["cls_token"], parameters["k.weight"], parameters["v.weight"]
        count, width = query.shape[0], query.shape[-1]
        split = (count, self.heads, width // self.heads)
        asked = torch.einsum("ghd,ghdw->ghw", query.view(split), key.view(*split, width)) * split[2] ** -0.5
        share = (tokens @ asked.flatten(0, 1).T).softmax(1)  # [B, N, G · heads]
        seen = (share.transpose(1, 2) @ tokens).view(tokens.shape[0], count, self.heads, width)
        mixed = torch.einsum("bghw,ghdw->gbhd", seen, value.view(*split, width)).flatten(2)
        return torch.baddbmm(parameters["linear.bias"][:, None], mixed, parameters["linear.weight"].transpose(1, 2))
