"""MobileCLIP's weights in the layouts of Apple, open_clip and timm, fused or not.

corekit's names are timm's and open_clip's but for the beginnings. Every other difference is in the
tables below, from corekit's name to the other; the way back is the same over the model's names.
"""

import math
import re
from dataclasses import replace

import torch

from corekit import registry
from corekit.checkpoint.convert import Converted, check_state, differences, state_of
from corekit.checkpoint.foreign.timm_towers import compare_with_timm
from corekit.checkpoint.key_names import Rules, changed_arguments, renamed, run_otherwise
from corekit.checkpoint.read_state import State
from corekit.errors import CorekitError
from corekit.models.fusion import exact
from corekit.models.text_tower import open_clip_names
from corekit.recipes.schema import ModelConfig, Node, Plain
from corekit.registry import register

from .preprocess import PREPROCESS, UNSTATED

OPEN_CLIP: Rules = ((r"^image_tower\.", "visual.trunk."), (r"^text_tower\.", "text."))
TIMM: Rules = ((r"^image_tower\.", ""),)
APPLE: Rules = (
    (r"^image_tower\.", "image_encoder.model."),
    (r"^text_tower\.", "text_encoder."),
    (r"\.model\.stem\.", ".model.patch_embed."),
    (r"\.stages\.0\.blocks\.", ".network.0."), (r"\.stages\.1\.downsample\.", ".network.1."),
    (r"\.stages\.1\.blocks\.", ".network.2."), (r"\.stages\.2\.downsample\.", ".network.3."),
    (r"\.stages\.2\.blocks\.", ".network.4."), (r"\.stages\.3\.downsample\.", ".network.5."),
    (r"\.stages\.3\.pos_emb\.", ".network.6."), (r"\.stages\.3\.blocks\.", ".network.7."),
    (r"\.proj\.0\.reparam_conv\.", ".proj.0.lkb_reparam."),
    (r"\.final_conv\.se\.fc1\.", ".final_conv.se.reduce."),
    (r"\.final_conv\.se\.fc2\.", ".final_conv.se.expand."),
    (r"\.final_conv\.", ".conv_exp."), (r"\.head\.fc\.weight$", ".head.proj"),
    (r"\.conv_kxk\.", ".rbr_conv."), (r"\.conv_scale\.", ".rbr_scale."),
    (r"\.identity\.", ".rbr_skip."), (r"\.large_conv\.", ".lkb_origin."),
    (r"\.pos_enc\.", ".pe."), (r"\.gamma$", ""),
    (r"\.(network\.\d\.\d+|resblocks\.\d)\.mlp\.(conv|fc)", r".\1.convffn.\2"),
    (r"\.patch_embed\.backbone\.(\d)\.conv\.", r".patch_emb.\1.block.conv."),
    (r"\.patch_embed\.backbone\.(\d)\.bn\.", r".patch_emb.\1.block.norm."),
    (r"\.model\.blocks\.", ".model.transformer."),
    (r"\.model\.norm\.", ".model.post_transformer_norm."),
    (r"\.model\.head\.weight$", ".model.classifier.proj"),
    (r"\.pos_embed$", ".pos_embed.pos_embed.pos_embed"),
    (r"\.token_embedding\.", ".embedding_layer."),
    (r"\.positional_embedding$", ".positional_embedding.pos_embed.pos_embed"),
    (r"\.ln_final\.", ".final_layer_norm."), (r"\.text_projection$", ".projection_layer"),
    (r"\.resblocks\.", "."), (r"\.(ln_1|norm1)\.", ".pre_norm_mha.0."),
    (r"\.attn\.(in_proj_|qkv\.)", ".pre_norm_mha.1.qkv_proj."),
    (r"\.attn\.(out_proj|proj)\.", ".pre_norm_mha.1.out_proj."),
    (r"\.(ln_2|norm2)\.", ".pre_norm_ffn.0."), (r"\.mlp\.(c_fc|fc1)\.", ".pre_norm_ffn.1."),
    (r"\.mlp\.(c_proj|fc2)\.", ".pre_norm_ffn.4."),
)
TIMMS = {**{f"s{number}": f"fastvit_mci{number}" for number in range(5)},  # its image towers
         "b": "vit_base_mci_224", "l14": "vit_large_patch14_clip_224"}
LAYOUTS = {"apple": APPLE, "open_clip": OPEN_CLIP, "timm": TIMM}
# the image head of these has no bias
IN_APPLES = ("mobileclip_s0", "mobileclip_s1", "mobileclip_s2", "mobileclip_b", "mobileclip_b_lt")
APPLES_B = ("mobileclip_b", "mobileclip_b_lt")
ALONG_TOKENS = ("at other sizes than the weights' own, positions are stretched along the row of "
                "tokens, as Apple's code does: pos_embed_interp, flat1d in recipe.yaml")
