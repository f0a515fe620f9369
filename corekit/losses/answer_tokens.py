"""Instruction tuning: the cross-entropy of the words of answers."""

from torch import Tensor

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput, num_classes, select
from corekit.losses.blockwise import check_block
from corekit.losses.cross_entropy import summed_cross_entropy
from corekit.losses.guess import Guess, of_classes
from corekit.registry import register


@register("loss", "answer_tokens")
class AnswerTokens:
    """-log softmax(text_logits) at the tokens that are learned, on average over those of the step.

    The sum and the number of tokens are those of the whole step, so that neither ranks nor
    micro-batches change the loss. Where the model gives a ``LinearOutput``, the logits of one block
    of tokens are evaluated at a time, and of no token that is not learned.

    Args:
        block: tokens whose logits are held at one time.
    """

    def __init__(self, block: int = 1024) -> None:
        check_block("answer_tokens", block)
        self.block = block

    def weights(self, target_mask: Tensor) -> Tensor:
        """How many tokens count."""
        return target_mask.sum()

    def __call__(self, text_logits: Tensor | LinearOutput, conversation: Tensor,
                 target_mask: Tensor) -> Tensor:
        """The sum over tokens, [] in at least float32.

        Args:
            text_logits: [T, K], of which row t is of token t.
            conversation: int64 [T], token ids.
            target_mask: bool [T], which of them count.
        """
        label, classes = conversation[target_mask], num_classes(text_logits)
        if label.device.type == "cpu" and len(label) and int(label.max()) >= classes:
            raise CorekitError(f"loss 'answer_tokens': a token is {int(label.max())}, but the "
                               f"language model knows {classes}: data.tokenizer.path and "
                               "model.language_model must be of one model")
        return summed_cross_entropy(select(text_logits, target_mask), label, 0.0, self.block)

    def guessing(self, text_logits: Tensor | LinearOutput, conversation: Tensor,
                 target_mask: Tensor) -> Guess:
        """Tokens are as likely as they are frequent."""
        return of_classes(conversation[target_mask], num_classes(text_logits), noun="tokens")
