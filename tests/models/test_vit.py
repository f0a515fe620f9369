"""The vision transformer against open_clip's, and its positions at other sizes."""

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

import corekit
from corekit.models.layers.patch_embed import PatchEmbed
from corekit.models.vit import ViT

NAMES = {  # open_clip's names of the image tower's parts, and ours
    "transformer.resblocks.": "blocks.", "ln_pre.": "norm_pre.", "ln_post.": "norm.",
    "conv1.": "patch_embed.proj.", ".ln_1.": ".norm1.", ".ln_2.": ".norm2.",
    "in_proj_": "qkv.", "out_proj": "proj", "c_fc": "fc1", "c_proj": "fc2",
}


def from_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of open_clip's ViT-B-16 under our names."""
    ours = {"logit_scale": state["logit_scale"]}
    for name, value in state.items():
        if name == "visual.proj":
            ours["image_tower.head.weight"] = value.T
        elif name == "visual.class_embedding":
            ours["image_tower.cls_token"] = value[None, None]
        elif name == "visual.positional_embedding":
            ours["image_tower.pos_embed"] = value[None]
        elif name.startswith("visual."):
            name = name.removeprefix("visual.")
            for theirs, our in NAMES.items():
                name = name.replace(theirs, our)
            ours["image_tower." + name] = value
        elif name not in ("logit_scale", "attn_mask"):
            ours["text_tower." + name] = value
    return ours


def test_clip_vit_b16_agrees_with_open_clip() -> None:
    torch.manual_seed(0)
    theirs = open_clip.create_model("ViT-B-16").eval()
    for name, parameter in theirs.named_parameters(
    ):  # biases and norms start at 0 and 1, which would hide errors
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter,
                                  mean=float("ln_" in name and "weight" in name),
                                  std=0.1)
    with torch.device("meta"):
        ours = corekit.create_model("clip_vit_b16").eval()
    ours.load_state_dict(from_open_clip(theirs.state_dict()), assign=True)
    image = torch.randn(2, 3, 224, 224)
    text = torch.zeros(2, 77, dtype=torch.long)
    text[0, :5] = torch.tensor([49406, 320, 1125, 539, 49407])
    text[1, :3] = torch.tensor([49406, 2368, 49407])
    with torch.no_grad():
        outputs = ours(image, text)
        expected = (theirs.encode_image(image,
                                        normalize=True), theirs.encode_text(text, normalize=True))
    assert (expected[0][0] - expected[0][1]).abs().max() > 1e-2
    torch.testing.assert_close(outputs["image_features"], expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs["text_features"], expected[1], rtol=0, atol=1e-5)


def test_parameter_counts_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        model = corekit.create_model("clip_vit_b16")
    assert sum(parameter.numel() for parameter in model.image_tower.parameters()) == 86_192_640
    assert sum(parameter.numel() for parameter in model.text_tower.parameters()) == 63_428_096


@pytest.mark.parametrize("class_position", [True, False])
def test_positions_at_other_sizes_are_interpolated_bilinearly(class_position: bool) -> None:
    torch.manual_seed(0)
    tower = ViT(PatchEmbed(8, 4),
                4,
                width=8,
                layers=1,
                heads=2,
                embed_dim=4,
                class_position=class_position)
    table = tower.pos_embed.detach().numpy()[0]
    grid = (table[1:] if class_position else table).reshape(4, 4, 8)

    def along(axis: int, values: np.ndarray, length: int) -> np.ndarray:
        centres = (np.arange(length) + 0.5) * 4 / length - 0.5
        return np.apply_along_axis(lambda line: np.interp(centres, np.arange(4), line), axis,
                                   values)

    first, patches = tower.positions(6, 3)
    np.testing.assert_allclose(patches.detach().numpy()[0],
                               along(1, along(0, grid, 6), 3).reshape(18, 8),
                               atol=1e-7)
    assert (first is None) == (not class_position)
    assert torch.isfinite(tower(torch.randn(2, 3, 24, 12))).all()


def test_stochastic_depth_grows_linearly_and_stops_outside_training() -> None:
    torch.manual_seed(0)
    tower = ViT(PatchEmbed(8, 4), 4, width=8, layers=3, heads=2, embed_dim=4, drop_path_rate=0.4)
    rates = [block.drop_path.rate for block in tower.blocks]
    assert rates == pytest.approx([0, 0.2, 0.4])
    image = torch.randn(16, 3, 16, 16)
    assert not torch.allclose(tower(image), tower(image))
    tower.eval()
    assert torch.equal(tower(image), tower(image))
