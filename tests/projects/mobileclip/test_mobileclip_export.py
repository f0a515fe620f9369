"""Every kind of tower, folded and exported, against its training form: ONNX by onnxruntime, and
torch.export's files.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from corekit_projects.mobileclip.mci import MCi
from torch import Tensor, nn

import corekit
from corekit.export.export import Tower
from corekit.export.files import trace, write_onnx, write_torch
from corekit.models.clip import CLIP
from corekit.models.conv_stem import ConvStem
from corekit.models.layers.patch_embed import PatchEmbed
from corekit.models.text_tower import TextTransformer
from corekit.models.vit import ViT

PIXELS, LENGTH, WORDS = 64, 12, 50
PATHS = [str(Path(place).parent).encode() for place in (corekit.__file__, torch.__file__, __file__)]


class BothViTs(nn.Module):
    """B's (a stem, a class token without a position) and L/14's (a norm before the blocks), added
    up: one export for two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.b = ViT(ConvStem(32, padding=1), 4, 32, 2, 2, 8, class_position=False)
        self.l14 = ViT(PatchEmbed(32, 16, bias=False), 4, 32, 2, 2, 8, norm_pre=True,
                       head_bias=True)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.b(image) + self.l14(image)
        return features


# MCi with squeeze-excite and the hybrid text tower: tests/cli, mobileclip_nano
TOWERS: dict[str, Callable[[], nn.Module]] = {
    "MCi with layer norm, as S3's": lambda: MCi(
        (1, 1, 1), (16, 32, 32), 8, attention_stages=2, squeeze_excite=(
            False, ) * 3, layer_norm=True, stem_scale_branch=False, head_bias=True),
    "ViTs": BothViTs,
    "text, causal": lambda: TextTransformer(32, 2, 2, 8, causal=True, context_length=LENGTH,
                                            vocab_size=WORDS),
}


def samples(count: int, text: bool) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    if not text:
        return torch.randn(count, 3, PIXELS, PIXELS, generator=generator)
    ids = torch.randint(1, WORDS - 1, (count, LENGTH), generator=generator)
    for row, end in zip(ids, torch.randint(1, LENGTH, (count,), generator=generator)):
        row[end], row[end + 1:] = WORDS - 1, 0
    return ids


@pytest.mark.parametrize("name", TOWERS)
def test_a_file_gives_what_the_training_form_gives(name: str, randomize: Callable[[nn.Module],
                                                                                  None],
                                                   tmp_path: Path) -> None:
    text, kind = "text" in name, "text" if "text" in name else "image"
    wrap, output = partial(Tower, kind=kind), f"{kind}_features"
    other = nn.Linear(1000, 1000)  # a tower that has no business in the file
    model = (CLIP(other, TOWERS[name]()) if text else CLIP(TOWERS[name](), other)).eval()
    randomize(model)
    with torch.no_grad():
        folded = corekit.reparameterize(model)
        program = trace(wrap(folded), samples(2, text), dynamic=True)
        runs = {write: write(program, tmp_path / write.__name__, "given", [output], "a tower")
                for write in (write_onnx, write_torch)}
        for count in (1, 2, 5):
            expected = wrap(model)(samples(count, text))[output]
            torch.testing.assert_close(expected.norm(dim=-1), torch.ones(count))
            assert count == 1 or expected.std(0).max() > 0.01, "features that tell samples apart"
            for run in runs.values():
                assert (run(samples(count, text))[output] - expected).abs().max() < 1e-5
    weights = sum(value.numel()
                  for value in (folded.text_tower if text else folded.image_tower).parameters())
    for write in runs:
        content = (tmp_path / write.__name__).read_bytes()
        assert 4 * weights < len(content) < 4 * weights + 1_000_000
        assert not any(path in content for path in PATHS)
