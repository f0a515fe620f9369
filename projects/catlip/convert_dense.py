"""CatLIP's detectors and segmenters as CoreNet lays them out: the same tensors, other names."""

import math
import re

from corekit.checkpoint.convert import Converted, check_state, differences, state_of
from corekit.checkpoint.key_names import Rules, changed_arguments, renamed, run_otherwise
from corekit.checkpoint.read_state import State
from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.schema import ModelConfig
from corekit.registry import register

from . import convert
from .dense import STRIDES

DETECTORS = ("catlip_mask_rcnn_b16", "catlip_mask_rcnn_l16", "catlip_mask_rcnn_h16")
SEGMENTERS = ("catlip_deeplabv3_b16", "catlip_deeplabv3_l16", "catlip_deeplabv3_h16")
WIDTHS, LAYERS = (768, 1024, 1280), (12, 24, 32)  # of B, L and H
# where CoreNet is not as models here are by themselves
CORENET: dict[str, object] = {"norm": "std", "bare_top": True, "roi_aligned": False,
                              "pooled_levels": 5, "rpn_background": 0.7, "whole_steps": True}


def _numbered(name: str, layers: int) -> Rules:
    """Rules for convolutions in a row, which CoreNet numbers with their norms and activations."""
    return tuple((rf"^{re.escape(name)}\.{layer}\.{number}\.",
                  f"model.{name}.{3 * layer + number}.{part}")
                 for layer in range(layers)
                 for number, part in enumerate(("block.conv.", "")))


def _levels(ours: str, theirs: str) -> Rules:
    """Rules for the levels of the pyramid, which CoreNet calls by their strides."""
    return tuple((rf"^pyramid\.1\.{ours}\.{level}\.{number}\.",
                  f"model.backbone.{theirs}.{stride}.block.{part}.")
                 for level, stride in enumerate(STRIDES[:4])
                 for number, part in enumerate(("conv", "norm")))


SIMPLE = "model.backbone.encoder.simple_fpn"
HEADS: Rules = (  # corekit's name -> CoreNet's
    (r"^pyramid\.0\.levels\.0\.0\.", f"{SIMPLE}.out_l2.0.block.conv."),
    (r"^pyramid\.0\.levels\.0\.1\.", f"{SIMPLE}.out_l2.0.block.norm."),
    (r"^pyramid\.0\.levels\.0\.3\.", f"{SIMPLE}.out_l2.1.block.conv."),
    (r"^pyramid\.0\.levels\.1\.", f"{SIMPLE}.out_l3.block.conv."),
    *_levels("projections", "backbone_proj_layers"), *_levels("outputs", "fpn_proj_layers"),
    (r"^pyramid\.1\.extra\.0\.", "model.backbone.extra_layers.64.block.conv."),
    (r"^pyramid\.1\.extra\.1\.", "model.backbone.extra_layers.64.block.norm."),
    *_numbered("rpn.head.conv", 2),
    (r"^rpn\.head\.(cls_logits|bbox_pred)\.", r"model.rpn.head.\1.block.conv."),
    (r"^roi_heads\.box_head\.5\.", "model.roi_heads.box_head.13."),
    *_numbered("roi_heads.box_head", 4),
    (r"^roi_heads\.box_predictor\.", "model.roi_heads.box_predictor."),
    *_numbered("roi_heads.mask_head", 4),
    (r"^roi_heads\.mask_predictor\.([03])\.", r"model.roi_heads.mask_predictor.\1.block.conv."),
    (r"^roi_heads\.mask_predictor\.1\.", "model.roi_heads.mask_predictor.1."),
    (r"^aspp\.branches\.([0-3])\.0\.", r"seg_head.aspp.aspp_layer.convs.\1.block.conv."),
    (r"^aspp\.branches\.([0-3])\.1\.", r"seg_head.aspp.aspp_layer.convs.\1.block.norm."),
    (r"^aspp\.branches\.4\.project\.", "seg_head.aspp.aspp_layer.convs.4.aspp_pool.conv_1x1."),
    (r"^aspp\.project\.", "seg_head.aspp.aspp_layer.project."),
    (r"^(seg_head\..*(?:project|conv_1x1)\.)0\.", r"\1block.conv."),
    (r"^(seg_head\..*(?:project|conv_1x1)\.)1\.", r"\1block.norm."),
    (r"^classifier\.", "seg_head.classifier.block.conv."),
)


