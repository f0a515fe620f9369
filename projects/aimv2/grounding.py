"""MM-Grounding-DINO over AIMv2's encoder in ViTDet's form (Fini et al., 2024, section 4.2).

The paper does not say which blocks are global, how many levels there are, or which text encoder
reads the phrase. Here it is ViTDet's encoder, MM-Grounding-DINO's four levels, and BERT base.
"""

from functools import partial

from torch import nn

from corekit.models.dense.models import NORM_EPS
from corekit.models.dense.pyramid import FeaturePyramid, SimplePyramid
from corekit.models.layers.norm import LayerNorm2d
from corekit.registry import register

from .grounding_dino import GroundingDino, Sizes
from .vitdet import WindowedEncoder

SCALES = (2, 1, 0.5)  # of the map; the detector adds one more level at half the last


@register("model", "aimv2_mm_grounding_dino_large",
          "MM-Grounding-DINO over AIMv2-L in ViTDet's form, 458.0 M parameters.")
def aimv2_mm_grounding_dino_large(
        context_length: int = 256, vocab_size: int = 30522, end_token: int | None = None,
        bert_ids: bool = False, queries: int = 900, patch_size: int = 16, window: int | None = 16,
        pretrained_grid: int = 16, drop_path_rate: float = 0.0, width_divisor: int = 1,
        depth_divisor: int = 1) -> nn.Module:
    """MM-Grounding-DINO over AIMv2-L in ViTDet's form. Gives what loss mm_grounding_dino reads.

    Args:
        context_length: tokens of a phrase, those of its start and end among them.
        vocab_size: number of the tokenizer's ids.
        end_token: the id that ends a phrase, where no other starts it, as SentencePiece's. None:
            the last two ids start and end a phrase, as CLIP's.
        bert_ids: ids are those of BERT's uncased vocabulary, whose weights then fit.
        queries: boxes of a picture.
        patch_size: 14, as published, or 16: published kernels are then resampled.
        window: patches of a window's side; None: every block sees the whole picture.
        pretrained_grid: rows and columns of the position table.
        drop_path_rate: stochastic depth of the encoder's last block.
        width_divisor: divides widths: above 1, a narrow copy of the model, for trying things.
        depth_divisor: divides the number of blocks (one stays).
    """
    encoder = WindowedEncoder(1024 // width_divisor, max(1, 24 // depth_divisor), pretrained_grid,
                              patch_size=patch_size, window=window, drop_path_rate=drop_path_rate)
    layers = max(1, 6 // depth_divisor)
    sizes = Sizes(context_length, vocab_size, end_token, bert_ids, queries,
                  width=max(32, 256 // width_divisor), heads=8, layers=layers,
                  text_width=768 // width_divisor, text_layers=max(1, 12 // depth_divisor),
                  text_heads=max(1, 12 // width_divisor))
    return _over(encoder, sizes)


@register("model", "aimv2_mm_grounding_dino_nano")
def aimv2_mm_grounding_dino_nano(context_length: int = 16, vocab_size: int = 49408,
                                 queries: int = 20, width: int = 64,
                                 layers: int = 2) -> nn.Module:
    """A small MM-Grounding-DINO over an AIMv2 with patches of 8 pixels, for pictures of 64.

    No paper has it. Gives what loss mm_grounding_dino reads.

    Args:
        context_length: tokens of a phrase.
        vocab_size: number of token ids, of which the last two start and end a phrase.
        queries: boxes of a picture.
        width: of the detector; the encoder's is twice as large.
        layers: blocks of the encoder, of the text encoder, and of the detector's two halves.
    """
    encoder = WindowedEncoder(2 * width, layers, 8, patch_size=8, window=None, head_width=32)
    sizes = Sizes(context_length, vocab_size, None, False, queries, width=width, heads=4,
                  layers=layers, text_width=width, text_layers=layers, text_heads=2)
    return _over(encoder, sizes, SCALES[1:])


def _over(encoder: WindowedEncoder, sizes: Sizes,
          scales: tuple[float, ...] = SCALES) -> GroundingDino:
    norm_layer = partial(LayerNorm2d, eps=NORM_EPS)
    simple = SimplePyramid(encoder.widths[0], scales, norm_layer)
    levels = FeaturePyramid(simple.widths, sizes.width, norm_layer, top_down=False)
    return GroundingDino(encoder, nn.Sequential(simple, levels), len(scales), sizes)
