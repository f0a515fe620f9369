"""The next word: cross-entropy over a vocabulary at every place of a caption."""

from torch import Tensor

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.losses.cross_entropy import check_block, summed_cross_entropy
from corekit.registry import register


@register("loss", "next_token")
class NextToken:
    """-log softmax(text_logits) at the tokens of captions, on average over all tokens of the step.

    Counted are a caption's tokens up to and with its first end token, so that the end is learned
    also where a tokenizer pads with it; all of them where a caption was cut and has no end. Where
    the model gives a ``LinearOutput``, one block of the rows that count is evaluated at a time, and
    logits are never held.

    Args:
        end_token: the tokenizer's; CLIP's is 49407.
        block: tokens whose logits are held at one time.
    """

    def __init__(self, end_token: int = 49_407, block: int = 1024) -> None:
        check_block("next_token", block)
        self.end_token, self.block = end_token, block

    def weights(self, text: Tensor) -> Tensor:
        """How many tokens count."""
        return self._counted(text).sum()

    def __call__(self, text_logits: Tensor | LinearOutput, text: Tensor) -> Tensor:
        """The sum over the tokens of these captions.

        Args:
            text_logits: [B, L, K]; those at l are of token l, and were made without it and those
                after it.
            text: int64 [B, L].

        Returns:
            [] in at least float32.

        Raises:
            CorekitError: a token that is not among the K.
        """
        counted = self._counted(text)
        label = text[counted]
        chosen: Tensor | LinearOutput
        if isinstance(text_logits, LinearOutput):
            classes, chosen = text_logits.classes, text_logits._replace(
                hidden=text_logits.hidden[counted])
        else:
            classes, chosen = text_logits.shape[-1], text_logits[counted]
        wrong = label[(label < 0) | (label >= classes)]
        if len(wrong):
            raise CorekitError(f"loss 'next_token': a token is {int(wrong[0])}, but the model "
                               f"knows {classes}: set "
                               "model.vocab_size to the tokenizer's")
        return summed_cross_entropy(chosen, label, 0.0, self.block)

    def _counted(self, text: Tensor) -> Tensor:
        ends = text == self.end_token
        return ends.cumsum(1) - ends.long() == 0
