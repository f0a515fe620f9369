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
    x = image
    for number in range(3):
        name = f"patch_emb.{number}.block."
        x = F.conv2d(x, state[name + "conv.weight"], state.get(name + "conv.bias"),
                     stride=2 if number else 4, padding=0 if number else 1)
        if number < 2:
            norm = [
                state[f"{name}norm.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            ]
            x = F.gelu(F.batch_norm(x, *norm, eps=1e-5))
    x = x.flatten(2).transpose(1, 2)
    batch, tokens, width = x.shape
    x = x + F.interpolate(state["pos_embed.pos_embed.pos_embed"], size=(tokens, width),
                          mode="bilinear")[0]
    x = torch.cat([state["cls_token"].expand(batch, 1, width), x], 1)

    def affine(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), state[name + ".weight"], state[name + ".bias"], eps=1e-6)

    layer = 0
    while f"transformer.{layer}.pre_norm_ffn.0.weight" in state:
        name = f"transformer.{layer}."
        parts = affine(name + "pre_norm_mha.1.qkv_proj", norm(name + "pre_norm_mha.0", x))
        query, key, value = (part.unflatten(2, (heads, -1)).transpose(1, 2)
                             for part in parts.chunk(3, dim=2))
        attention = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(3)
        x = x + affine(name + "pre_norm_mha.1.out_proj_attn",
                       (attention @ value).transpose(1, 2).flatten(2))
        x = x + affine(name + "pre_norm_ffn.4",
                       F.gelu(affine(name + "pre_norm_ffn.1", norm(name + "pre_norm_ffn.0", x))))
        layer += 1
    return affine("classifier", norm("post_transformer_norm", x[:, 0]))
