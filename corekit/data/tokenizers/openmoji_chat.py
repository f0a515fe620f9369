"""The ``openmoji_chat`` tokenizer: all words of the questions about drawn scenes, and no others."""

from functools import lru_cache
from typing import TYPE_CHECKING

from corekit.data.datasets.openmoji.asking import SIGNS, words
from corekit.data.datasets.openmoji.concepts import concept_names
from corekit.data.tokenizers.chat import ChatTokenizer, prepared
from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN, PADDING, END, SYSTEM, USER, ASSISTANT = SPECIAL = (
    "<|unknown|>", "<|padding|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = ("{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}"
            f"{END}\n{{% endfor %}}{{% if add_generation_prompt %}}{ASSISTANT}\n{{% endif %}}")


@register("tokenizer", "openmoji_chat")
class OpenMojiChat(ChatTokenizer):
    """A word a token, for conversations of dataset ``openmoji_questions``.

    Its words are those of the questions about so many concepts and of their answers, in the order
    of the alphabet, behind the marks of a small chat template. Any other word is unknown.

    Args:
        concepts: as of the dataset.
        context_length: most tokens of a conversation, its pictures among them.
        picture_tokens: places of a picture: the model's tokens of it.

    Raises:
        CorekitError: when first used: the extra ``demo`` or ``language`` is not installed.
    """

    def __init__(self, concepts: int = 20, context_length: int = 256,
                 picture_tokens: int = 25) -> None:
        super().__init__(None, context_length, picture_tokens)
        self.concepts = concepts

    @property
    def vocabulary(self) -> "PreTrainedTokenizerBase":
        """transformers' tokenizer, in which ``<image>`` is one token."""
        return _vocabulary(self.concepts)

    @property
    def vocab_size(self) -> int:
        """Number of ids, that of ``<image>``, the last one, not counted."""
        return self.picture_id


@lru_cache(maxsize=4)
def _vocabulary(concepts: int) -> "PreTrainedTokenizerBase":
    try:
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        raise CorekitError("tokenizer 'openmoji_chat' needs the library transformers: "
                           "pip install 'corekit[language]'") from None
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel

    ids = {word: number for number, word in enumerate(
        [*SPECIAL, *words(concept_names()[:concepts])])}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    signs = [pre_tokenizers.Split(sign, "isolated") for sign in SIGNS]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), *signs])
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token=UNKNOWN, pad_token=PADDING, eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT], chat_template=TEMPLATE)
    return prepared(fast, "openmoji_chat")
