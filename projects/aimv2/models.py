"""AIMv2's encoders (Fini et al., 2024, table 1) and AIMv1's (El-Nouby et al., 2024, table 1).

Each gives tokens and pooled, after its last norm; ``features`` gives chosen layers, before the norm
or after it. Patches have 14x14 pixels.
"""

from torch import nn

from corekit.models.clip import CLIP
from corekit.registry import register

from .encoder import Encoder
from .lit import ImageTower, TextTower


# The nano's heads are 32 wide: of the other models' 128 it would have one, which learns much more
# slowly.
@register("model", "aimv2_nano",
          "A small encoder for 70x70 pixels, for first runs; no paper has it: 1.7 M parameters.",
          width=128, layers=6, grid_size=5, head_width=32)
@register("model", "aimv2_base_224",
          "AIMv2-base at 224x224 pixels: 85.6 M parameters; of its authors' code, not the paper.",
          width=768, layers=12, grid_size=16)
@register("model", "aimv2_base_336", "AIMv2-base at 336x336 pixels: 85.8 M parameters.",
          width=768, layers=12, grid_size=24)
@register("model", "aimv2_base_448", "AIMv2-base at 448x448 pixels: 86.2 M parameters.",
          width=768, layers=12, grid_size=32)
@register("model", "aimv2_large_224", "AIMv2-L at 224x224 pixels: 309.2 M parameters.",
          width=1024, layers=24, grid_size=16)
@register("model", "aimv2_large_336", "AIMv2-L at 336x336 pixels: 309.5 M parameters.",
          width=1024, layers=24, grid_size=24)
@register("model", "aimv2_large_448", "AIMv2-L at 448x448 pixels: 310.0 M parameters.",
          width=1024, layers=24, grid_size=32)
@register("model", "aimv2_huge_224", "AIMv2-H at 224x224 pixels: 680.9 M parameters.",
          width=1536, layers=24, grid_size=16)
@register("model", "aimv2_huge_336", "AIMv2-H at 336x336 pixels: 681.3 M parameters.",
          width=1536, layers=24, grid_size=24)
@register("model", "aimv2_huge_448", "AIMv2-H at 448x448 pixels: 682.0 M parameters.",
          width=1536, layers=24, grid_size=32)
@register("model", "aimv2_1b_224", "AIMv2-1B at 224x224 pixels: 1,235.0 M parameters.",
          width=2048, layers=24, grid_size=16)
@register("model", "aimv2_1b_336", "AIMv2-1B at 336x336 pixels: 1,235.6 M parameters.",
          width=2048, layers=24, grid_size=24)
@register("model", "aimv2_1b_448", "AIMv2-1B at 448x448 pixels: 1,236.5 M parameters.",
          width=2048, layers=24, grid_size=32)
@register("model", "aimv2_3b_224", "AIMv2-3B at 224x224 pixels: 2,720.7 M parameters.",
          width=3072, layers=24, grid_size=16)
@register("model", "aimv2_3b_336", "AIMv2-3B at 336x336 pixels: 2,721.6 M parameters.",
          width=3072, layers=24, grid_size=24)
@register("model", "aimv2_3b_448", "AIMv2-3B at 448x448 pixels: 2,723.0 M parameters.",
          width=3072, layers=24, grid_size=32)
@register("model", "aimv2_large_native",
          "AIMv2-L for pictures of any size and shape up to 4,096 patches: 308.9 M parameters.",
          width=1024, layers=24, most_patches=4096)
@register("model", "aimv1_600m", "AIMv1-0.6B: 680.5 M parameters; made for 224x224 pixels.",
          width=1536, layers=24, generation=1)
@register("model", "aimv1_1b", "AIMv1-1B: 1,209.4 M parameters; made for 224x224 pixels.",
          width=2048, layers=24, generation=1)
@register("model", "aimv1_3b", "AIMv1-3B: 2,720.0 M parameters; made for 224x224 pixels.",
          width=3072, layers=24, generation=1)
@register("model", "aimv1_7b", "AIMv1-7B: 6,445.4 M parameters; made for 224x224 pixels.",
          width=4096, layers=32, generation=1)
def aim(width_divisor: int = 1, depth_divisor: int = 1, *, width: int, layers: int,
        grid_size: int | None = None, most_patches: int | None = None, head_width: int = 128,
        generation: int = 2) -> nn.Module:
    """An encoder of the AIM family.

    Args:
        width_divisor: divides the width: above 1, a narrow copy of the model, for trying things.
        depth_divisor: divides the number of blocks (one stays).
        width: of the tokens.
        layers: transformer blocks.
        grid_size: rows and columns of patches in the position table; None: sines as positions.
        most_patches: a picture with more is refused; None: any number.
        head_width: of the attention heads.
        generation: 1 for AIMv1, 2 for AIMv2.
    """
    return Encoder(width // width_divisor, max(1, layers // depth_divisor), grid_size=grid_size,
                   most_patches=most_patches, head_width=head_width, generation=generation)


@register("model", "aimv2_large_lit")
def aimv2_large_lit(embed_dim: int = 768, context_length: int = 77, vocab_size: int = 49408,
                    width_divisor: int = 1, depth_divisor: int = 1) -> nn.Module:
    """AIMv2-L at 224x224 pixels and a text tower beside it, locked: 313.1 M + 123.5 M parameters.

    Gives image_features, text_features, logit_scale.

    Args:
        embed_dim: width of the features.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        width_divisor: divides widths: above 1, a narrow copy of the model, for trying things.
        depth_divisor: divides the number of blocks of each tower (one stays).
    """
    width = 1024 // width_divisor
    encoder = Encoder(width, max(1, 24 // depth_divisor), grid_size=16)
    image_tower = ImageTower(encoder, width, embed_dim)
    text_tower = TextTower(768 // width_divisor, max(1, 12 // depth_divisor), embed_dim,
                           context_length, vocab_size)
    return CLIP(image_tower, text_tower, least_logit_scale=1.0)  # as in Apple's code
