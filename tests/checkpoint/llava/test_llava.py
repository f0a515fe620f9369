"""transformers' Llava: out of a model folder, with the same logits and words, and back again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import corekit
from corekit import CorekitError
from corekit.checkpoint.convert import convert_in, convert_out
from corekit.checkpoint.llava.layout import remarks
from corekit.checkpoint.llava.vocabulary import write_vocabulary
from corekit.checkpoint.model_folder import save_model_folder
from corekit.checkpoint.portable import portable_recipe, save_tokenizer
from corekit.data.conversations.messages import Message
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.fsdp import full_state
from corekit.models.build import build_model
from corekit.models.multimodal.multimodal import Multimodal
from corekit.recipes.build import run_config
from tests.language_models import small_llama, write_tokenizer

pytest.importorskip("transformers")

PREPROCESS = Preprocess(70, "bilinear", (0.5, 0.4, 0.3), (0.5, 0.5, 0.5), resize="pad")
# question -> its content for transformers
QUESTIONS: dict[str, object] = {
    "which object is this?": [{"type": "image"}, {"type": "text", "text": "which object is this?"}],
    "<image> and <image>: how many apples?": "<image> and <image>: how many apples?"}
Language = dict[str, object]


def model_folder(folder: Path, template: str = "chatml", preprocess: Preprocess = PREPROCESS,
                 language: Language | None = None, **arguments: object) -> Path:
    """A model folder of a small multimodal model with random weights."""
    vocabulary = write_tokenizer(folder / "language", template)
    recipe = {"model": {"name": "multimodal", "encoder_model": {"name": "aimv2_nano"},
                        "language_model": language or small_llama(), **arguments},
              "data": {"tokenizer": {"name": "chat", "path": str(vocabulary),
                                     "context_length": 300, "picture_tokens": 25}}}
    model = build_model(run_config(recipe).model, 0, torch.device("cpu"))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    tokenizer = ChatTokenizer(str(vocabulary), 300, 25)
    recipe = dict(portable_recipe(run_config(recipe).to_plain(), model, tokenizer))
    save_model_folder(folder / "model", full_state(model, True), recipe, preprocess)
    save_tokenizer(folder / "model", tokenizer)
    return folder / "model"


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 20 * number, 90, 3), dtype=np.uint8))
            for number in range(2)]


def ours(folder: Path, question: str,
         images: list[Image.Image]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Token ids, pixels, logits of each token but the first, and the words of an answer."""
    model, preprocess, tokenizer = corekit.load(folder)
    assert isinstance(model, Multimodal)
    assert isinstance(tokenizer, ChatTokenizer)
    ids = tokenizer.prompt([Message("user", question)], [1] * len(images))
    tiles = torch.cat([preprocess.tiles_of(image) for image in images])
    batch = (preprocess.normalize(tiles), torch.tensor([0, len(tiles)]), ids,
             torch.tensor([0, len(ids)]))
    with torch.no_grad():
        hidden = model(*batch)["text_logits"]
        answer = model.generate(*batch, max_new_tokens=8, end_tokens=tokenizer.end_tokens)[0]
    return ids, batch[0], hidden.dense()[1:], answer


