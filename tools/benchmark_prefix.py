"""AIMv2's pre-training by attention mask and by FlexAttention: samples/s and MFU of a step.

    python tools/benchmark_prefix.py --device cuda --precision bf16 --compile
    python tools/benchmark_prefix.py --device cpu --width-divisor 4 --depth-divisor 6 --batch-size 4

A step is forward, both losses, backward, clipping of the gradient to 1, AdamW, on images and
captions in memory. Arithmetic is three times that of the forward pass, by torch's own count, over
the GPU's dense bf16 peak. FlexAttention has no backward pass on a CPU, and is left out there. Exits
with 0 where there is no GPU, or the better of the two reaches ``--limit`` of the peak.
"""

import argparse
import math
import sys
from functools import partial

import timing
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import corekit
from corekit import registry
from corekit.optim.adamw import adamw

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # bf16, dense


def main() -> int:
    """The command."""
    parser = timing.options(__doc__, pixels=224, batch_size=64, width_divisor=1, depth_divisor=1,
                            limit=0.55)
    parser.add_argument("--encoder", default="aimv2_large_224")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    count, device = args.batch_size, args.device
    batch = (torch.randn(count, 3, args.pixels, args.pixels, device=device),
             torch.randint(2, 32_000, (count, 77), device=device), torch.rand(count, device=device))
    model = partial(corekit.create_model, "aimv2_pretrain", encoder=args.encoder,
                    width_divisor=args.width_divisor, depth_divisor=args.depth_divisor)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        outputs = model(attention="sdpa")(*(value.to("meta") for value in batch))
        for output in outputs.values():
            output.dense()
    flops = 3 * counter.get_total_flops()
    kinds = ("sdpa",) if device == "cpu" else ("sdpa", "flex")
    steps = {kind: step(model(attention=kind).to(device), batch, args) for kind in kinds}
    times = timing.in_turns(steps, args)
    name = torch.cuda.get_device_name() if args.device == "cuda" else ""
    peak = next((value for part, value in PEAKS.items() if part in name), math.nan)
    print(f"{args.encoder}, width / {args.width_divisor}, depth / {args.depth_divisor}, "
          f"batch {args.batch_size}{', compiled' if args.compile else ''}: "
          f"{flops / args.batch_size / 1e12:.3f} TFLOP a sample; {timing.conditions(args)}")
    used = {kind: flops / times.median(kind) / peak for kind in times}
    for kind in times:
        print(f"  {kind:<5}{args.batch_size / times.median(kind):9.2f} samples/s"
              + ("" if math.isnan(peak) else f", MFU {used[kind]:.1%}"))
    if len(times) > 1:
        print(f"  flex is {times.ratio('sdpa', 'flex')} as fast as the mask")
    return 0 if math.isnan(peak) or max(used.values()) >= args.limit else 1


def step(net: nn.Module, batch: tuple[Tensor, Tensor, Tensor],
         args: argparse.Namespace) -> timing.Side:
    """A training step, ready to be taken."""
    words = registry.build("loss", "next_token", {"end_token": 1})
    patches = registry.build("loss", "next_patch")
    image, text, uniform = batch
    optimizer = adamw(net, 1e-4)
    if args.compile:
        net.compile()

    def one() -> None:
        optimizer.zero_grad()
        with timing.autocast(args):
            outputs = net(image, text, uniform)
        word_loss = words(outputs["text_logits"], text) / words.weights(text)
        patch_loss = patches(outputs["patch_predictions"], image, uniform)
        (word_loss + 0.4 * patch_loss / patches.weights(image, uniform)).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return one


if __name__ == "__main__":
    sys.exit(main())