TRANSPOSED = (".head.proj", ".classifier.proj")  # ends of names
NORM_EPS = 1e-5
COUNTER = "num_batches_tracked"


@register("converter", "mobileclip")
class MobileCLIPConverter:
    """MobileCLIP and MobileCLIP2 in Apple's and open_clip's layout, and the image tower in timm's.

    Fused weights are those of Apple's and timm's own re-parameterisation, which leaves the norms of
    ConvFFN: they are folded on the way in, and written as norms that only add on the way out. An
    image head's bias that is 0 everywhere, as open_clip gives to Apple's weights, is left out of
    models that have none, and written as 0 for open_clip and timm. Counters of batch norms that a
    file leaves out are 0: with a fixed momentum nothing depends on them.
    """

    def detect(self, state: State) -> list[str]:
        layout, names = _layout(state), []
        for name in IN_APPLES if layout == "apple" else PREPROCESS:
            official = _official(name, _arguments(state, name, layout))
            if not differences(state, _laid_out(official, layout), COUNTER):
                names.append(name)
        return names

    def load(self, state: State, name: str) -> Converted:
        layout = _layout(state)
        arguments = _arguments(state, name, layout)
        official = _official(name, arguments)
        expected = _laid_out(official, layout)
        check_state(state, expected, name, layout, COUNTER)
        notes = []
        if missing := sum(key not in state for key in expected):
            notes.append(f"{missing} counters of batch norms are not in the file and start at 0")
        if name in UNSTATED:
            notes.append(f"how '{name}' wants pictures prepared is not published: preprocess.json "
                         "has what its successor wants")
        if name in APPLES_B:
            arguments["pos_embed_interp"] = "flat1d"
            notes.append(ALONG_TOKENS)
        weights, published = {}, open_clip_names(official)
        for ours, value in official.items():
            published_name = renamed(published.get(ours, ours), LAYOUTS[layout])
            # what may be missing is a counter
            tensor = state.get(published_name, torch.zeros((), dtype=torch.int64))
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            weights[ours] = (tensor.T if published_name.endswith(TRANSPOSED)
                             else tensor.reshape(value.shape)).contiguous()
        weights = _without_norms(weights) if arguments["fused"] else weights
        changed, preprocess = changed_arguments(name, arguments), PREPROCESS[name]
        preprocess = replace(preprocess, size=arguments.get("image_size", preprocess.size))
        tokenizer = {"name": "clip_bpe", "context_length": arguments.get("context_length", 77)}
        has_text = arguments.get("text_tower", "") is not None
        return Converted(weights, changed, preprocess, tokenizer if has_text else {}, notes)

    def layouts(self, name: str) -> list[str]:
        """Apple published five of the models in a layout of its own."""
        return [layout for layout in LAYOUTS
                if name in (IN_APPLES if layout == "apple" else PREPROCESS)]

    def save(self, weights: State, name: str, layout: str) -> State:
        return _laid_out(_with_norms(weights), layout)

    def remarks(self, model: ModelConfig, weights: State, saved: State, layout: str) -> list[str]:
        """What Apple's, open_clip's or timm's code has otherwise, and how far timm's features are.

        open_clip's image tower is timm's.
        """
        name, arguments = model.name, model.arguments
        sentences = run_otherwise(name, arguments, _run_with(name, layout), layout)
        if layout == "apple":
            return sentences
        tower = {key.removeprefix("visual.trunk."): value for key, value in saved.items()
                 if layout == "timm" or key.startswith("visual.trunk.")}
        head = next(key for key in ("head.weight", "head.fc.weight") if key in tower)
        return sentences + compare_with_timm(model, weights, tower, TIMMS[_size(name)],
                                             len(tower[head]), _pixels(name, arguments))


def _size(name: str) -> str:
    return name.removeprefix("mobileclip2_").removeprefix("mobileclip_").removesuffix("_lt")


def _pixels(name: str, arguments: Node) -> int:
    size = arguments.get("image_size", PREPROCESS[name].size)
    assert isinstance(size, int)
    return size


def _run_with(name: str, layout: str) -> Plain:
    """Arguments that no weights show, as code of a layout has them."""
    runs: dict[str, object] = {}
    if layout != "timm":
        is_hybrid = (layout, name) == ("apple", "mobileclip_s0")
        runs |= {"text_tower": "hybrid" if is_hybrid else "plain", "causal": _size(name) == "b"}
    if _size(name) == "l14":
        runs["norm_eps"] = 1e-5
    elif _size(name) == "b" and layout == "apple":
        runs |= {"stem_padding": 1, "norm_eps": 1e-5, "pos_embed_interp": "flat1d"}
    elif _size(name) == "b":
        runs |= {"stem_padding": 0, "norm_eps": 1e-6}
    return runs


