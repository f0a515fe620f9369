"""Samples/s and memory of MobileCLIP-S1's and B's training step, against open_clip's.

    python tools/benchmark_step.py [--models s1 b] [--batch-size 16] [--precision fp32]

A step is forward, loss, backward, clipping of the gradient to 1, AdamW, on the same images and
captions in memory. open_clip is used as its documentation has it (``create_model``, ``ClipLoss``,
``torch.optim.AdamW``), and once more in its best setting: channels_last (S1: on a GPU) and torch's
fused AdamW. Ours is what the recipes run: the model (S1 in channels_last), the loss
``contrastive``, the optimizer ``adamw``. Speed is taken in turns in one process. Memory is the peak
of a process that takes two steps of one side (on a GPU, torch's), less that of one that only
imports both. Exits with 0 where ours has at least ``--limit`` times the samples a second and at
most ``--limit-memory`` times the memory of open_clip as documented, for every model.
"""

import argparse
import sys

import fresh_process
import open_clip
import timing
import torch
from torch import nn

import corekit
from corekit import registry
from corekit.optim.adamw import adamw

SIZES = {"s1": 256, "b": 224}
SIDES = ("ours", "theirs", "best")


def main() -> int:
    """The command."""
    parser = timing.options(__doc__, batch_size=16, limit=1.1, limit_memory=0.9)
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--measure", choices=["nothing", *SIDES], help="used by the script itself")
    args = parser.parse_args()
    if args.measure:
        print(peak_of(args.measure, args.models[0], args))
        return 0
    print(f"samples/s and peak memory of a step of {args.batch_size}: ours, theirs as "
          f"documented, theirs at its best; {timing.conditions(args)}")
    reached = True
    for name in args.models:
        nothing, *peaks = (fresh_process.again("--models", name, "--measure", side)
                           for side in ("nothing", *SIDES))
        memory = {side: peak - nothing for side, peak in zip(SIDES, peaks)}
        times = timing.in_turns({side: step(side, name, args) for side in SIDES}, args)
        documented = times.ratio("theirs", "ours")
        print(f"  {name:<3} {times.rates(args.batch_size)} samples/s: {documented} as "
              f"documented, {times.ratio('best', 'ours')} at its best")
        shares = [memory["ours"] / memory[side] for side in SIDES[1:]]
        sizes = ", ".join(f"{size / 2**20:.0f}" for size in memory.values())
        print(f"      {sizes} MiB: {shares[0]:.2f} of theirs as documented, {shares[1]:.2f} at its "
              "best", flush=True)
        reached = (reached and documented.median >= args.limit
                   and shares[0] <= args.limit_memory)
    return 0 if reached else 1


def peak_of(side: str, name: str, args: argparse.Namespace) -> int:
    """Bytes of this process's peak memory after two steps of that side, or of none."""
    if side != "nothing":
        run = step(side, name, args)
        for _ in range(2):
            run()
    return fresh_process.peak(args.device)


def step(side: str, name: str, args: argparse.Namespace) -> timing.Side:
    """One training step, ready to be taken."""
    torch.manual_seed(0)
    image = torch.rand(args.batch_size, 3, SIZES[name], SIZES[name], device=args.device)
    text = torch.randint(1, 49406, (args.batch_size, 77), device=args.device)
    text[torch.arange(len(text)), torch.randint(5, 77, (len(text),))] = 49407
    model: nn.Module = (corekit.create_model(f"mobileclip_{name}") if side == "ours"
                        else open_clip.create_model(f"MobileCLIP-{name.upper()}"))
    model.to(args.device).train()
    # on a CPU, S1 in channels_last ends theirs in a crash: torch 2.15's strided 1x1 convolution
    # writes past its memory
    if {"ours": name == "s1", "theirs": False,
        "best": args.device == "cuda" or name == "b"}[side]:
        model.to(memory_format=torch.channels_last)
        image = image.to(memory_format=torch.channels_last)
    optimizer = (adamw(model, 1e-3, (0.9, 0.95), weight_decay=0.2) if side == "ours"
                 else torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.95), weight_decay=0.2,
                                        fused=True if side == "best" else None))
    our_loss, their_loss = registry.build("loss", "contrastive"), open_clip.loss.ClipLoss()

    def run() -> None:
        optimizer.zero_grad()
        with timing.autocast(args):
            outputs = model(image, text)
        value = our_loss(**outputs) if side == "ours" else their_loss(*outputs)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value.item()

    return run


if __name__ == "__main__":
    sys.exit(main())