@register("converter", "catlip_dense")
class CatLIPDenseConverter:
    """CatLIP's Mask R-CNN and DeepLabv3 in CoreNet's layout, with any classes.

    Names and shapes are those of CoreNet's models as built; released files were not at hand to
    compare. RangeAugment's six scalars may be there, all or none; they belong to training and are
    left out. Converted weights come with the arguments that make them what they are in CoreNet.
    """

    def detect(self, state: State) -> list[str]:
        names = [name for name in (*DETECTORS, *SEGMENTERS) if _positions(name) in state]
        weights = _without_scalars(state)[0]
        return [name for name in names if not differences(weights, _expected(name, weights))]

    def load(self, state: State, name: str) -> Converted:
        """The weights as ``name`` has them."""
        weights, notes = _without_scalars(state)
        check_state(weights, _expected(name, weights), name, "corenet")
        arguments = _arguments(name, weights)
        converted = {}
        for ours in state_of(name, tuple(arguments.items())):
            value = weights[_renamed(ours, name)]
            value = value.float() if value.is_floating_point() else value
            converted[ours] = (value[0] if ours == "encoder.pos_embed" else value).contiguous()
        size, interpolation = (1024, "bilinear") if name in DETECTORS else (512, "bicubic")
        preprocess = Preprocess(size, interpolation, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return Converted(converted, changed_arguments(name, arguments), preprocess, {}, notes)

    def layouts(self, name: str) -> list[str]:
        return ["corenet"] if name in (*DETECTORS, *SEGMENTERS) else []

    def save(self, weights: State, name: str, layout: str) -> State:
        return {_renamed(ours, name): value[None] if ours == "encoder.pos_embed" else value
                for ours, value in weights.items() if ours not in convert.AUGMENT}

    def remarks(self, model: ModelConfig, weights: State, saved: State, layout: str) -> list[str]:
        """CoreNet's values of what a detector trained here may have others of."""
        runs = {"pos_embed_interp": "flat1d", **(CORENET if model.name in DETECTORS else {})}
        return run_otherwise(model.name, model.arguments, runs, layout)


def _encoder(name: str) -> str:
    return "model.backbone.encoder." if name in DETECTORS else "encoder."


def _positions(name: str) -> str:
    return _encoder(name) + convert.POSITIONS


def _renamed(ours: str, name: str) -> str:
    if ours.startswith("encoder."):
        return _encoder(name) + renamed(ours.removeprefix("encoder."), convert.RULES)
    return renamed(ours, HEADS)


def _without_scalars(state: State) -> tuple[State, list[str]]:
    scalars = {key for key in state for name in convert.AUGMENT if key.endswith(f"encoder.{name}")}
    if len(scalars) != len(convert.AUGMENT) or any(state[key].ndim for key in scalars):
        return dict(state), []
    weights = {key: value for key, value in state.items() if key not in scalars}
    return weights, [convert.LEFT_OUT]


def _arguments(name: str, state: State) -> dict[str, object]:
    """The model's arguments, as far as the weights show them."""
    arguments: dict[str, object] = {"pos_embed_interp": "flat1d"}
    bias = "model.roi_heads.box_predictor.cls_score.bias"
    background = 1
    if name in DETECTORS:
        arguments |= CORENET
    else:
        bias, background = "seg_head.classifier.block.conv.bias", 0
    if bias in state and state[bias].ndim == 1 and len(state[bias]) > background:
        arguments["num_classes"] = len(state[bias]) - background
    positions = state.get(_positions(name))
    if positions is not None and positions.ndim == 4:
        arguments["image_size"] = 16 * max(1, math.isqrt(positions.shape[2]))
        arguments |= _divisors(name, state, positions.shape[3])
    return arguments


def _divisors(name: str, state: State, width: int) -> dict[str, object]:
    """How narrow and shallow a copy of the model is; nothing where it is the model itself."""
    number = (DETECTORS if name in DETECTORS else SEGMENTERS).index(name)
    start = f"{_encoder(name)}transformer."
    layers = len({key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)})
    sides = {"width_divisor": (WIDTHS[number], width), "depth_divisor": (LAYERS[number], layers)}
    return {key: whole // part for key, (whole, part) in sides.items()
            if 0 < part < whole and whole % part == 0}


def _expected(name: str, state: State) -> State:
    official = state_of(name, tuple(_arguments(name, state).items()))
    return CatLIPDenseConverter().save(official, name, "corenet")