def _layout(state: State) -> str:
    if any(key.startswith(("image_encoder.", "text_encoder.")) for key in state):
        return "apple"
    return "open_clip" if any(key.startswith(("visual.", "text.")) for key in state) else "timm"


def _arguments(state: State, name: str, layout: str) -> Plain:
    """The model's arguments, as far as the weights show them."""
    biases = [renamed(f"image_tower.{head}.bias", LAYOUTS[layout]) for head in ("head", "head.fc")]
    has_bias = any(bool(state[key].any()) for key in biases if key in state)
    head_bias = layout != "apple" and (name not in IN_APPLES or has_bias)
    arguments: dict[str, object] = {"fused": any("reparam" in key for key in state),
                                    "head_bias": head_bias}
    positions = state.get(renamed("image_tower.pos_embed", LAYOUTS[layout]))
    if positions is not None:  # the class token has one in L/14 only, and patches of 14 pixels
        class_position, patch = (1, 14) if name.endswith("l14") else (0, 16)
        patches = max(0, positions[..., 0].numel() - class_position)
        arguments["image_size"] = patch * math.isqrt(patches)
    if layout == "timm":
        arguments["text_tower"] = None
    sizes = (("text_projection", "embed_dim", -1), ("positional_embedding", "context_length", -2),
             ("token_embedding.weight", "vocab_size", 0))
    for key, argument, dimension in sizes:
        table = state.get(renamed(f"text_tower.{key}", LAYOUTS[layout]))
        if table is not None and table.ndim >= 2:
            arguments[argument] = table.shape[dimension]
    takes = registry.find("model", name).signature.names
    return {key: value for key, value in arguments.items() if key in takes}


def _official(name: str, arguments: Plain) -> State:
    """The model's state on the meta device, with the norms that published fused weights keep."""
    with torch.device("meta"):
        return _with_norms(state_of(name, tuple(arguments.items())))


def _laid_out(official: State, layout: str) -> State:
    converted, published = {}, open_clip_names(official)
    for ours, value in official.items():
        published_name = renamed(published.get(ours, ours), LAYOUTS[layout])
        if layout == "timm" and not ours.startswith("image_tower."):
            continue
        if layout == "apple" and re.fullmatch(r"image_tower\.head\.(fc\.)?bias", ours):
            if not value.is_meta and value.any():
                raise CorekitError("Apple's layout has no bias of the image head, and these "
                                   "weights have one: --to open_clip")
            continue
        if published_name.endswith("pos_embed.pos_embed"):
            value = value.reshape(1, 1, *value.shape[-2:])
        converted[published_name] = value.T if published_name.endswith(TRANSPOSED) else value
        bias = ours.removesuffix("weight") + "bias"
        is_head = re.fullmatch(r"image_tower\.head\.(fc\.)?weight", ours)
        if is_head and layout != "apple" and bias not in official:
            converted[renamed(bias, LAYOUTS[layout])] = value.new_zeros(len(value))
    return converted


def _with_norms(weights: State) -> State:
    """The state with ConvFFN's and B's stem's norms: weight 1, variance 1 - eps, mean 0."""
    converted: State = {}
    for key, value in weights.items():
        block, _, leaf = key.rpartition(".")
        convolution = block.endswith(".mlp.conv")
        if leaf == "bias" and (convolution or re.search(r"\.backbone\.[01]\.conv$", block)):
            norm = block + ".bn." if convolution else block.removesuffix("conv") + "bn."
            converted |= {norm + "weight": torch.ones_like(value), norm + "bias": value,
                          norm + "running_mean": torch.zeros_like(value),
                          norm + "running_var": torch.full_like(value, 1 - NORM_EPS),
                          norm + COUNTER: torch.zeros((), dtype=torch.int64, device=value.device)}
        else:
            converted[f"{block}.conv.weight" if convolution else key] = value
    return converted


def _without_norms(weights: State) -> State:
    """The same with ConvFFN's norms folded."""
    folded: State = {}
    for key, value in weights.items():
        block = key.rpartition(".")[0]
        if block.endswith(".mlp.conv.conv"):
            outer = block.removesuffix(".conv")
            norm = {name: exact(weights[f"{outer}.bn.{name}"])
                    for name in ("weight", "bias", "running_mean", "running_var")}
            scale = norm["weight"] / (norm["running_var"] + NORM_EPS).sqrt()
            folded[f"{outer}.weight"] = (exact(value) * scale[:, None, None, None]).to(value)
            folded[f"{outer}.bias"] = (norm["bias"] - norm["running_mean"] * scale).to(value)
        elif not block.endswith(".mlp.conv.bn"):
            folded[key] = value
    return folded
