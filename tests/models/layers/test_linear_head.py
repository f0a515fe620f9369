"""A head whose output is not computed."""

import torch
import torch.nn.functional as F

from corekit.linear_output import LinearOutput
from corekit.models.layers.linear import LinearHead


def test_a_linear_head_gives_its_factors_and_is_called() -> None:
    torch.manual_seed(0)
    head, hidden, calls = LinearHead(4, 9), torch.randn(2, 4), []
    head.register_forward_hook(lambda module, inputs, output: calls.append(output))
    output = head(hidden)
    assert isinstance(output, LinearOutput)
    assert calls == [output]
    assert torch.equal(output.dense(), F.linear(hidden, head.weight, head.bias))
    assert torch.equal(output + torch.ones(2, 9), output.dense() + 1), "as adapters add to a layer"
