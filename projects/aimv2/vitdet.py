"""AIMv2's encoder in ViTDet's form under a Mask R-CNN (Fini et al., 2024, section 4.2).

Attention in windows but for four blocks (Li et al., 2022), a simple pyramid, and each level alone.
The paper does not say which way it took from patches of 14 pixels to pictures of 1024: here patches
stay (1022 pixels are 73 of them), or their kernels are resampled to 16 pixels (1024 are 64).
"""

from typing import Literal

from torch import Tensor, nn

from corekit.models.dense.models import mask_rcnn
from corekit.models.dense.windows import windowed
from corekit.models.layers.attention import bidirectional
from corekit.models.layers.drop_path import DropPath, drop_path_rates
from corekit.registry import register

from .blocks import HEAD_WIDTH
from .encoder import Encoder

GLOBAL = 4  # blocks that see the whole map: the last of each quarter


class WindowedEncoder(Encoder):
    """AIMv2's encoder, most of whose blocks attend in windows.

    With a window as large as the map its map is the encoder's own.

    Args:
        width, layers, grid_size: as of Encoder.
        patch_size: pixels of a patch's side.
        window: cells of a window's side; None: every block sees the whole map.
        drop_path_rate: stochastic depth of the last block.
        head_width: of an attention head.
    """

    of_last_layer = ("norm",)

    def __init__(self, width: int, layers: int, grid_size: int, *, patch_size: int = 14,
                 window: int | None = 16, drop_path_rate: float = 0.0,
                 head_width: int = HEAD_WIDTH) -> None:
        super().__init__(width, layers, grid_size, patch_size=patch_size, head_width=head_width)
        self.window = window
        quarter = max(1, layers // GLOBAL)
        self.is_global = [number % quarter == quarter - 1 for number in range(layers)]
        for block, rate in zip(self.blocks, drop_path_rates(drop_path_rate, layers)):
            drop_path = block.drop_path
            assert isinstance(drop_path, DropPath)
            drop_path.rate = rate

    def feature_map(self, image: Tensor) -> Tensor:
        """The tokens after the last norm, [B, D, h, w]."""
        patches, grid = self.patch_embed(image)
        x = patches + self.positions(grid, patches)
        local = bidirectional if self.window is None else windowed(grid, self.window)
        for block, is_global in zip(self.blocks, self.is_global, strict=True):
            x = block(x, bidirectional if is_global else local)
        tokens: Tensor = self.norm(x)
        return tokens.transpose(1, 2).reshape(len(tokens), self.width, *grid)


@register("model", "aimv2_vitdet_mask_rcnn_base",
          "Mask R-CNN over AIMv2-base in ViTDet's form, 110.8 M parameters.", width=768, layers=12)
@register("model", "aimv2_vitdet_mask_rcnn_large",
          "Mask R-CNN over AIMv2-L in ViTDet's form, 336.6 M parameters.", width=1024, layers=24)
@register("model", "aimv2_vitdet_mask_rcnn_huge",
          "Mask R-CNN over AIMv2-H in ViTDet's form, 714.6 M parameters.", width=1536, layers=24)
def aimv2_vitdet_mask_rcnn(num_classes: int = 80, patch_size: Literal[14, 16] = 16,
                           window: int | None = 16, pretrained_grid: int = 16,
                           drop_path_rate: float = 0.0, width_divisor: int = 1,
                           depth_divisor: int = 1, *, width: int, layers: int) -> nn.Module:
    """Mask R-CNN over AIMv2's encoder in ViTDet's form. Gives what loss mask_rcnn reads.

    Args:
        num_classes: without background.
        patch_size: 14, as published, or 16: published kernels are then resampled.
        window: patches of a window's side; None: every block sees the whole picture.
        pretrained_grid: rows and columns of the position table: 16 of 224 pixels, 24 of 336, 32 of
            448.
        drop_path_rate: stochastic depth of the last block.
        width_divisor: divides widths: above 1, a narrow copy of the model, for trying things.
        depth_divisor: divides the number of blocks (one stays).
        width: of the tokens.
        layers: transformer blocks.
    """
    encoder = WindowedEncoder(width // width_divisor, max(1, layers // depth_divisor),
                              pretrained_grid, patch_size=patch_size, window=window,
                              drop_path_rate=drop_path_rate)
    return mask_rcnn(encoder, num_classes, 256 // width_divisor, top_down=False,
                     box_width=1024 // width_divisor, sampling_ratio=0)
