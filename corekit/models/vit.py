"""The vision transformer (Dosovitskiy et al., 2021) as an image tower, and CLIP's ViT-B/16."""

import torch
from torch import Tensor, nn

from corekit.models.clip import CLIP
from corekit.models.linear import after_gelu
from corekit.models.positions import is_table, stretched
from corekit.models.transformer import Place, TextTransformer, attend, drop_path, drop_path_rates, pick
from corekit.registry import register


class Attention(nn.Module):
    """Multi-head self-attention over [B, L, D]; parameters are named as in timm.

    Args:
        width: D.
        heads: attention heads; divides the width.
        qkv_bias: whether queries, keys and values have a bias.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, at: Place | None = None) -> Tensor:
        return self.proj(attend(self.qkv(x), self.heads, at=at))  # type: ignore


class MLP(nn.Module):
    """Two linear layers with a GELU between them; parameters are named as in timm."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return after_gelu(self.fc2, self.fc1(x))


class Block(nn.Module):
    """A pre-norm block over [B, L, D] with stochastic depth.

    The same mathematics as ``transformer.TransformerBlock`` under timm's names instead of open_clip's: published
    image towers come with the former, text towers with the latter, and both are to load as they are.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, norm_eps: float, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, int(width * mlp_ratio))
        self.drop_path_rate = drop_path_rate

    def forward(self, x: Tensor, at: Place | None = None) -> Tensor:
        """All tokens [B, L, D], or [B, 1, D], those ``at`` a place of each sample."""
        x = (x if at is None else pick(x, at)) + drop_path(self.attn(self.norm1(x), at), self.drop_path_rate, self.training)
        x = x + drop_path(self.mlp(self.norm2(x)), self.drop_path_rate, self.training)
        return x


class PatchEmbed(nn.Module):
    """Square patches to tokens: [B, 3, H, W] to [B, D, H / patch_size, W / patch_size]."""

    def __init__(self, width: int, patch_size: int, bias: bool = True) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        patches: Tensor = self.proj(image)
        return patches


class ViT(nn.Module):
    """A vision transformer whose class token gives the features: [B, 3, H, W] to [B, embed_dim].

    Parameters are named as in timm. Weights of linear layers and convolutions start as a normal of std 0.02 cut at
    ±2, the head's with std D^-½, biases at 0.

    Args:
        patch_embed: [B, 3, H, W] to [B, D, h, w].
        grid_size: h = w for which the position table is made; at others it is interpolated bilinearly.
        width: D.
        layers: transformer blocks.
        heads: attention heads; divides the width.
        embed_dim: width of the features.
        mlp_ratio: hidden width of the feed-forward parts over D.
        norm_pre: a layer norm before the first block, as CLIP has it.
        class_position: whether the class token has a row in the position table.
        norm_eps: epsilon of every layer norm.
        head_bias: whether the projection to features has a bias.
        drop_path_rate: stochastic depth of the last block; the others' grows linearly from 0.
        head_layer: class of the projection to features.
    """

    def __init__(self, patch_embed: nn.Module, grid_size: int, width: int = 768, layers: int = 12, heads: int = 12,
                 embed_dim: int = 512, *, mlp_ratio: float = 4.0, norm_pre: bool = False, class_position: bool = True,
                 norm_eps: float = 1e-5, head_bias: bool = False, drop_path_rate: float = 0.0,
                 head_layer: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.class_position = class_position
        self.patch_embed = patch_embed
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, grid_size**2 + class_position, width))
        self.norm_pre = nn.LayerNorm(width, eps=norm_eps) if norm_pre else None
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, norm_eps, rate)
                                    for rate in drop_path_rates(drop_path_rate, layers))
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.head = head_layer(width, embed_dim, bias=head_bias)
        self.apply(init_weights)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)
        nn.init.normal_(self.head.weight, std=width**-0.5)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.head(self.norm(self.trunk(image, class_only=True)[:, 0]))
        return features

    def trunk(self, image: Tensor, class_only: bool = False) -> Tensor:
        """What comes before the last norm, [B, 1 + patches, D], the class token first; or that token alone, [B, 1, D].

        Where nothing but the class token is wanted, the last block computes no other.
        """
        patches = self.patch_embed(image)
        class_position, patch_positions = self.positions(patches.shape[2], patches.shape[3])
        tokens = patches.flatten(2).transpose(1, 2) + patch_positions
        first = self.cls_token if class_position is None else self.cls_token + class_position
        x = torch.cat([first.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], dim=1)
        if self.norm_pre is not None:
            x = self.norm_pre(x)
        *others, last = self.blocks
        for block in others:
            x = block(x)
        return last(x, at=0) if class_only else last(x)  # type: ignore[no-any-return]

    def positions(self, height: int, width: int) -> tuple[Tensor | None, Tensor]:
        """The class token's position [1, 1, D], if it has one, and the patches' [1, height · width, D]."""
        first = self.pos_embed[:, :1] if self.class_position else None
        return first, self.stretched(self.pos_embed[:, int(self.class_position):], (height, width))

    def stretched(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        """The patches' positions, [1, n · n, D], for another grid (rows, columns)."""
        return stretched(table, grid, "bilinear")

    def refit(self, name: str, value: Tensor) -> Tensor | None:
        """A position table made for another grid as this one's; None for any other tensor."""
        if name != "pos_embed" or value.ndim != 3:
            return None
        first, patches = value[:, :int(self.class_position)], value[:, int(self.class_position):]
        if not is_table(patches, self.pos_embed):
            return None
        return torch.cat([first, self.stretched(patches, (self.grid_size, self.grid_size))], 1)


def init_weights(module: nn.Module) -> None:
    """Start a convolution or linear layer: weights normal with std 0.02 cut at ±2, biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@register("model", "clip_vit_b16")
def clip_vit_b16(embed_dim: int = 512, image_size: int = 224, context_length: int = 77, vocab_size: int = 49408,
                 drop_path_rate: float = 0.0, width_divisor: int = 1, depth_divisor: int = 1) -> CLIP:
    """OpenAI's CLIP ViT-B/16 (Radford et al., 2021, table 20): 86.2 M + 63.4 M parameters, with GELU.

    Gives image_features, text_features, logit_scale; synthetic_text_features where there is synthetic_text.

    Args:
        embed_dim: width of the features.
        image_size: height and width of the images the position table is made for, in pixels.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        drop_path_rate: stochastic depth of the image tower's last block.
        width_divisor: divides widths and numbers of heads (one stays): above 1, a narrow copy of the model, for trying things.
        depth_divisor: divides the number of blocks of each tower (one stays).
    """
    width, layers = 768 // width_divisor, max(1, 12 // depth_divisor)
    image_tower = ViT(PatchEmbed(width, patch_size=16, bias=False), grid_size=image_size // 16, width=width, layers=layers,
                      heads=max(1, 12 // width_divisor), embed_dim=embed_dim, norm_pre=True, drop_path_rate=drop_path_rate)
    text_tower = TextTransformer(width=512 // width_divisor, heads=max(1, 8 // width_divisor), layers=layers,
                                 embed_dim=embed_dim, causal=True, context_length=context_length, vocab_size=vocab_size)
    return CLIP(image_tower, text_tower)
