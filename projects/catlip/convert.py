"""CatLIP's weights as CoreNet lays them out: the same tensors under other names."""

import math

from corekit.checkpoint.convert import Converted, check_state, differences, state_of
from corekit.checkpoint.key_names import changed_arguments, renamed, run_otherwise
from corekit.checkpoint.read_state import State
from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.schema import ModelConfig
from corekit.registry import register

MODELS = ("catlip_vit_b16", "catlip_vit_l16", "catlip_vit_h16")
SIZE = 224  # of the pictures of pre-training
RULES = (  # corekit's name -> CoreNet's
    (r"^patch_embed\.backbone\.(\d)\.conv\.", r"patch_emb.\1.block.conv."),
    (r"^patch_embed\.backbone\.(\d)\.bn\.", r"patch_emb.\1.block.norm."),
    (r"^pos_embed$", "pos_embed.pos_embed.pos_embed"),
    (r"^norm\.", "post_transformer_norm."),
    (r"^head\.", "classifier."),
    (r"^blocks\.(\d+)\.norm1\.", r"transformer.\1.pre_norm_mha.0."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"transformer.\1.pre_norm_mha.1.qkv_proj."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"transformer.\1.pre_norm_mha.1.out_proj_attn."),
    (r"^blocks\.(\d+)\.norm2\.", r"transformer.\1.pre_norm_ffn.0."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"transformer.\1.pre_norm_ffn.1."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"transformer.\1.pre_norm_ffn.4."),
)
POSITIONS = "pos_embed.pos_embed.pos_embed"
LEFT_OUT = "RangeAugment's 6 learned scalars, which only training uses, are left out"
AUGMENT = tuple(f"neural_augmentor.{kind}.{end}" for kind in ("brightness", "contrast", "noise")
                for end in ("_low", "_high"))


@register("converter", "catlip")
class CatLIPConverter:
    """CatLIP's classifiers in CoreNet's layout, pre-trained or fine-tuned, with any classes.

    Names and shapes are those of CoreNet's models with its fused attention, as its recipes build
    them; released files were not at hand to compare. RangeAugment's six scalars may be there, all
    or none; they belong to training and are left out. Names of its other form of attention
    (``out_proj``), and encoders of detection and segmentation, are refused.
    """

    def detect(self, state: State) -> list[str]:
        weights = _without_scalars(state)[0]
        if POSITIONS not in weights:  # a model need not be built to know
            return []
        return [name for name in MODELS if not differences(weights, _expected(name, weights))]

    def load(self, state: State, name: str) -> Converted:
        """The weights as ``name`` has them, for ``flat1d`` positions."""
        weights, notes = _without_scalars(state)
        check_state(weights, _expected(name, weights), name, "corenet")
        converted = {}
        for ours in state_of(name, tuple(_arguments(weights).items())):
            value = weights[renamed(ours, RULES)]
            value = value.float() if value.is_floating_point() else value
            converted[ours] = (value[0] if ours == "pos_embed" else value).contiguous()
        notes.append("the file does not say what size it was tuned for: preprocess.json has the "
                     f"{SIZE} pixels of pre-training; some fine-tuned models want 512")
        preprocess = Preprocess(SIZE, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        arguments = changed_arguments(name, _arguments(weights))
        return Converted(converted, arguments, preprocess, {}, notes)

    def layouts(self, name: str) -> list[str]:
        return ["corenet"] if name in MODELS else []

    def save(self, weights: State, name: str, layout: str) -> State:
        return {renamed(ours, RULES): value[None] if ours == "pos_embed" else value
                for ours, value in weights.items() if ours not in AUGMENT}

    def remarks(self, model: ModelConfig, weights: State, saved: State, layout: str) -> list[str]:
        """CoreNet stretches positions along the row of tokens."""
        return run_otherwise(model.name, model.arguments, {"pos_embed_interp": "flat1d"}, layout)


def _without_scalars(state: State) -> tuple[State, list[str]]:
    """The weights without RangeAugment's six scalars, if all are there, and notes for the user."""
    if any(key not in state or state[key].ndim for key in AUGMENT):
        return dict(state), []
    weights = {key: value for key, value in state.items() if key not in AUGMENT}
    return weights, [LEFT_OUT]


def _arguments(state: State) -> dict[str, object]:
    """The model's arguments, as far as the weights show them."""
    arguments: dict[str, object] = {"pos_embed_interp": "flat1d"}
    classifier, positions = state.get("classifier.bias"), state.get(POSITIONS)
    if classifier is not None and classifier.ndim == 1 and len(classifier):
        arguments["num_classes"] = len(classifier)
    if positions is not None and positions.ndim == 4:
        arguments["image_size"] = 16 * max(1, math.isqrt(positions.shape[2]))
    return arguments


def _expected(name: str, state: State) -> State:
    official = state_of(name, tuple(_arguments(state).items()))
    return CatLIPConverter().save(official, name, "corenet")
