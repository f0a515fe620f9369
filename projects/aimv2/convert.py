"""AIM's weights in the layouts of Apple, transformers and timm: the same tensors, other names."""

import math

import torch
from torch import nn

from corekit.checkpoint.convert import Converted, check_state, differences, state_of
from corekit.checkpoint.foreign.timm_towers import compare_with_timm
from corekit.checkpoint.key_names import Rules, renamed
from corekit.checkpoint.read_state import State
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.models.layers.mlp import SwiGLU
from corekit.recipes.schema import CLIP_MEAN, CLIP_STD, ModelConfig, Plain
from corekit.registry import register

from .blocks import PATCH_SIZE
from .encoder import Encoder

ASSUMED = ("no preprocessor_config.json lies beside the weights: preprocess.json has CLIP's mean "
           "and std and the whole square, as that of the published models has; Apple's README and "
           "trainer have ImageNet's and a smaller crop")

NO_CLASSIFIER = ("Apple's file also has the seven tensors of a classifier over the features "
                 "(head.*), which corekit's model does not have: load this one into Apple's code "
                 "with strict=False, or put the seven beside it")
NOT_CAUSAL = ("transformers' text tower of AIMv2 lets tokens see later ones wherever no caption of "
              "a batch is padded: give it the whole causal mask as attention_mask")

WIDTHS = {768: "base", 1024: "large", 1536: "huge", 2048: "1b", 3072: "3b"}
WIDTHS_1 = {1536: "600m", 2048: "1b", 3072: "3b", 4096: "7b"}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = (224, 336, 448)
NATIVE, LIT = "aimv2_large_native", "aimv2_large_lit"
NANO, NANO_WIDTH = "aimv2_nano", 128  # which nobody published
VISION = "aimv2_vision_model"  # of transformers, as a part of a model
ENCODERS = tuple(f"aimv2_{size}_{pixels}" for size in WIDTHS.values() for pixels in SIZES)
FIRST = tuple(f"aimv1_{size}" for size in WIDTHS_1.values())
TRAINED = {  # models around an encoder, which is all that is written of them
    **dict.fromkeys(("aimv2_pretrain", "aimv2_student"), ("apple", "transformers", "timm")),
    "aimv1_pretrain": ("apple",)}
LAYOUTS = {"apple": (*ENCODERS, NATIVE, LIT, *FIRST), "transformers": (*ENCODERS, NATIVE, LIT),
           "timm": ENCODERS}

# From corekit's names, which are timm's, to the others'.
APPLE: Rules = (
    (r"^text_tower\.token_embedding\.", "text_encoder.preprocessor.text_embedding."),
    (r"^text_tower\.positional_embedding$", "text_encoder.preprocessor.positional_embedding"),
    (r"^(image|text)_tower\.projection\.", r"\1_projector."),
    (r"^logit_scale$", "log_logit_scale"),
    (r"^image_tower\.(encoder\.)?", "image_encoder."),
    (r"^text_tower\.", "text_encoder."),
    (r"(^|\.)pos_embed$", r"\1preprocessor.pos_embed"),
    (r"(^|\.)patch_embed\.", r"\1preprocessor.patchifier."),
    (r"(^|\.)blocks\.", r"\1trunk.blocks."),
    (r"\.norm([12])\.", r".norm_\1."),
    (r"\.mlp\.fc1_g\.", ".mlp.fc1."),
    (r"\.mlp\.fc1_x\.", ".mlp.fc3."),
    (r"^(image_encoder\.|text_encoder\.|)norm\.", r"\1trunk.post_trunk_norm."),
)
TRANSFORMERS: Rules = (
    (r"^text_tower\.token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^text_tower\.positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^image_tower\.projection\.", "visual_projection."),
    (r"^text_tower\.projection\.", "text_projection."),
    (r"^image_tower\.(encoder\.)?", "vision_model."),
    (r"^text_tower\.", "text_model."),
    (r"\.head\.([kv])\.", r".head.\1_proj."),
    (r"\.head\.linear\.", ".head.output_proj."),
    (r"(^|\.)pos_embed$", r"\1embeddings.position_embedding.weight"),
    (r"(^|\.)patch_embed\.proj\.", r"\1embeddings.patch_embed."),
    (r"(^|\.)patch_embed\.norm\.", r"\1embeddings.rms_norm."),
    (r"^(vision_model\.|text_model\.|)norm\.", r"\1rms_norm."),
    (r"(^|\.)blocks\.", r"\1encoder.layers."),
    (r"\.norm([12])\.", r".rms_norm\1."),
    (r"\.attn\.proj\.", ".attention.out_proj."),
    (r"\.attn\.qkv\.", ".attention.qkv_proj."),
    (r"\.mlp\.fc1_g\.", ".ffn.gate_proj."),
    (r"\.mlp\.fc1_x\.", ".ffn.up_proj."),
    (r"\.mlp\.fc2\.", ".ffn.down_proj."),
)
RULES: dict[str, Rules] = {"apple": APPLE, "transformers": TRANSFORMERS, "timm": ()}
PATCHES = {"apple": "preprocessor.patchifier.proj.weight",
           "transformers": "embeddings.patch_embed.weight", "timm": "patch_embed.proj.weight"}
