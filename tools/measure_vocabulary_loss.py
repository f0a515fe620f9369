"""Peak memory of the next-word loss over 32,000 words, in blocks of rows and with logits held.

    python tools/measure_vocabulary_loss.py [--device cuda] [--precision bf16] [--counted 0.3]

Cross-entropy of 128 captions of 77 tokens, forward and backward, down to the gradients of features
and weight. Held is what one writes in torch: the head, and ``cross_entropy`` of its logits in fp32.
Every token counts unless ``--counted`` gives the length of captions. Each form has a process of its
own. Prints its peak memory (resident, or allocated on the GPU), less that of a process with
features and head alone. Exits with 0 where the blocks need at most ``--limit`` of what the held
form needs, and both losses are the same.
"""

import argparse
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from fresh_process import compare_forms, loss_options, print_loss
from torch import Tensor, nn

END = 1


def main() -> int:
    """Run every form in a process of its own, and print both sides."""
    parser = loss_options(__doc__, batch_size=128, width=1024, block=1024, length=77,
                          vocabulary=32_000, limit=0.25)
    parser.add_argument("--counted", type=float, default=1.0,
                        help="length of the captions over that of the context")
    args = parser.parse_args()
    if args.form:
        print_loss(args, lambda samples, vocabulary: prepare(args, samples, vocabulary),
                   args.vocabulary, small=2)
        return 0
    sizes = f"{args.batch_size} x {args.length} x {args.vocabulary}"
    held, blocks, figures = compare_forms(args, sizes, digits=6)
    tolerance = 1e-5 if args.precision == "fp32" else 1e-3
    loss = figures["held"]["loss"]
    same = abs(loss - figures["blocks"]["loss"]) <= tolerance * loss
    return 0 if blocks <= args.limit * held and same else 1


def prepare(args: argparse.Namespace, samples: int,
            vocabulary: int) -> tuple[Callable[[], Tensor], int]:
    """Features, head and captions; one form's loss of them, and of how many tokens it is."""
    from corekit import registry
    from corekit.linear_output import LinearOutput

    torch.manual_seed(0)
    hidden = torch.randn(samples, args.length, args.width, device=args.device,
                         requires_grad=True)
    head = nn.Linear(args.width, vocabulary, bias=False, device=args.device)
    text = torch.randint(END + 1, vocabulary, (samples, args.length), device=args.device)
    last = max(1, round(args.counted * args.length))
    text[:, last - 1:] = END

    def held() -> Tensor:
        label = text.clone()
        label[:, last:] = -100
        return F.cross_entropy(head(hidden).float().flatten(0, 1), label.flatten(), reduction="sum")

    def in_blocks() -> Tensor:
        words = registry.build("loss", "next_token", {"end_token": END, "block": args.block})
        loss: Tensor = words(LinearOutput.of(hidden, head), text)
        return loss

    forms = {"nothing": lambda: torch.zeros((), device=args.device), "held": held,
             "blocks": in_blocks}
    return forms[args.form], samples * last


if __name__ == "__main__":
    sys.exit(main())
