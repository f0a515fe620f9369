"""Next-token prediction: cross-entropy over a vocabulary at every place of a caption."""

from torch import Tensor

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput, num_classes, select
from corekit.losses.blockwise import check_block
from corekit.losses.cross_entropy import summed_cross_entropy
from corekit.losses.guess import Guess, of_classes
from corekit.registry import register


@register("loss", "next_token")
class NextToken:
    """-log softmax(text_logits) at the tokens of captions, on average over all tokens of the step.

    A caption's tokens count up to and with its first end token, so that the end is learned also
    where a tokenizer pads with it. All of them count where a caption was cut and has no end. Where
    the model gives a ``LinearOutput``, one block of the rows that count is evaluated at a time, and
    the logits are never held.

    Args:
        end_token: the tokenizer's; CLIP's is 49407.
        block: tokens whose logits are held at one time.
    """

    on_cpu = ("text",)  # its range is checked there, without waiting for the GPU

    def __init__(self, end_token: int = 49_407, block: int = 1024) -> None:
        check_block("next_token", block)
        self.end_token, self.block = end_token, block

    def weights(self, text: Tensor) -> Tensor:
        """How many tokens count."""
        return self._counted(text).sum()

    def __call__(self, text_logits: Tensor | LinearOutput, text: Tensor) -> Tensor:
        """The sum over tokens, [] in at least float32, of logits [B, L, K] and text int64 [B, L].

        The logits at l are of token l, and depend neither on it nor on those after it.
        """
        counted = self._counted(text)
        label, classes = text[counted], num_classes(text_logits)
        wrong = label[(label < 0) | (label >= classes)]
        if len(wrong):
            raise CorekitError(f"loss 'next_token': a token is {int(wrong[0])}, but the model "
                               f"knows {classes}: set model.vocab_size to the tokenizer's")
        return summed_cross_entropy(select(text_logits, counted), label, 0.0, self.block)

    def guessing(self, text_logits: Tensor | LinearOutput, text: Tensor) -> Guess:
        """Tokens are as likely as they are frequent."""
        return of_classes(text[self._counted(text)], num_classes(text_logits), noun="tokens")

    def _counted(self, text: Tensor) -> Tensor:
        ends = text == self.end_token
        return ends.cumsum(1) - ends.long() == 0
