"""Samples/s, memory and arithmetic of a training step, ours against others.

    python tools/benchmark_step.py CASE [--batch-size 16] [--device cuda --precision bf16 --compile]

CASE is one of these, and the first side is held against the second:

mobileclip_s1, mobileclip_b: our model, loss ``contrastive`` and optimizer ``adamw``; open_clip's as
its documentation has it (``create_model``, ``ClipLoss``, ``torch.optim.AdamW``); and open_clip's in
its best setting, channels_last (S1: on a GPU) and torch's fused AdamW.
catlip: ``catlip_vit_b16`` with binary cross-entropy over 24,320 classes, 5 of them true; CLIP of
the same image tower, 512 features for a head, and ``clip_vit_b16``'s text tower.
aimv2: pre-training of ``aimv2_large_224`` by FlexAttention, and by a mask of all pairs (alone on a
CPU, where FlexAttention has no backward pass).

A step is forward, loss, backward, clipping of the gradient to 1, AdamW, on images and captions in
memory. Speed is taken in turns in one process. Memory is the peak of a process that takes two steps
of one side (on a GPU, torch's), less that of one that only imports. Arithmetic is that of a
sample's forward pass, by torch's count. Exits with 0 where the first side has at least ``--limit``
times the samples a second and at most ``--limit-memory`` times the memory of the second.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fresh_process
import open_clip
import timing
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import corekit
from corekit import registry
from corekit.data.loading.ragged import pack
from corekit.linear_output import dense
from corekit.models.clip import CLIP
from corekit.models.conv_stem import ConvStem
from corekit.models.vit import ViT
from corekit.optim.adamw import adamw
from corekit.train.logger import PEAKS

OPEN_CLIP = ("ours", "theirs", "best")
CASES = {"mobileclip_s1": OPEN_CLIP, "mobileclip_b": OPEN_CLIP, "catlip": ("catlip", "clip"),
         "aimv2": ("flex", "sdpa")}
CLASSES, LABELS, TOKENS, VOCABULARY = 24_320, 5, 77, 49_408


@dataclass
class Side:
    """A model with its batch, the loss of its outputs, and its optimizer."""

    model: nn.Module
    inputs: tuple[Tensor, ...]
    loss_of: Callable[[Any], Tensor]
    optimizer: torch.optim.Optimizer
    args: argparse.Namespace

    def step(self) -> None:
        self.optimizer.zero_grad()
        with timing.autocast(self.args):
            outputs = self.model(*self.inputs)
        loss = self.loss_of(outputs)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        loss.item()

    @torch.no_grad()
    def flops(self) -> dict[str, float]:
        """Of a sample's forward pass: in all, as ``Global``, and of each part by its path."""
        with FlopCounterMode(display=False) as counter:
            outputs = self.model(*(value[:1] for value in self.inputs))
            for output in outputs.values() if isinstance(outputs, Mapping) else ():
                dense(output)
        return {path: float(sum(counts.values()))
                for path, counts in counter.get_flop_counts().items()}


def main() -> int:
    parser = timing.options(__doc__, batch_size=16, image_size=224, limit=1.0, limit_memory=1.0,
                            width_divisor=1, depth_divisor=1)
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--measure", help="used by the script itself")
    args = parser.parse_args()
    if args.measure:
        side = None if args.measure == "nothing" else make(args.measure, args).step
        print(fresh_process.peak(args.device, side))
        return 0
    names = [name for name in CASES[args.case] if name != "flex" or args.device != "cpu"]
    nothing, *peaks = (fresh_process.again("--measure", name) for name in ("nothing", *names))
    sides = {name: make(name, args) for name in names}
    times = timing.in_turns({name: side.step for name, side in sides.items()}, args)
    gpu = torch.cuda.get_device_name() if args.device == "cuda" else ""
    peak = next((value for name, value in PEAKS.items() if name in gpu), math.nan)
    print(f"a step of {args.batch_size}, {args.case}{', compiled' if args.compile else ''}; "
          f"{timing.conditions(args)}")
    for name, memory in zip(names, peaks):
        rate, flops = args.batch_size / times.median(name), sides[name].flops()
        used = "" if math.isnan(peak) else f", MFU {3 * flops['Global'] * rate / peak:.1%}"
        print(f"  {name:<8}{rate:9.2f} samples/s{used}, {(memory - nothing) / 2**20:.0f} MiB, "
              f"{flops['Global'] / 1e9:.1f} GFLOPs a sample forward")
        for path, count in flops.items():
            if path.count(".") == 1 and count >= 0.01 * flops["Global"]:
                print(f"    {path:<32}{count / flops['Global']:6.1%} of them")
    shares = [(peaks[0] - nothing) / (memory - nothing) for memory in peaks]
    for name, share in list(zip(names, shares))[1:]:
        print(f"  {names[0]} against {name}: {times.ratio(name, names[0])} the samples/s, "
              f"{share:.2f} of the memory")
    if len(names) == 1:
        return 0
    fast = times.ratio(names[1], names[0]).median >= args.limit
    return 0 if fast and shares[1] <= args.limit_memory else 1


