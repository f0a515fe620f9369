"""What counts as a layer, where parameters stand in the depth of their tower, and what recomputing
a layer changes.
"""

import pytest
import torch
from torch import nn

from corekit import create_model
from corekit.distributed.activation_checkpointing import recompute_layers
from corekit.models.layer_list import all_layers, layers, towers
from corekit.optim.adamw import adamw
from corekit.optim.layer_decay import depths
from tests.plain import compose, cost_of


def test_towers_of_a_clip_and_their_layers() -> None:
    with torch.device("meta"):
        model = create_model("mobileclip_s0")
    assert [path for path, _ in towers(model)] == ["image_tower.", "text_tower."]
    # the blocks of four stages; 1 + 4 + 1
    assert [len(layers(tower)) for _, tower in towers(model)] == [2 + 6 + 10 + 2, 6]


def test_operations_side_by_side_are_no_layers() -> None:
    head = nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2))
    assert layers(head) == []
    assert towers(nn.ModuleDict({"head": head})) == []
    stack = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.GELU()))
    assert all_layers(nn.ModuleDict({"stack": stack, "head": head})) == list(stack)


def test_depths_follow_the_forward_pass() -> None:
    with torch.device("meta"):
        model = create_model("clip_vit_b16")
    actual = depths(model)
    expected = {
        "image_tower.cls_token": 0, "image_tower.pos_embed": 0,
        "image_tower.patch_embed.proj.weight": 0, "image_tower.blocks.0.norm1.weight": 1,
        "image_tower.blocks.11.mlp.fc2.bias": 12, "image_tower.norm.weight": 13,
        "image_tower.head.weight": 13, "text_tower.token_embedding.weight": 0,
        "text_tower.positional_embedding": 0,
        "text_tower.transformer.resblocks.11.norm1.weight": 12, "text_tower.text_projection": 13
    }
    assert {name: actual[name]
            for name in expected} == {name: (depth, 13) for name, depth in expected.items()}
    assert actual["logit_scale"] == (1, 1)
    with torch.device("meta"):
        strided = depths(create_model("mobileclip_s0"))
    # after two blocks
    assert strided["image_tower.stages.1.downsample.proj.0.large_conv.conv.weight"] == (2, 21)
    assert strided["image_tower.stages.3.blocks.1.mlp.fc1.weight"] == (20, 21)


def test_the_learning_rate_decays_towards_the_input() -> None:
    model = create_model("mobileclip_nano")
    optimizer = adamw(model, 1e-3, weight_decay=0.2, no_decay=["norms"], layer_decay=0.7)
    scale_of = {id(value): group["lr_scale"] for group in optimizer.param_groups
                for value in group["params"]}
    actual = {name: scale_of[id(value)] for name, value in model.named_parameters()}
    assert len(actual) == len(scale_of)
    assert actual["logit_scale"] == actual["image_tower.head.fc.weight"] == 1
    # five blocks lie above the stem
    assert actual["image_tower.stem.0.conv_kxk.0.conv.weight"] == pytest.approx(0.7**6)
    assert actual["text_tower.token_embedding.weight"] == pytest.approx(0.7**5)
    assert {group["lr_scale"] for group in adamw(model, 1e-3).param_groups} == {1.0}


def test_recomputed_layers_have_the_same_gradients_and_update_statistics_once() -> None:
    actual = {}
    for recompute in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.3))
              for _ in range(3)))
        calls = []
        model[1][0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        if recompute:
            recompute_layers(model)
        torch.manual_seed(1)
        model(torch.rand(4, 3, 9, 9)).square().sum().backward()
        assert len(calls) == 1 + recompute
        gradients = {name: value.grad for name, value in model.named_parameters()}
        actual[recompute] = {
            **gradients, **{name: value.clone() for name, value in model.named_buffers()}
        }
    assert actual[True].keys() == actual[False].keys()
    for name, value in actual[False].items():
        assert torch.equal(value, actual[True][name]), name
    assert int(actual[True]["1.1.num_batches_tracked"]) == 1


def test_recomputed_layers_keep_less_for_the_backward_pass() -> None:
    activations = {}
    for recompute in ("false", "true"):
        recipe = compose("+recipe=mobileclip/s0", "engine.micro_batch=16", "dry_run=true",
                         f"engine.activation_checkpointing={recompute}")
        activations[recompute] = cost_of(recipe).activations
    assert activations["true"] < activations["false"] / 3
