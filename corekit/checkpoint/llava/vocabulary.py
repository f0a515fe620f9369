"""The tokenizer of a Llava folder: transformers' own, in which ``<image>`` has a row to look up."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.data.conversations.messages import PICTURE
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.recipes.schema import Plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RESERVED = re.compile("reserved|unused|placeholder", re.IGNORECASE)  # tokens that nothing means
# Programs give a picture as a part of a message, {type: image}; these templates are of strings.
# The places of pictures are those of training.
PARTS = """{%- set strings = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- set text = namespace(content='') -%}
{%- if message.content is string -%}
{%- set text.content = message.content -%}
{%- else -%}
{%- for part in message.content -%}
{%- set text.content = text.content + ('<image>\\n' if part.type == 'image' else part.text) -%}
{%- endfor -%}
{%- endif -%}
{%- set strings.messages = strings.messages + [{'role': message.role, 'content': text.content}] -%}
{%- endfor -%}
{%- set messages = strings.messages -%}
"""


def write_vocabulary(tokenizer: ChatTokenizer, rows: int,
                     folder: Path) -> "PreTrainedTokenizerBase":
    """Write a tokenizer as programs around transformers use it.

    ``<image>`` takes the place of a token that is reserved, where it has no row of its own below
    ``rows``. The token that ends an answer is the end token, since some programs know no other.
    Nothing is put before a text: the template writes all that training saw.
    """
    from transformers import AutoTokenizer

    tokenizer.save(folder)
    spare = _spare(tokenizer, rows) if tokenizer.picture_id >= rows else None
    if spare is not None:
        _edit(folder / "tokenizer.json", lambda content: _rename(content, spare))
        _edit(folder / "tokenizer_config.json", lambda content: _forget(content, spare))
    vocabulary: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False)
    if vocabulary.eos_token_id not in tokenizer.end_tokens:
        vocabulary.eos_token = vocabulary.convert_ids_to_tokens(min(tokenizer.end_tokens))
    if vocabulary.pad_token is None:
        vocabulary.pad_token = vocabulary.eos_token
    template = str(vocabulary.chat_template)
    vocabulary.chat_template = PARTS + template.removeprefix(PARTS)
    if vocabulary("a").input_ids != vocabulary("a", add_special_tokens=False).input_ids:
        _add_nothing(vocabulary)
    vocabulary.save_pretrained(folder)
    return vocabulary


def _spare(tokenizer: ChatTokenizer, rows: int) -> str | None:
    """A reserved token that neither the template nor the model's ends use."""
    vocabulary = tokenizer.vocabulary
    used = {vocabulary.eos_token, vocabulary.bos_token, vocabulary.pad_token,
            vocabulary.unk_token}
    return next((token.content for number, token in vocabulary.added_tokens_decoder.items()
                 if number < rows and RESERVED.search(token.content)
                 and number not in tokenizer.end_tokens and token.content not in used
                 and token.content not in str(vocabulary.chat_template)), None)


def _rename(content: Plain, spare: str) -> None:
    """Give ``<image>`` a token's id in tokenizer.json."""
    added = [token for token in content["added_tokens"] if token["content"] != PICTURE]
    for token in added:
        if token["content"] == spare:
            token |= {"content": PICTURE, "special": True, "normalized": False}
    content["added_tokens"] = added
    words = content["model"]["vocab"]
    if isinstance(words, dict) and spare in words:
        words[PICTURE] = words.pop(spare)


def _forget(content: Plain, spare: str) -> None:
    """Name ``<image>`` instead of a token in tokenizer_config.json."""
    tokens = content.get("added_tokens_decoder", {})
    content["added_tokens_decoder"] = {
        number: {**token, "content": PICTURE, "special": True} if token["content"] == spare
        else token for number, token in tokens.items() if token["content"] != PICTURE}
    more = content.get("extra_special_tokens")
    if isinstance(more, list):
        content["extra_special_tokens"] = [token for token in more if token != spare]


def _add_nothing(vocabulary: "PreTrainedTokenizerBase") -> None:
    from tokenizers.processors import TemplateProcessing

    vocabulary.init_kwargs |= {"add_bos_token": False, "add_eos_token": False}
    vocabulary.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A", pair="$A $B:1", special_tokens=[])


def _edit(path: Path, change: Callable[[Plain], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
