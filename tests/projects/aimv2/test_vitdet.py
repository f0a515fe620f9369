"""AIMv2 in ViTDet's form: without windows it is the encoder, and kernels may have another size."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from corekit_projects.aimv2.encoder import Encoder
from corekit_projects.aimv2.vitdet import WindowedEncoder
from safetensors.torch import save_file

import corekit
from corekit.checkpoint.initial.init_from import start_from


def encoders(window: int | None) -> tuple[Encoder, WindowedEncoder]:
    torch.manual_seed(0)
    plain = Encoder(128, 8, 4)
    windows = WindowedEncoder(128, 8, 4, window=window)
    windows.load_state_dict(plain.state_dict())
    return plain, windows


@pytest.mark.parametrize("window", [None, 7, 16])
def test_a_window_as_large_as_the_map_gives_the_encoders_own_tokens(window: int | None) -> None:
    plain, windows = encoders(window)
    image = torch.rand(1, 3, 70, 98)
    tokens = plain(image)["tokens"]
    map_ = windows.feature_map(image)
    assert map_.shape == (1, 128, 5, 7)
    assert (map_.flatten(2).transpose(1, 2) - tokens).abs().max() <= 1e-6
    assert torch.equal(plain.feature_map(image), map_)


def test_smaller_windows_change_all_but_the_global_blocks() -> None:
    plain, windows = encoders(3)
    assert [number for number, whole in enumerate(windows.is_global) if whole] == [1, 3, 5, 7]
    with torch.device("meta"):
        model = corekit.create_model("aimv2_vitdet_mask_rcnn_large")
    blocks = model.encoder.is_global
    assert [number for number, whole in enumerate(blocks) if whole] == [5, 11, 17, 23]
    image = torch.rand(1, 3, 70, 98)
    assert not torch.allclose(plain.feature_map(image), windows.feature_map(image), atol=1e-4)


def test_published_kernels_are_resampled_to_16_pixels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = Encoder(128, 1, 4)
    large = WindowedEncoder(128, 1, 4, patch_size=16)
    path = f"{tmp_path}/model.safetensors"
    save_file(small.state_dict(), path)
    lines = start_from(large, path, [], {})
    assert len(lines) == 1
    assert "patch_embed.proj.weight stretched" in lines[0]
    before, after = small.patch_embed.proj.weight, large.patch_embed.proj.weight
    assert torch.allclose(after.sum((2, 3)), before.sum((2, 3)), atol=2e-2)
    # a picture that is 16 / 14 times as large gives nearly the same tokens
    image = torch.rand(1, 3, 4, 4)
    maps = [encoder.feature_map(F.interpolate(image, side, mode="bilinear"))
            for encoder, side in ((small, 56), (large, 64))]
    assert F.cosine_similarity(*maps, dim=1).min() > 0.97