TOWERS = {"apple": "image_encoder.", "transformers": "vision_model.", "timm": ""}


@register("converter", "aim")
class AIMConverter:
    """AIMv2's encoders and towers in Apple's, transformers' and timm's layout; AIMv1 in Apple's.

    transformers keeps queries, keys and values apart and the position table without its first
    dimension; timm has neither the native encoder nor the pair of towers. The ImageNet classifier
    that comes with AIMv1's weights is left out. Of what trained an encoder, the encoder is written.
    """

    def detect(self, state: State) -> list[str]:
        layout, name = _look(state)
        if name not in LAYOUTS[layout]:
            return []
        weights, _ = _without_classifier(state, name)
        return [] if differences(weights, _expected(name, layout)) else [name]

    def load(self, state: State, name: str) -> Converted:
        layout = _look(state)[0]
        if name not in (*LAYOUTS[layout], NANO):
            raise CorekitError(f"'{name}' is not published in the layout of these weights, "
                               f"{layout}'s")
        state, notes = _without_classifier(state, name)
        check_state(state, _expected(name, layout), name, layout)
        weights = {}
        for ours, like in state_of(name).items():
            published_name = renamed(ours, RULES[layout])
            value = state.get(published_name)
            if value is None:
                value = torch.cat([state[key] for key in _split(published_name)])
            weights[ours] = value.float().reshape(like.shape).contiguous()
        size = int(name[-3:]) if name in ENCODERS else 224
        if name in FIRST:
            preprocess = Preprocess(size, "bicubic", IMAGENET_MEAN, IMAGENET_STD, 0.875)
            return Converted(weights, {}, preprocess, {}, notes)
        if name == NATIVE:
            notes.append("the model takes pictures as they are; preprocess.json, which evaluation "
                         f"needs, has {size} pixels")
        tokenizer = {"name": "clip_bpe", "context_length": 77} if name == LIT else {}
        return Converted(weights, {}, Preprocess(size, "bicubic", CLIP_MEAN, CLIP_STD), tokenizer,
                         notes, ASSUMED)

    def layouts(self, name: str) -> list[str]:
        return [layout for layout, names in LAYOUTS.items()
                if name in names or layout in TRAINED.get(name, ())]

    def save(self, weights: State, name: str, layout: str) -> State:
        if name in TRAINED:
            weights = {key.removeprefix("encoder."): value for key, value in weights.items()
                       if key.startswith("encoder.")}
            if layout == "timm" and "pos_embed" not in weights:
                raise CorekitError("timm has no encoder without a position table: choose the "
                                   "layout apple or transformers")
        converted: State = {}
        for ours, value in weights.items():
            published_name = renamed(ours, RULES[layout])
            if layout == "transformers" and ours.endswith(".qkv.weight"):
                converted.update(zip(_split(published_name), value.chunk(3), strict=True))
            elif layout == "transformers" and ours.endswith("pos_embed"):
                converted[published_name] = value[0]
            else:
                converted[published_name] = value
        return converted

    def vision_config(self, encoder: nn.Module, size: int) -> Plain | None:
        """Of AIMv2's encoders, for the vision model of transformers."""
        if not isinstance(encoder, Encoder) or not isinstance(encoder.norm, nn.RMSNorm):
            return None
        feed_forward: SwiGLU = encoder.blocks[0].mlp  # type: ignore[assignment, union-attr]
        return {"model_type": VISION, "hidden_size": encoder.width, "use_head": False,
                "intermediate_size": feed_forward.fc2.in_features, "image_size": size,
                "num_hidden_layers": len(encoder.blocks), "patch_size": encoder.patch_embed.stride,
                "num_attention_heads": max(1, encoder.width // encoder.head_width)}

    def vision_weights(self, encoder: nn.Module, size: int) -> State:
        """With positions for pictures of that size, which the encoder computes or stretches."""
        assert isinstance(encoder, Encoder)
        side = size // encoder.patch_embed.stride
        positions = encoder.positions((side, side), encoder.patch_embed.proj.weight[:, 0, 0])
        state = {**encoder.state_dict(), "pos_embed": positions.detach()}
        return {name: value.clone() for name, value in self.save(state, "", "transformers").items()}

    def from_vision(self, settings: Plain, weights: State) -> tuple[ModelConfig, State] | None:
        """An encoder of Llava; the head that its class has but does not use is left out."""
        if settings.get("model_type") != VISION:
            return None
        weights = {key: value for key, value in weights.items() if not key.startswith("head.")}
        name = NANO if settings["hidden_size"] == NANO_WIDTH else _look(weights)[1]
        if name not in (NANO, *ENCODERS):
            raise CorekitError(f"corekit has no encoder of {settings['hidden_size']} channels for "
                               f"{settings.get('image_size')} pixels")
        return ModelConfig(name), self.load(weights, name).weights

    def remarks(self, model: ModelConfig, weights: State, saved: State, layout: str) -> list[str]:
        """AIMv1's classifier, transformers' captions, and how far timm's features are."""
        if layout == "apple":
            return [NO_CLASSIFIER] if model.name in (*FIRST, "aimv1_pretrain") else []
        if layout == "transformers":
            return [NOT_CAUSAL] if model.name == LIT else []
        if model.name not in ENCODERS:
            return []
        _, size, pixels = model.name.split("_")
        return compare_with_timm(model, weights, saved, f"aimv2_{size}_patch14_{pixels}", 0,
                                 int(pixels))


def _look(state: State) -> tuple[str, str]:
    """The layout, and the model that width and positions indicate ('' where they indicate none)."""
    for layout, key in PATCHES.items():
        for tower in {"", TOWERS[layout]}:
            patches = state.get(tower + key)
            if patches is not None and patches.ndim == 4:
                if tower:
                    return layout, LIT
                width = len(patches)
                norm = key.replace("proj.weight", "norm.bias")
                if layout == "apple" and norm in state:
                    return layout, f"aimv1_{WIDTHS_1.get(width)}"
                positions = state.get(renamed("pos_embed", RULES[layout]))
                if positions is None:
                    return layout, NATIVE
                side = PATCH_SIZE * math.isqrt(max(0, positions[..., 0].numel()))
                return layout, f"aimv2_{WIDTHS.get(width)}_{side}"
    return "timm", ""


def _without_classifier(state: State, name: str) -> tuple[State, list[str]]:
    """The weights without AIMv1's classifier, and notes for the user."""
    if name not in FIRST:
        return state, []
    weights = {key: value for key, value in state.items() if not key.startswith("head.")}
    dropped = len(state) - len(weights)
    notes = [f"the classifier over the features, {dropped} tensors, is left out"]
    return weights, notes if dropped else []


def _split(name: str) -> list[str]:
    """The names of queries, keys and values where they are kept apart."""
    return [name.replace(".qkv_proj.", f".{part}_proj.") for part in "qkv"]


def _expected(name: str, layout: str) -> State:
    return AIMConverter().save(state_of(name), name, layout)