def theirs(folder: Path, content: object, images: list[Image.Image],
           pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """The same by transformers alone, as its documentation has it, but for the pixels."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    processor: Any = AutoProcessor.from_pretrained(folder, backend="pil")
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder)
    text = processor.apply_chat_template([{"role": "user", "content": content}],
                                         add_generation_prompt=True)
    inputs = processor(images=images, text=text, return_tensors="pt")
    own = inputs["pixel_values"]
    inputs["pixel_values"] = pixels  # a difference in the last bit would grow in the network
    with torch.no_grad():
        logits = model(**inputs).logits[0, :-1]
        answer = model.generate(**inputs, max_new_tokens=8)[0]
    ids = inputs["input_ids"][0]
    return ids.where(ids != model.config.image_token_index, -1), own, logits, answer[len(ids):
                                                                                     ].tolist()


@pytest.mark.parametrize(("template", "arguments", "language"), [
    ("chatml", {"layer": 3}, small_llama()),
    ("llama3", {"layer": -2, "lora": {"language_model": {"rank": 2}, "encoder": {"rank": 2}}},
     small_llama(301, tie_word_embeddings=False)),
])
def test_logits_and_words_are_the_same_there(tmp_path: Path, template: str,
                                             arguments: dict[str, object],
                                             language: Language) -> None:
    folder = model_folder(tmp_path, template, language=language, **arguments)
    name, notes = convert_out(folder, tmp_path / "llava", "transformers")
    rows = int(str(language["vocab_size"]))
    assert (name, len(notes)) == ("multimodal", 2 if rows == 300 else 1)
    generation = json.loads((tmp_path / "llava/generation_config.json").read_text())
    assert generation.get("suppress_tokens") == ([300] if rows == 300 else None)
    for question, parts in QUESTIONS.items():
        images = pictures()[:question.count("<image>") or 1]
        ids, pixels, logits, words = ours(folder, question, images)
        others = theirs(tmp_path / "llava", parts, images, pixels)
        assert torch.equal(ids, others[0])
        torch.testing.assert_close(pixels, others[1], rtol=0, atol=3e-7)
        assert (logits - others[2][:, :rows]).abs().max() <= 1e-6 * logits.abs().max()
        assert words == others[3]


def test_the_way_back_has_the_same_tensors(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, layer=-2)
    convert_out(folder, tmp_path / "llava", "transformers")
    name, _ = convert_in(tmp_path / "llava", tmp_path / "back")
    there, back = corekit.load(folder), corekit.load(tmp_path / "back")
    assert name == "multimodal"
    assert isinstance(back.model, Multimodal)
    assert back.model.layer == -2
    assert back.preprocess == replace(PREPROCESS, crop_rounding="down")
    state = back.model.state_dict()
    for key, value in there.model.state_dict().items():
        assert torch.equal(value, state[key][:len(value)]), key
    convert_out(tmp_path / "back", tmp_path / "again", "transformers")
    for file in ("config.json", "chat_template.jinja", "tokenizer.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "llava" / file).read_bytes()


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    convert_out(model_folder(tmp_path), tmp_path / "llava", "transformers")
    maps = {"config.json": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
            "tokenizer_config.json": {"AutoTokenizer": ["evil.Tokenizer", None]},
            "processor_config.json": {"AutoProcessor": "evil.Processor"}}
    for name, auto_map in maps.items():
        file = tmp_path / "llava" / name
        content = {**json.loads(file.read_text()), "auto_map": auto_map}
        if "text_config" in content:
            content["text_config"]["auto_map"] = auto_map
        file.write_text(json.dumps(content))
    (tmp_path / "llava/evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    convert_in(tmp_path / "llava", tmp_path / "back")
    corekit.load(tmp_path / "back")
    assert not (tmp_path / "ran").exists()


def test_a_picture_is_a_reserved_token_and_nothing_is_put_before_a_text(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    vocabulary = write_tokenizer(tmp_path, "llama3")
    path = vocabulary / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    last = {**content["added_tokens"][0], "id": 300, "content": "<|reserved_special_token_0|>"}
    content["added_tokens"].append(last)
    begin = "<|begin_of_text|>"
    content["post_processor"] = {
        "type": "TemplateProcessing", "pair": [], "special_tokens": {
            begin: {"id": begin, "ids": [0], "tokens": [begin]}},
        "single": [{"SpecialToken": {"id": begin, "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    settings = json.loads((vocabulary / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {"eos_token": "<|end_header_id|>"}
    (vocabulary / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = ChatTokenizer(str(vocabulary))
    assert tokenizer.picture_id == 301
    (tmp_path / "out").mkdir()
    write_vocabulary(tokenizer, 301, tmp_path / "out")
    written: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert written.convert_tokens_to_ids("<image>") == 300
    assert len(written) == 301
    assert written.eos_token == "<|eot_id|>"
    text = written.apply_chat_template([{"role": "user", "content": "two<image>"}], tokenize=False,
                                       add_generation_prompt=True)
    ids = ChatTokenizer(tokenizer.path, 99, 1).prompt([Message("user", "two<image>")], [1])
    assert written(text).input_ids == ids.where(ids >= 0, 300).tolist()


@pytest.mark.parametrize(("preprocess", "arguments", "message"), [
    (PREPROCESS, {"norm": True}, "before it: model.norm=false"),
    (PREPROCESS, {"connector": "linear"}, "model.connector=mlp"),
    (PREPROCESS, {"shuffle": 5}, "model.shuffle=1"),
    (replace(PREPROCESS, tiles=4), {}, "data.preprocess.tiles=1"),
    (PREPROCESS, {"encoder_model": {"name": "aimv1_600m", "width_divisor": 12,
                                    "depth_divisor": 12}}, "no converter knows a vision model"),
    (PREPROCESS, {"lora": {"encoder": {"rank": 2}}}, ""),
])
def test_what_llava_cannot_hold_is_known_before_training(
        preprocess: Preprocess, arguments: dict[str, object], message: str) -> None:
    node = {"name": "multimodal", "encoder_model": {"name": "aimv2_nano"},
            "language_model": small_llama(), **arguments}
    config = run_config({"model": node}).model
    lines = remarks(build_model(config, 0, torch.device("meta")), preprocess)
    assert len(lines) == bool(message)
    assert not message or message in lines[0]


def test_what_cannot_be_written_or_read_is_one_sentence(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, norm=True)
    with pytest.raises(CorekitError, match="Llava cannot hold this model: .* model.norm=false"):
        convert_out(folder, tmp_path / "llava", "transformers")
    with pytest.raises(CorekitError, match="in the layout 'timm': there is transformers"):
        convert_out(folder, tmp_path / "llava", "timm")
    other = tmp_path / "other"
    other.mkdir()
    for config, message in (({"vision_feature_select_strategy": "default"}, "knows full alone"),
                            ({"vision_feature_layer": [1, 2]}, "of several layers")):
        (other / "config.json").write_text(json.dumps({"model_type": "llava", **config}))
        with pytest.raises(CorekitError, match=message):
            convert_in(other, tmp_path / "back")
    assert not (tmp_path / "llava").exists()
