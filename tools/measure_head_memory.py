"""Peak memory of a head of 24,320 classes and its loss, in blocks and with logits and targets held.

    python tools/measure_head_memory.py [--device cuda] [--precision bf16]

Binary cross-entropy of 1,024 samples with 5 classes each, forward and backward, down to the
gradients of features, weight and bias. Held is what one writes in torch: logits, dense float
targets, ``binary_cross_entropy_with_logits``. Each form has a process of its own. Prints its peak
memory (resident, or allocated on the GPU), less that of a process with features and head alone. The
last lines compare with logits, dense float targets and the logits' gradient side by side.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from fresh_process import compare_forms, loss_options, print_loss
from torch import Tensor, nn

LABELS = 5


def main() -> None:
    """Run every form in a process of its own, and print both sides."""
    parser = loss_options(__doc__, batch_size=1024, width=768, block=2048, classes=24320)
    args = parser.parse_args()
    if args.form:
        print_loss(args, lambda samples, classes: prepare(args, samples, classes),
                   args.classes, small=8)
        return
    _, blocks, _ = compare_forms(args, f"{args.batch_size} x {args.classes}", digits=4)
    side_by_side = 3 * 4 * args.batch_size * args.classes
    print(f"  logits + float targets + gradient of the logits in fp32, {side_by_side / 2**20:.0f} "
          f"MiB: in blocks {blocks / side_by_side:.1%} of it "
          f"({4 * args.classes * args.width / 2**20:.0f} MiB are the weight's gradient, "
          "which is not among the three)")


def prepare(args: argparse.Namespace, samples: int,
            classes: int) -> tuple[Callable[[], Tensor], int]:
    """Features, head and labels; one form's loss of them, and of how many samples it is."""
    from corekit import registry
    from corekit.data.loading.ragged import pack
    from corekit.linear_output import LinearOutput

    torch.manual_seed(0)
    hidden = torch.randn(samples, args.width, device=args.device, requires_grad=True)
    head = nn.Linear(args.width, classes, device=args.device)
    rows = [torch.randperm(classes)[:LABELS] for _ in range(samples)]

    def in_blocks() -> Tensor:
        packed = [each.to(args.device) for each in pack(rows)]
        blockwise = registry.build("loss", "binary_cross_entropy", {"block": args.block})
        loss: Tensor = blockwise(LinearOutput.of(hidden, head), *packed)
        return loss

    forms = {"nothing": lambda: torch.zeros((), device=args.device),
             "held": lambda: held(head(hidden), rows), "blocks": in_blocks}
    return forms[args.form], samples


def held(logits: Tensor, rows: list[Tensor]) -> Tensor:
    """As one writes it in torch."""
    target = torch.zeros(logits.shape, device=logits.device)
    for sample, each in enumerate(rows):
        target[sample, each.to(logits.device)] = 1
    return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="sum")


if __name__ == "__main__":
    main()
