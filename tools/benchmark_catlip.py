"""A training step of CatLIP against one of CLIP, and where the time of each goes.

    python tools/benchmark_catlip.py [--device cuda --precision bf16 --batch-size 256]

CatLIP is ``catlip_vit_b16`` with binary cross-entropy over 24,320 classes, 5 of them true. CLIP is
the same image tower with 512 features for a head, ``clip_vit_b16``'s text tower (12 layers, 77
tokens) and its loss. A step is forward, loss, backward, clipping and AdamW; the ratio is the median
over pairs. Memory is the peak of a process that takes two steps of one side (resident, or allocated
on the GPU). The parts are timed alone, each with its backward pass. The arithmetic, which a step's
time cannot fall below, is counted on the meta device.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial

import fresh_process
import timing
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from corekit import registry
from corekit.data.loading.ragged import pack
from corekit.linear_output import LinearOutput
from corekit.models.clip import CLIP
from corekit.models.conv_stem import ConvStem
from corekit.models.vit import ViT

CLASSES, LABELS, TOKENS, VOCABULARY = 24320, 5, 77, 49408


def main() -> None:
    """The command."""
    parser = timing.parser(__doc__, batch_size=8, image_size=224, pairs=3)
    parser.add_argument("--steps", type=int, default=1, help="of each side in a pair")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--memory-of", choices=["nothing", "catlip", "clip"],
                        help="used by the script itself")
    args = parser.parse_args()
    if args.memory_of:
        print(json.dumps(peak(args)))
        return
    print(f"batch {args.batch_size} of {args.image_size} pixels, {args.device}, "
          f"{args.precision}, {torch.get_num_threads()} threads")
    sides = {"catlip": Side("catlip", args), "clip": Side("clip", args)}
    for side in sides.values():
        side.step()
    times = seconds_of({name: side.step for name, side in sides.items()}, args)
    for name, side in sides.items():
        seconds = times.median(name)
        parameters = sum(value.numel() for value in side.model.parameters())
        print(f"  {name:<8}{seconds:9.4f} s a step {args.batch_size / seconds:9.1f} samples/s "
              f"{parameters / 1e6:8.1f} M parameters {side.flops() / 1e9:8.1f} GFLOPs a sample "
              "forward")
    arithmetic = sides["clip"].flops() / sides["catlip"].flops()
    print(f"  samples/s, CatLIP over CLIP: {times.ratio('clip', 'catlip').median:.2f} (median of "
          f"{args.pairs} pairs); arithmetic allows {arithmetic:.2f}")
    for name, side in sides.items():
        print(f"where a step of {name} goes:")
        parts = seconds_of(side.parts(), args)
        total = sum(map(parts.median, parts))
        for label in parts:
            print(f"  {label:<40}{parts.median(label):9.4f} s  {parts.median(label) / total:6.1%}")
    del sides, side
    nothing, catlip, clip = (fresh_process.again("--memory-of", name)
                             for name in ("nothing", "catlip", "clip"))
    catlip, clip = catlip - nothing, clip - nothing
    print(f"peak memory: CatLIP {catlip / 2**20:.0f} MiB, CLIP {clip / 2**20:.0f} MiB, "
          f"{clip / catlip:.2f} times as much")


def seconds_of(sides: Mapping[str, timing.Side], args: argparse.Namespace) -> timing.Times:
    """Seconds of so many calls of each in a pair, taking turns."""
    timed = {name: partial(timing.seconds_of, side, args.device, calls=args.steps)
             for name, side in sides.items()}
    return timing.take_turns(timed, args.pairs)


class Side:
    """A model, catlip or clip, with its batch, loss and optimizer."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.name, self.device = name, torch.device(args.device)
        self.autocast = partial(timing.autocast, args)
        torch.manual_seed(0)
        self.model = build(name).to(self.device).train()
        self.loss = registry.build("loss",
                                   "binary_cross_entropy" if name == "catlip" else "contrastive")
        arguments = {"learning_rate": 1e-4, "weight_decay": 0.2, "no_decay": ["norms", "biases"]}
        self.optimizer: torch.optim.Optimizer = registry.build("optimizer", "adamw", arguments,
                                                               {"model": self.model})
        size, count = args.image_size, args.batch_size
        self.image = torch.rand(count, 3, size, size, device=self.device)
        self.text = torch.randint(1, VOCABULARY - 1, (count, TOKENS)).to(self.device)
        rows = [torch.randperm(CLASSES)[:LABELS] for _ in range(count)]
        self.labels = [each.to(self.device) for each in pack(rows)]

    def step(self) -> None:
        """One whole step."""
        self.optimizer.zero_grad()
        with self.autocast():
            outputs = self.model(self.image, *([] if self.name == "catlip" else [self.text]))
        self.backward(outputs)
        self.update()

    def backward(self, outputs: dict[str, Tensor | LinearOutput]) -> None:
        """The loss of the model's outputs, and its backward pass."""
        if self.name == "catlip":
            loss = self.loss(outputs["logits"], *self.labels) / len(self.image)
        else:
            loss = self.loss(outputs["image_features"], outputs["text_features"],
                             outputs["logit_scale"])
        torch.autograd.backward(loss)

    def update(self) -> None:
        """The end of a step."""
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def parts(self) -> dict[str, Callable[[], None]]:
        """The parts of a step, each to be run alone."""
        parts: dict[str, Callable[[], None]] = {}
        count = len(self.image)
        if self.name == "catlip":
            width = self.head().in_features
            pooled = torch.randn(count, width, device=self.device, requires_grad=True)
            parts["image tower"] = lambda: self.run(
                lambda: self.model.encode_image(self.image))  # type: ignore[operator]
            parts["head of 24,320 and loss"] = lambda: self.backward({"logits": self.wide(pooled)})
        else:
            pair = [F.normalize(torch.randn(count, 512, device=self.device)).requires_grad_()
                    for _ in range(2)]
            scale = torch.tensor(14.0, device=self.device, requires_grad=True)
            image_tower, text_tower = map(self.model.get_submodule, ("image_tower", "text_tower"))
            parts["image tower"] = lambda: self.run(lambda: image_tower(self.image))
            parts["text tower"] = lambda: self.run(lambda: text_tower(self.text))
            parts["contrastive loss"] = lambda: self.backward(
                {"image_features": pair[0], "text_features": pair[1], "logit_scale": scale})
        for value in self.model.parameters():
            value.grad = torch.zeros_like(value)
        parts["clipping and AdamW"] = self.update
        return parts

    def run(self, forward: Callable[[], Tensor]) -> None:
        """A forward pass and its backward pass."""
        with self.autocast():
            output = forward()
        torch.autograd.backward(output.float().sum())

    def wide(self, pooled: Tensor) -> LinearOutput:
        """The head's output of some features."""
        with self.autocast():
            return LinearOutput.of(pooled, self.head())

    def head(self) -> nn.Linear:
        """CatLIP's."""
        head = self.model.get_submodule("head")
        assert isinstance(head, nn.Linear)
        return head

    def flops(self) -> float:
        """Of one sample's forward pass, the head included."""
        with torch.device("meta"):
            model, image = build(self.name), torch.zeros(1, *self.image.shape[1:])
            text = torch.zeros(1, TOKENS, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            outputs = model(image, *([] if self.name == "catlip" else [text]))
            if self.name == "catlip":
                outputs["logits"].dense()
        return float(counter.get_total_flops())


def build(name: str) -> nn.Module:
    """The model of a side."""
    if name == "catlip":
        catlip: nn.Module = registry.build("model", "catlip_vit_b16", {"num_classes": CLASSES})
        return catlip
    clip: nn.Module = registry.build("model", "clip_vit_b16",
                                     {"context_length": TOKENS, "vocab_size": VOCABULARY})
    tower = ViT(ConvStem(768, padding=1), 14, 768, 12, 12, 512, class_position=False, norm_eps=1e-6)
    return CLIP(tower, clip.text_tower)  # type: ignore[arg-type]


def peak(args: argparse.Namespace) -> int:
    """Bytes of the largest memory of this process, after two steps of one side."""
    if args.memory_of != "nothing":
        side = Side(args.memory_of, args)
        for _ in range(2):  # the optimizer's moments are there from the first on
            side.step()
    return fresh_process.peak(args.device)


if __name__ == "__main__":
    main()
