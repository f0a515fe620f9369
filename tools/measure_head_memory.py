"""Peak memory of a head of 24,320 classes and its loss, in blocks and with logits and targets held.

    python tools/measure_head_memory.py [--device cuda] [--precision bf16]

Binary cross-entropy of 1,024 samples with 5 classes each, forward and backward, down to the
gradients of features, weight and bias. Held is what one writes in torch: logits, dense float
targets, ``binary_cross_entropy_with_logits``. Each form runs in
processes of its own; what is printed is the largest memory (resident, or allocated on the GPU) of a
process that computes the loss, less that of one that only has features and head. The last lines
compare with logits, dense float targets and the
logits' gradient lying side by side, and nothing else.
"""

import argparse
import json
import time

import fresh_process
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LABELS = 5


def main() -> None:
    """Run every form in a process of its own, and print both sides."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=24320)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--form", choices=["nothing", "held", "blocks"], help="used by the script "
                                                                              "itself")
    chosen = parser.parse_args()
    if chosen.form:
        print(json.dumps(measure(chosen)))
        return
    found = {form: fresh_process.again("--form", form) for form in ("nothing", "held", "blocks")}
    held, blocks = (found[form]["peak"] - found["nothing"]["peak"] for form in ("held", "blocks"))
    side_by_side = 3 * 4 * chosen.batch_size * chosen.classes
    print(f"{chosen.batch_size} x {chosen.classes}, width {chosen.width}, blocks of "
          f"{chosen.block}, {chosen.device}, "
          f"{chosen.precision}; features and head alone {found['nothing']['peak'] / 2**20:.0f} MiB")
    for name, peak in (("held", held), ("blocks", blocks)):
        print(f"  {name:<8}{peak / 2**20:8.0f} MiB   {found[name]['seconds']:7.3f} s   loss "
              f"{found[name]['loss']:.4f}")
    print(f"  memory in blocks: {blocks / held:.1%} of what the held form needs")
    print(f"  logits + float targets + gradient of the logits in fp32, {side_by_side / 2**20:.0f} "
          f"MiB: in blocks "
          f"{blocks / side_by_side:.1%} of it ({4 * chosen.classes * chosen.width / 2**20:.0f} MiB "
          f"are the weight's gradient, "
          "which is not among the three)")


def measure(chosen: argparse.Namespace) -> dict[str, float]:
    """Bytes of the largest memory so far, seconds of the loss and its gradients, and the loss a
    sample.
    """
    device = torch.device(chosen.device)
    loss_of(chosen, 8, 64, device)  # libraries are loaded and have their working memory
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, loss = loss_of(chosen, chosen.batch_size, chosen.classes, device)
    return {"peak": fresh_process.peak(chosen.device), "seconds": seconds, "loss": loss}


def loss_of(chosen: argparse.Namespace, samples: int, classes: int,
            device: torch.device) -> tuple[float, float]:
    """Seconds and value of one form's loss and gradients."""
    from corekit import registry
    from corekit.data.loading.ragged import pack
    from corekit.linear_output import LinearOutput

    torch.manual_seed(0)
    hidden = torch.randn(samples, chosen.width, device=device, requires_grad=True)
    head = nn.Linear(chosen.width, classes, device=device)
    rows = [torch.randperm(classes)[:LABELS] for _ in range(samples)]
    began = time.perf_counter()
    loss = torch.zeros((), device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=chosen.precision == "bf16"):
        if chosen.form == "held":
            loss = held(head(hidden), rows)
        elif chosen.form == "blocks":
            packed = [each.to(device) for each in pack(rows)]
            blockwise = registry.build("loss", "binary_cross_entropy", {"block": chosen.block})
            loss = blockwise(LinearOutput.of(hidden, head), *packed)
    if loss.requires_grad:
        torch.autograd.backward(loss / samples)
    value = loss.item() / samples
    return time.perf_counter() - began, value


def held(logits: Tensor, rows: list[Tensor]) -> Tensor:
    """As one writes it in torch."""
    target = torch.zeros(logits.shape, device=logits.device)
    for sample, each in enumerate(rows):
        target[sample, each.to(logits.device)] = 1
    return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="sum")


if __name__ == "__main__":
    main()
