"""CatLIP's small encoder under a transformer that finds what a phrase names."""

from torch import nn

from corekit.models.dense.referring import Referring
from corekit.registry import register

from .models import NANO_HEADS, NANO_LAYERS, NANO_WIDTH
from .vit import CatLIP


@register("model", "catlip_referring_nano")
def catlip_referring_nano(image_size: int = 64, context_length: int = 16, vocab_size: int = 49408,
                          layers: int = 2) -> nn.Module:
    """A finder of referring expressions over catlip_vit_nano with patches at stride 8.

    No paper has it. Gives cell_scores, cell_inside, cell_boxes and cell_centers, which loss
    referring reads.

    Args:
        image_size: height and width in pixels that the position table is made for.
        context_length: tokens of a phrase.
        vocab_size: number of token ids.
        layers: blocks of the transformer over cells and words.
    """
    encoder = CatLIP(1, 2 * image_size, NANO_WIDTH, NANO_LAYERS, NANO_HEADS,
                     first_stride=2).dense()
    return Referring(encoder, NANO_WIDTH, layers, NANO_HEADS, context_length, vocab_size)
