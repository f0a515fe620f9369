"""CoreNet's vision transformer of CatLIP, from its description: names, shapes, and the forward pass
over such a state.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
SIZES = {
    "catlip_vit_b16": (768, 12, 12), "catlip_vit_l16": (1024, 24, 16),
    "catlip_vit_h16": (1280, 32, 20)
}
SCALARS = [
    f"neural_augmentor.{kind}.{end}" for kind in ("brightness", "contrast", "noise")
    for end in ("_low", "_high")
]


def shapes(width: int, layers: int, classes: int, scalars: bool = False) -> dict[str, list[int]]:
    """Name -> shape, as CoreNet's models of this size have them when built."""
    stem = width // 4
    sizes: dict[str, list[int]] = {
        "cls_token": [1, 1, width], **({name: [] for name in SCALARS} if scalars else {})
    }
    for number, kernel in ((0, [stem, 3, 4, 4]), (1, [stem, stem, 2, 2])):
        sizes[f"patch_emb.{number}.block.conv.weight"] = kernel
        for name in ("weight", "bias", "running_mean", "running_var"):
            sizes[f"patch_emb.{number}.block.norm.{name}"] = [stem]
        sizes[f"patch_emb.{number}.block.norm.num_batches_tracked"] = []
    sizes |= {
        "patch_emb.2.block.conv.weight": [width, stem, 2, 2],
        "patch_emb.2.block.conv.bias": [width]
    }
    for layer in range(layers):
        for part, rows, columns in (("pre_norm_mha.1.qkv_proj", 3 * width,
                                     width), ("pre_norm_mha.1.out_proj_attn", width, width),
                                    ("pre_norm_ffn.1", 4 * width, width), ("pre_norm_ffn.4", width,
                                                                           4 * width)):
            sizes |= {
                f"transformer.{layer}.{part}.weight": [rows, columns],
                f"transformer.{layer}.{part}.bias": [rows]
            }
        for part in ("pre_norm_mha.0", "pre_norm_ffn.0"):
            sizes |= {f"transformer.{layer}.{part}.{name}": [width] for name in ("weight", "bias")}
    sizes |= {"post_transformer_norm.weight": [width], "post_transformer_norm.bias": [width],
              "classifier.weight": [classes, width], "classifier.bias": [classes],
              "pos_embed.pos_embed.pos_embed": [1, 1, 196, width]}
    return sizes


def forward(state: State, image: Tensor, heads: int) -> Tensor:
    """Logits of a model in evaluation."""
    x, _ = patches(state, image)
    x = torch.cat([state["cls_token"].expand(len(x), 1, x.shape[2]), x], 1)
    return affine(state, "classifier", blocks(state, x, heads)[:, 0])


def patches(state: State, image: Tensor, first_stride: int = 4) -> tuple[Tensor, torch.Size]:
    """Patches with their positions, [B, L, D], and the grid of them."""
    x = image
    for number, stride in enumerate((first_stride, 2, 2)):
        name = f"patch_emb.{number}.block."
        x = F.conv2d(x, state[name + "conv.weight"], state.get(name + "conv.bias"), stride,
                     padding=0 if number else 1)
        if number < 2:
            norm = [
                state[f"{name}norm.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            ]
            x = F.gelu(F.batch_norm(x, *norm, eps=1e-5))
    grid = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)
    table = F.interpolate(state["pos_embed.pos_embed.pos_embed"], size=x.shape[1:],
                          mode="bilinear")
    return x + table[0], grid


def affine(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[name + ".weight"], state[name + ".bias"])


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[2:], state[name + ".weight"], state[name + ".bias"], eps=1e-6)


def blocks(state: State, x: Tensor, heads: int) -> Tensor:
    """All blocks and the last norm."""
    layer = 0
    while f"transformer.{layer}.pre_norm_ffn.0.weight" in state:
        mha, ffn = (f"transformer.{layer}.pre_norm_{part}." for part in ("mha", "ffn"))
        parts = affine(state, mha + "1.qkv_proj", layer_norm(state, mha + "0", x))
        query, key, value = (part.unflatten(2, (heads, -1)).transpose(1, 2)
                             for part in parts.chunk(3, dim=2))
        attention = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(3)
        mixed = (attention @ value).transpose(1, 2).flatten(2)
        x = x + affine(state, mha + "1.out_proj_attn", mixed)
        hidden = F.gelu(affine(state, ffn + "1", layer_norm(state, ffn + "0", x)))
        x = x + affine(state, ffn + "4", hidden)
        layer += 1
    return layer_norm(state, "post_transformer_norm", x)
