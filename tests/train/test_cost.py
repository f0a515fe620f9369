"""What a step costs, counted on meta tensors in short: the same as torch counts it at length."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from corekit.models import shapes
from corekit.models.shapes import ShapesOnly
from tests.plain import compose, cost_of, model_of


# batch norms and layer norms of channels; of tokens
@pytest.mark.parametrize("name", ["mobileclip_s3", "mobileclip_l14"])
def test_arithmetic_and_memory_are_those_of_torchs_own_counters(
        name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = compose("+recipe=mobileclip/pairs", f"model.name={name}", "model.width_divisor=2",
                     "model.depth_divisor=6", "data.preprocess.size=224", "engine.micro_batch=8",
                     "engine.batch_size=4096", "dry_run=true")
    cost = cost_of(recipe)
    model = model_of(recipe)
    image, text = torch.zeros(8, 3, 224, 224,
                              device="meta"), torch.zeros(8, 77, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        outputs = model(image, text)
    assert cost.forward_flops == counter.get_total_flops() / 8
    with ShapesOnly():
        shaped = model(image, text)
    assert {key: (value.shape, value.dtype) for key, value in shaped.items()} == \
           {key: (value.shape, value.dtype) for key, value in outputs.items()}
    for norm in (F.batch_norm, F.layer_norm, F.rms_norm):
        monkeypatch.delitem(shapes._INSTEAD, norm)
    assert cost.activations == pytest.approx(
        cost_of(recipe).activations, rel=2e-3)


def test_tensors_with_content_are_normalised_as_ever() -> None:
    values = torch.randn(4, 8)
    with ShapesOnly():
        assert torch.allclose(
            torch.nn.functional.layer_norm(values, (8, )).std(1, correction=0), torch.ones(4),
            atol=1e-4)