def make(name: str, args: argparse.Namespace) -> Side:
    torch.manual_seed(0)
    size = 256 if args.case == "mobileclip_s1" else args.image_size
    image = torch.rand(args.batch_size, 3, size, size, device=args.device)
    side = {"catlip": catlip, "aimv2": aimv2}.get(args.case, mobileclip)(name, image, args)
    if args.compile:
        side.model.compile()
    return side


def mobileclip(name: str, image: Tensor, args: argparse.Namespace) -> Side:
    """Ours, or open_clip's as documented or at its best."""
    size = args.case.rpartition("_")[2]
    text = torch.randint(1, 49406, (args.batch_size, TOKENS), device=args.device)
    text[torch.arange(len(text)), torch.randint(5, TOKENS, (len(text),))] = 49407
    model: nn.Module = (corekit.create_model(args.case) if name == "ours"
                        else open_clip.create_model(f"MobileCLIP-{size.upper()}"))
    model.to(args.device).train()
    # on a CPU, S1 in channels_last ends theirs in a crash: torch 2.15's strided 1x1 convolution
    # writes past its memory
    if {"ours": size == "s1", "theirs": False,
        "best": args.device == "cuda" or size == "b"}[name]:
        model.to(memory_format=torch.channels_last)
        image = image.to(memory_format=torch.channels_last)
    if name == "ours":
        loss = registry.build("loss", "contrastive")
        return Side(model, (image, text), lambda outputs: loss(**outputs),
                    adamw(model, 1e-3, (0.9, 0.95), weight_decay=0.2), args)
    theirs = open_clip.loss.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.95), weight_decay=0.2,
                                  fused=True if name == "best" else None)
    return Side(model, (image, text), lambda outputs: theirs(*outputs), optimizer, args)


def catlip(name: str, image: Tensor, args: argparse.Namespace) -> Side:
    """CatLIP, or CLIP with the same image tower."""
    if name == "catlip":
        model = corekit.create_model("catlip_vit_b16", num_classes=CLASSES).to(args.device)
        rows = [torch.randperm(CLASSES)[:LABELS] for _ in range(args.batch_size)]
        labels = [each.to(args.device) for each in pack(rows)]
        loss = registry.build("loss", "binary_cross_entropy")
        return Side(model, (image,), lambda outputs: loss(outputs["logits"], *labels) / len(image),
                    adamw(model, 1e-4, weight_decay=0.2), args)
    clip: Any = corekit.create_model("clip_vit_b16", context_length=TOKENS, vocab_size=VOCABULARY)
    tower = ViT(ConvStem(768, padding=1), 14, 768, 12, 12, 512, class_position=False, norm_eps=1e-6)
    model = CLIP(tower, clip.text_tower).to(args.device)
    text = torch.randint(1, VOCABULARY - 1, (args.batch_size, TOKENS)).to(args.device)
    loss = registry.build("loss", "contrastive")
    return Side(model, (image, text), lambda outputs: loss(**outputs),
                adamw(model, 1e-4, weight_decay=0.2), args)


def aimv2(name: str, image: Tensor, args: argparse.Namespace) -> Side:
    """Pre-training with one kind of attention."""
    model = corekit.create_model("aimv2_pretrain", attention=name, width_divisor=args.width_divisor,
                                 depth_divisor=args.depth_divisor).to(args.device)
    text = torch.randint(2, 32_000, (args.batch_size, TOKENS)).to(args.device)
    uniform = torch.rand(args.batch_size).to(args.device)
    words = registry.build("loss", "next_token", {"end_token": 1})
    patches = registry.build("loss", "next_patch")

    def loss_of(outputs: dict[str, Any]) -> Tensor:
        patch_loss: Tensor = patches(outputs["patch_predictions"], image, uniform)
        word_loss: Tensor = words(outputs["text_logits"], text)
        loss: Tensor = (word_loss / words.weights(text)
                        + 0.4 * patch_loss / patches.weights(image, uniform))
        return loss

    return Side(model, (image, text, uniform), loss_of, adamw(model, 1e-4), args)


if __name__ == "__main__":
    sys.exit(main())
