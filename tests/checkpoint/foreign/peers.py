"""Small models with random weights, in folders as transformers and open_clip write them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

WORDS = ["a", "photo", "of", "cat", "dog", "two", "red", "."]
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 2}
TEXT = {**TOWER, "vocab_size": 20, "max_position_embeddings": 12}
VISION = {**TOWER, "image_size": 32, "patch_size": 16}


def write_transformers(folder: Path, kind: str) -> nn.Module:
    """A CLIP, MetaCLIP 2, SigLIP, AIMv2 or an AIMv2 encoder alone, with its processors."""
    import transformers

    model_class, config = {
        "clip": (transformers.CLIPModel, transformers.CLIPConfig(
            text_config={**TEXT, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 1},
            vision_config=VISION, projection_dim=16)),
        "metaclip_2": (transformers.MetaClip2Model, transformers.MetaClip2Config(
            text_config={**TEXT, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 1},
            vision_config=VISION, projection_dim=16)),
        "siglip": (transformers.SiglipModel, transformers.SiglipConfig(
            text_config={**TEXT, "projection_size": 32, "bos_token_id": 2, "eos_token_id": 1,
                         "pad_token_id": 1}, vision_config=VISION)),
        "aimv2": (transformers.Aimv2Model, transformers.Aimv2Config(
            text_config={**TEXT, "eos_token_id": 1}, vision_config={**VISION, "use_head": True},
            projection_dim=16)),
        "aimv2_vision_model": (transformers.Aimv2VisionModel, transformers.Aimv2VisionConfig(
            **VISION, use_head=False)),
    }[kind]
    torch.manual_seed(0)
    model: nn.Module = model_class(config).eval()
    for parameter in model.parameters():  # fresh ones are so small that padding hardly shows
        nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)  # type: ignore[operator]
    if kind == "siglip":
        processor = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    else:
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32},
                                                    crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    if "vision" not in kind:
        write_tokenizer(folder, kind)
    return model


def write_tokenizer(folder: Path, kind: str) -> None:
    """A tokenizer of a few words, which ends captions with ``</s>``.

    CLIP's pads with what ends captions, SigLIP's gives no mask, AIMv2's has a token for padding.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", "<pad>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>",
                                                             special_tokens=[("</s>", 1)])
    names = ["input_ids"] if kind == "siglip" else ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>",
        pad_token="<pad>" if kind == "aimv2" else "</s>", model_input_names=names,
        model_max_length=12).save_pretrained(folder)


def write_open_clip(folder: Path, **wants: Any) -> nn.Module:
    """A model of open_clip in a folder as its hub has them; the model itself."""
    import open_clip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2,
                     "layers": 1}}
    folder.mkdir()
    content = {"model_cfg": config, **({"preprocess_cfg": wants} if wants else {})}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model: nn.Module = open_clip.create_model(f"local-dir:{folder}").eval()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")
    return model
