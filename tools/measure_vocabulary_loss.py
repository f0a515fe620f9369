"""Peak memory of the next-word loss over a vocabulary of 32,000, in blocks of rows and with logits
held.

    python tools/measure_vocabulary_loss.py [--device cuda] [--precision bf16] [--counted 0.3]

Cross-entropy of 128 captions of 77 tokens, forward and backward, down to the gradients of features
and weight. Held is what one writes in torch: the head, and ``cross_entropy`` of its logits in fp32.
Every token counts unless ``--counted`` says how
long captions are. Each form runs in a process of its own; what is printed is the largest memory
(resident, or allocated on the GPU) of a process that computes the loss, less that of one that only
has features and head. Exits with 0 where the blocks
need at most ``--limit`` of what the held form needs, and both losses are the same.
"""

import argparse
import json
import sys
import time

import fresh_process
import torch
import torch.nn.functional as F
from torch import nn

END = 1


def main() -> int:
    """Run every form in a process of its own, and print both sides."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--length", type=int, default=77)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--counted", type=float, default=1.0, help="length of the captions over "
                                                                   "that of the context")
    parser.add_argument("--block", type=int, default=1024)
    parser.add_argument("--limit", type=float, default=0.25)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--form", choices=["nothing", "held", "blocks"], help="used by the script "
                                                                              "itself")
    chosen = parser.parse_args()
    if chosen.form:
        print(json.dumps(measure(chosen)))
        return 0
    found = {form: fresh_process.again("--form", form) for form in ("nothing", "held", "blocks")}
    held, blocks = (found[form]["peak"] - found["nothing"]["peak"] for form in ("held", "blocks"))
    print(f"{chosen.batch_size} x {chosen.length} x {chosen.vocabulary}, width {chosen.width}, "
          f"blocks of {chosen.block}, "
          f"{chosen.device}, {chosen.precision}; features and head alone "
          f"{found['nothing']['peak'] / 2**20:.0f} MiB")
    for name, peak in (("held", held), ("blocks", blocks)):
        print(f"  {name:<8}{peak / 2**20:8.0f} MiB   {found[name]['seconds']:7.3f} s   loss "
              f"{found[name]['loss']:.6f}")
    print(f"  memory in blocks: {blocks / held:.1%} of what the held form needs")
    tolerance = 1e-5 if chosen.precision == "fp32" else 1e-3
    same = abs(found["held"]["loss"] - found["blocks"]["loss"]) <= tolerance * found["held"]["loss"]
    return 0 if blocks <= chosen.limit * held and same else 1


def measure(chosen: argparse.Namespace) -> dict[str, float]:
    """Bytes of the largest memory so far, seconds of the loss and its gradients, and the loss a
    token.
    """
    device = torch.device(chosen.device)
    loss_of(chosen, 2, 64, device)  # libraries are loaded and have their working memory
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, loss = loss_of(chosen, chosen.batch_size, chosen.vocabulary, device)
    return {"peak": fresh_process.peak(chosen.device), "seconds": seconds, "loss": loss}


def loss_of(chosen: argparse.Namespace, samples: int, vocabulary: int,
            device: torch.device) -> tuple[float, float]:
    """Seconds and value of one form's loss and gradients."""
    from corekit import registry
    from corekit.linear_output import LinearOutput

    torch.manual_seed(0)
    hidden = torch.randn(samples, chosen.length, chosen.width, device=device, requires_grad=True)
    head = nn.Linear(chosen.width, vocabulary, bias=False, device=device)
    text = torch.randint(END + 1, vocabulary, (samples, chosen.length), device=device)
    last = max(1, round(chosen.counted * chosen.length))
    text[:, last - 1:] = END
    began = time.perf_counter()
    loss = torch.zeros((), device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=chosen.precision == "bf16"):
        if chosen.form == "held":
            label = text.clone()
            label[:, last:] = -100
            loss = F.cross_entropy(
                head(hidden).float().flatten(0, 1), label.flatten(), reduction="sum")
        elif chosen.form == "blocks":
            output = LinearOutput.of(hidden, head)
            loss = registry.build("loss", "next_token",
                                  {"end_token": END, "block": chosen.block})(output, text)
    if loss.requires_grad:
        torch.autograd.backward(loss / (samples * last))
    value = loss.item() / (samples * last)
    return time.perf_counter() - began, value


if __name__ == "__main__":
    sys.exit(main())
