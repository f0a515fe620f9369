"""Folders of small tokenizers with the chat templates of three families of language models."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

CHATML = ("{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
          "<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
LLAMA3 = ("{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
          "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim }}"
          "<|eot_id|>{% endfor %}{% if add_generation_prompt %}"
          "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}")
VICUNA = ("{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
          "{{ message.content }} {% elif message.role == 'user' %}USER: {{ message.content }} "
          "{% else %}ASSISTANT: {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}ASSISTANT:{% endif %}")
# family -> its template, and its marks: those that begin and end a text, then others
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "chatml": (CHATML, ("<|endoftext|>", "<|im_end|>", "<|im_start|>")),
    "llama3": (LLAMA3, ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>",
                        "<|end_header_id|>")),
    "vicuna": (VICUNA, ("<s>", "</s>")),
}


def write_tokenizer(folder: Path, family: str) -> Path:
    """A folder of transformers: every text has ids, of a byte or a letter each, and marks."""
    from transformers import PreTrainedTokenizerFast

    template, marks = FAMILIES[family]
    tokenizer = _of_letters() if family == "vicuna" else _of_bytes()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    more: dict[str, Any] = {"additional_special_tokens": [*marks[2:]]} if marks[2:] else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=marks[0], eos_token=marks[1],
                            chat_template=template, **more).save_pretrained(folder)
    return folder


def _of_bytes() -> Tokenizer:
    """As GPT-2's and Llama 3's, without merges but two."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("Ġ", "th")]
    ids = {piece: number for number, piece in enumerate([*alphabet, *map("".join, merges)])}
    tokenizer = Tokenizer(BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _of_letters() -> Tokenizer:
    """As Llama 2's: a space before every text, and bytes for letters that it does not know."""
    pieces = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127)), "▁A"]
    ids = {piece: number for number, piece in enumerate(["<unk>", *pieces])}
    tokenizer = Tokenizer(BPE(ids, [("▁", "A")], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    return tokenizer
