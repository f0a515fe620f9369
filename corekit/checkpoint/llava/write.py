"""A model ``multimodal`` as a folder of transformers' LlavaForConditionalGeneration."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from corekit.checkpoint.llava.layout import State, obstacle, vision_converter
from corekit.checkpoint.llava.vocabulary import write_vocabulary
from corekit.data.conversations.messages import PICTURE
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.transforms.preprocess import RESAMPLING, Preprocess
from corekit.errors import CorekitError
from corekit.files import replacing
from corekit.models.multimodal.language_model import merge_lora
from corekit.models.multimodal.multimodal import Multimodal
from corekit.recipes.schema import Plain

if TYPE_CHECKING:
    from transformers import (
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerBase,
    )

SHARD = "5GB"  # of weights in a file
PIXELS = ("transformers resizes pictures by torchvision, and corekit by Pillow: "
          "AutoProcessor.from_pretrained(FOLDER, backend='pil') gives the pixels of training")


def write_llava(model: Multimodal, preprocess: Preprocess, tokenizer: Tokenizer | None,
                target: Path) -> list[str]:
    """Write configuration, weights, tokenizer and processor.

    Adapters are merged into the layers that they belong to, in place.

    Returns:
        what code of transformers does otherwise.

    Raises:
        CorekitError: Llava cannot hold the model, or its recipe has no chat tokenizer.
    """
    problem = obstacle(model, preprocess)
    converter = vision_converter(model.encoder, preprocess.size)
    vision = converter.vision_config(model.encoder, preprocess.size) if converter else None
    if problem or converter is None or vision is None:
        raise CorekitError(f"transformers' Llava cannot hold this model: {problem}")
    if not isinstance(tokenizer, ChatTokenizer):
        raise CorekitError("Llava needs a vocabulary and a chat template, and the model's recipe "
                           "names no data.tokenizer of name chat")
    merge_lora(model)
    rows = model.words.num_embeddings
    with replacing(target) as folder:
        folder.mkdir()
        vocabulary = write_vocabulary(tokenizer, rows, folder)
        picture = vocabulary.get_vocab()[PICTURE]
        weights = converter.vision_weights(model.encoder, preprocess.size)
        llava = _llava(model, vision, weights, picture)
        ends = sorted(tokenizer.end_tokens)
        llava.generation_config.update(  # type: ignore[no-untyped-call]
            do_sample=False, eos_token_id=ends, pad_token_id=vocabulary.pad_token_id,
            suppress_tokens=[*range(rows, picture + 1)] or None)
        llava.save_pretrained(folder, max_shard_size=SHARD)
        _processor(preprocess, vision["patch_size"], vocabulary).save_pretrained(folder)
    return [PIXELS] if picture < rows else [
        f"<image> is token {picture}, a row more than the model had", PIXELS]


def _llava(model: Multimodal, vision: Plain, weights: State,
           picture: int) -> "LlavaForConditionalGeneration":
    """The model with the same tensors; its vocabulary has rows up to the token of a picture."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    rows = max(model.words.num_embeddings, picture + 1)
    text = {**model.language_model.config.to_dict(), "vocab_size": rows}
    from_last = model.layer - (vision["num_hidden_layers"] if model.layer >= 0 else 0)
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(LlavaConfig(
            vision_config=vision, text_config=text, image_token_index=picture,
            image_seq_length=_tokens(weights), projector_hidden_act="gelu",
            vision_feature_select_strategy="full", vision_feature_layer=from_last,
            multimodal_projector_bias=True,
            tie_word_embeddings=bool(text.get("tie_word_embeddings"))))
    decoder = model.language_model.base_model.state_dict()
    embedding = next(name for name, value in decoder.items()
                     if value.data_ptr() == model.words.weight.data_ptr())
    decoder[embedding] = _with_rows(model.words.weight, rows)
    is_tied = model.head.weight is model.words.weight
    state: State = {
        **{f"model.vision_tower.{name}": value for name, value in weights.items()},
        **{f"model.multi_modal_projector.{name}": value
           for name, value in model.connector.state_dict().items()},
        **{f"model.language_model.{name}": value for name, value in decoder.items()},
        "lm_head.weight": decoder[embedding] if is_tied else _with_rows(model.head.weight, rows)}
    llava.load_state_dict(state, assign=True)
    llava.tie_weights()
    return llava


def _tokens(weights: State) -> int:
    """How many tokens a picture has: the rows of the table of positions."""
    return int(weights["embeddings.position_embedding.weight"].shape[0])


def _with_rows(table: Tensor, rows: int) -> Tensor:
    """A table of words with zeros after its own rows."""
    more = table.new_zeros(rows - len(table), table.shape[1])
    return torch.cat([table.detach(), more]) if len(more) else table.detach()


def _processor(preprocess: Preprocess, patch_size: int,
               vocabulary: "PreTrainedTokenizerBase") -> "LlavaProcessor":
    """transformers' preparation of pictures and conversations."""
    from transformers import LlavaImageProcessor, LlavaProcessor

    resized = round(preprocess.size / preprocess.crop_fraction)
    square = {"height": preprocess.size, "width": preprocess.size}
    is_shortest = preprocess.resize == "shortest"
    settings: Plain = {
        "size": {"shortest_edge": resized} if is_shortest else {"height": resized,
                                                                "width": resized},
        "crop_size": square, "do_pad": preprocess.resize == "pad",
        "do_center_crop": is_shortest or resized != preprocess.size,
        "resample": int(RESAMPLING[preprocess.interpolation]),
        "image_mean": [*preprocess.mean], "image_std": [*preprocess.std]}
    return LlavaProcessor(  # type: ignore[no-untyped-call]
        LlavaImageProcessor(**settings), vocabulary, patch_size=patch_size,
        vision_feature_select_strategy="full", chat_template=vocabulary.chat_template)
