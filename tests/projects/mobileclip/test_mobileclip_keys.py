"""Our names and shapes against the lists of Apple's published weights, by the table that converts between them."""

import json
import re
from pathlib import Path

import pytest
import torch

import corekit

DATA = Path(__file__).parents[2] / "data" / "mobileclip"

CONVOLUTIONAL = [  # names inside MobileOne and RepMixer blocks
    (r"\.conv_kxk\.", ".rbr_conv."), (r"\.conv_scale\.", ".rbr_scale."), (r"\.identity\.", ".rbr_skip."),
    (r"\.large_conv\.", ".lkb_origin."), (r"\.mlp\.", ".convffn."), (r"\.gamma$", ""), (r"\.pos_enc\.", ".pe."),
]
TRANSFORMER = [
    (r"\.(ln_1|norm1)\.", ".pre_norm_mha.0."), (r"\.attn\.(in_proj_|qkv\.)", ".pre_norm_mha.1.qkv_proj."),
    (r"\.attn\.(out_proj|proj)\.", ".pre_norm_mha.1.out_proj."), (r"\.(ln_2|norm2)\.", ".pre_norm_ffn.0."),
    (r"\.mlp\.(c_fc|fc1)\.", ".pre_norm_ffn.1."), (r"\.mlp\.(c_proj|fc2)\.", ".pre_norm_ffn.4."),
]
IMAGE_S0 = [
    (r"^stem\.", "patch_embed."), (r"^final_conv\.se\.fc1", "conv_exp.se.reduce"),
    (r"^final_conv\.se\.fc2", "conv_exp.se.expand"), (r"^final_conv\.", "conv_exp."),
    (r"^head\.fc\.weight", "head.proj"),
    (r"^stages\.0\.blocks\.", "network.0."), (r"^stages\.1\.downsample\.", "network.1."),
    (r"^stages\.1\.blocks\.", "network.2."), (r"^stages\.2\.downsample\.", "network.3."),
    (r"^stages\.2\.blocks\.", "network.4."), (r"^stages\.3\.downsample\.", "network.5."),
    (r"^stages\.3\.pos_emb\.", "network.6."), (r"^stages\.3\.blocks\.", "network.7."),
    *CONVOLUTIONAL,
]
IMAGE_B = [
    (r"^patch_embed\.backbone\.(\d)\.conv\.", r"patch_emb.\1.block.conv."),
    (r"^patch_embed\.backbone\.(\d)\.bn\.", r"patch_emb.\1.block.norm."), (r"^blocks\.", "transformer."),
    (r"^norm\.", "post_transformer_norm."), (r"^head\.weight", "classifier.proj"),
    (r"^pos_embed$", "pos_embed.pos_embed.pos_embed"), *TRANSFORMER,
]
TEXT = [
    (r"^token_embedding\.", "embedding_layer."),
    (r"^positional_embedding$", "positional_embedding.pos_embed.pos_embed"),
    (r"^ln_final\.", "final_layer_norm."), (r"^text_projection$", "projection_layer"),
    (r"^transformer\.resblocks\.", "transformer."),
]
TOWERS = {
    "s0": {"image_tower.": ("image_encoder.model.", IMAGE_S0),
           "text_tower.": ("text_encoder.", [*TEXT, *TRANSFORMER[:4], (r"\.mlp\.c_fc\.", ".pre_norm_ffn.1."),
                                             (r"\.mlp\.c_proj\.", ".pre_norm_ffn.4."), *CONVOLUTIONAL])},
    "b": {"image_tower.": ("image_encoder.model.", IMAGE_B),
          "text_tower.": ("text_encoder.", [*TEXT, *TRANSFORMER])},
}
TRANSPOSED = ("head.proj", "classifier.proj")


def apple_name(name: str, variant: str) -> str:
    for ours, (theirs, rules) in TOWERS[variant].items():
        if name.startswith(ours):
            name = name.removeprefix(ours)
            for pattern, replacement in rules:
                name = re.sub(pattern, replacement, name)
            return theirs + name
    return name


@pytest.mark.parametrize("variant", ["s0", "b"])
def test_names_and_shapes_are_apples(variant: str) -> None:
    with torch.device("meta"):
        model = corekit.create_model(f"mobileclip_{variant}")
    golden = json.loads((DATA / f"apple_keys_{variant}.json").read_text())
    found = {}
    for name, value in model.state_dict().items():
        theirs, shape = apple_name(name, variant), list(value.shape)
        if theirs.endswith(TRANSPOSED):
            shape.reverse()
        if theirs.endswith("pos_embed.pos_embed"):
            shape = [1] * (4 - len(shape)) + shape
        found[theirs] = shape
    assert found == golden
