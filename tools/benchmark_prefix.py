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
from collections.abc import Callable

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
    batch = {"image": torch.randn(args.batch_size, 3, args.pixels, args.pixels,
                                  device=args.device),
             "text": torch.randint(2, 32_000, (args.batch_size, 77), device=args.device),
             "uniform": torch.rand(args.batch_size, device=args.device)}

    def model(attention: str) -> nn.Module:
        network: nn.Module = corekit.create_model("aimv2_pretrain", encoder=args.encoder,
                                                  attention=attention,
                                                  width_divisor=args.width_divisor,
                                                  depth_divisor=args.depth_divisor)
        return network

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        outputs = model("sdpa")(*(torch.empty_like(value, device="meta")
                                  for value in batch.values()))
        for output in outputs.values():
            output.dense()
    flops = 3 * counter.get_total_flops()
    kinds = ("sdpa",) if args.device == "cpu" else ("sdpa", "flex")
    times = timing.in_turns({kind: step(model(kind).to(args.device), batch, args)
                             for kind in kinds}, args)
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


def step(net: nn.Module, batch: dict[str, Tensor],
         args: argparse.Namespace) -> Callable[[], None]:
    """One side."""
    words = registry.build("loss", "next_token", {"end_token": 1})
    patches = registry.build("loss", "next_patch")
    image, text, uniform = batch.values()
    optimizer = adamw(net, 1e-4)
    if args.compile:
        net.compile()

    def one() -> None:
        optimizer.zero_grad()
        with timing.autocast(args):
            outputs = net(image, text, uniform)
        total = (words(outputs["text_logits"], text) / words.weights(text) +
                 0.4 * patches(outputs["patch_predictions"], image, uniform) /
                 patches.weights(image, uniform))
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return one


if __name__ == "__main__":
    sys.exit(main())
