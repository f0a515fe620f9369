"""CatLIP's weights as CoreNet lays them out: the same tensors under other names."""

import inspect
import math

import torch

from corekit import registry
from corekit.checkpoint.convert import Converted, differences
from corekit.checkpoint.key_names import renamed
from corekit.checkpoint.read_state import State
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
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
        """The model that has exactly these names and shapes."""
        weights = _without_scalars(state)[0]
        if POSITIONS not in weights:  # a model need not be built to know
            return []
        return [name for name in MODELS if not differences(weights, _expected(name, weights))]

    def load(self, state: State, name: str) -> Converted:
        """The weights as ``name`` has them, for ``flat1d`` positions."""
        weights, notes = _without_scalars(state)
        if problems := differences(weights, _expected(name, weights)):
            raise CorekitError(f"these weights, taken for CoreNet's, are not those of '{name}': "
                               f"{'; '.join(problems)}")
        converted = {}
        for ours in _official(name, weights):
            value = weights[renamed(ours, RULES)]
            value = value.float() if value.is_floating_point() else value
            converted[ours] = (value[0] if ours == "pos_embed" else value).contiguous()
        defaults = inspect.signature(registry.find("model", name).load()).parameters
        arguments = {key: value for key, value in _arguments(weights).items()
                     if value != defaults[key].default}
        notes.append("the file does not say what size it was tuned for: preprocess.json has the "
                     f"{SIZE} pixels of pre-training; some fine-tuned models want 512")
        preprocess = Preprocess(SIZE, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return Converted(converted, arguments, preprocess, {}, notes)

    def layouts(self, name: str) -> list[str]:
        """CoreNet's, the only one."""
        return ["corenet"] if name in MODELS else []

    def save(self, weights: State, name: str, layout: str) -> State:
        """The weights without RangeAugment's scalars."""
        return {renamed(ours, RULES): value[None] if ours == "pos_embed" else value
                for ours, value in weights.items() if ours not in AUGMENT}


def _without_scalars(state: State) -> tuple[State, list[str]]:
    """The weights without RangeAugment's six scalars, if all are there, and notes for the user."""
    if any(key not in state or state[key].ndim for key in AUGMENT):
        return dict(state), []
    weights = {key: value for key, value in state.items() if key not in AUGMENT}
    return weights, ["RangeAugment's 6 learned scalars, which only training uses, are left out"]


def _arguments(state: State) -> dict[str, object]:
    """The model's arguments, as far as the weights show them."""
    arguments: dict[str, object] = {"pos_embed_interp": "flat1d"}
    classifier, positions = state.get("classifier.bias"), state.get(POSITIONS)
    if classifier is not None and classifier.ndim == 1 and len(classifier):
        arguments["num_classes"] = len(classifier)
    if positions is not None and positions.ndim == 4:
        arguments["image_size"] = 16 * max(1, math.isqrt(positions.shape[2]))
    return arguments


def _official(name: str, state: State) -> State:
    """The model's own state, on the meta device."""
    with torch.device("meta"):
        model: torch.nn.Module = registry.build("model", name, _arguments(state))
    return dict(model.state_dict())


def _expected(name: str, state: State) -> State:
    return CatLIPConverter().save(_official(name, state), name, "corenet")
