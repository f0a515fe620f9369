"""Peak memory, time and value of a loss in blocks, and as one writes it in torch.

    python tools/measure_loss_memory.py LOSS [--device cuda] [--precision bf16]

LOSS is one of three, forward and backward, down to the gradients of features and head:

next_token: 128 captions of 77 tokens over 32,000 words, against ``cross_entropy`` of held logits.
binary_cross_entropy: 1,024 samples with 5 of 24,320 classes each, against logits and dense float
targets held.
reinforced_contrastive: real and synthetic captions of a global batch of 8,192 pairs, a student 512
wide and two teachers of 768, against the paper's equations. In blocks, teachers are rounded to bf16
as they are gathered: the last line shows the effect on the loss.

Each form has a process of its own. Its peak memory (resident, or allocated on the GPU) is less that
of a process with features and head alone. Exits with 0 where the blocks need at most ``--limit`` of
what the held form needs, and both losses are the same.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import fresh_process
import timing
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit import registry
from corekit.data.loading.ragged import pack
from corekit.linear_output import LinearOutput

SIZES = {  # samples, width, classes, and rows or columns of a block
    "next_token": (128, 1024, 32_000, 1024), "binary_cross_entropy": (1024, 768, 24_320, 2048),
    "reinforced_contrastive": (8192, 512, 1, 256)}
FORMS = ("nothing", "held", "blocks")
LENGTH, END, LABELS = 77, 1, 5  # tokens of a caption, the last one's id, classes of a sample
TEACHERS, SCALES, HARD, SOFT = [768, 768], [100.0, 100.0], 0.25, 0.75
Forms = dict[str, Callable[[], Tensor]]  # each gives the loss


def main() -> int:
    parser = timing.parser(__doc__, limit=0.4)
    parser.add_argument("loss", choices=list(SIZES))
    for option in ("--batch-size", "--width", "--classes", "--block"):
        parser.add_argument(option, type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--form", help="used by the script itself")
    defaults = SIZES[parser.parse_args().loss]
    parser.set_defaults(**dict(zip(("batch_size", "width", "classes", "block"), defaults)))
    args = parser.parse_args()
    if args.form:
        print(json.dumps(measure(args)))
        return 0
    forms = FORMS if args.loss != "reinforced_contrastive" else (*FORMS, "exact")
    figures = {form: fresh_process.again("--form", form) for form in forms}
    nothing = figures["nothing"]["peak"]
    print(f"{args.loss} of {args.batch_size} x {args.classes}, width {args.width}, blocks of "
          f"{args.block}, {args.device}, {args.precision}; features and head alone "
          f"{nothing / 2**20:.0f} MiB")
    for form in FORMS[1:]:
        print(f"  {form:<8}{(figures[form]['peak'] - nothing) / 2**20:8.0f} MiB   "
              f"{figures[form]['seconds']:7.3f} s   loss {figures[form]['loss']:.6f}")
    held, blocks = figures["held"], figures["blocks"]
    share = (blocks["peak"] - nothing) / (held["peak"] - nothing)
    apart = abs(blocks["loss"] - held["loss"]) / held["loss"]
    print(f"  memory in blocks: {share:.1%} of what the held form needs; losses {apart:.1e} apart")
    if "exact" in figures:
        exact = figures["exact"]["loss"]
        print(f"  teachers in bf16 instead of fp32: loss {blocks['loss']:.6f} instead of "
              f"{exact:.6f}, {abs(blocks['loss'] - exact) / exact:.1e} of it")
        apart = abs(exact - held["loss"]) / held["loss"]
    return 0 if share <= args.limit and apart <= (1e-5 if args.precision == "fp32" else 1e-3) else 1


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Bytes of the largest memory, seconds of the mean loss with its gradients, and its value."""
    prepare = {"next_token": next_token, "binary_cross_entropy": binary_cross_entropy,
               "reinforced_contrastive": reinforced_contrastive}[args.loss]
    # a small loss first, by which libraries have their working memory
    small = argparse.Namespace(**{**vars(args), "batch_size": 8, "classes": 64})
    for sizes in (small, args):
        torch.manual_seed(0)
        forms, count = prepare(sizes)
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        with timing.autocast(args):
            loss = forms[args.form]() / count if args.form in forms else torch.zeros(())
        if loss.requires_grad:
            torch.autograd.backward(loss)
        value, seconds = loss.item(), time.perf_counter() - began
    return {"peak": fresh_process.peak(args.device), "seconds": seconds, "loss": value}


def next_token(args: argparse.Namespace) -> tuple[Forms, int]:
    """The forms of the loss of captions, and how many tokens they have."""
    hidden = torch.randn(args.batch_size, LENGTH, args.width, device=args.device,
                         requires_grad=True)
    head = nn.Linear(args.width, args.classes, bias=False, device=args.device)
    text = torch.randint(END + 1, args.classes, (args.batch_size, LENGTH), device=args.device)
    text[:, -1] = END
    loss = registry.build("loss", "next_token", {"end_token": END, "block": args.block})
    return {"held": lambda: F.cross_entropy(head(hidden).float().flatten(0, 1), text.flatten(),
                                            reduction="sum"),
            "blocks": lambda: loss(LinearOutput.of(hidden, head), text)}, text.numel()


def binary_cross_entropy(args: argparse.Namespace) -> tuple[Forms, int]:
    """The forms of the loss of samples with several classes, and how many samples they are."""
    hidden = torch.randn(args.batch_size, args.width, device=args.device, requires_grad=True)
    head = nn.Linear(args.width, args.classes, device=args.device)
    labels = [torch.randperm(args.classes)[:LABELS] for _ in range(args.batch_size)]
    loss = registry.build("loss", "binary_cross_entropy", {"block": args.block})

    def held() -> Tensor:
        logits = head(hidden).float()
        target = torch.zeros_like(logits)
        for row, classes in zip(target, labels):
            row[classes.to(args.device)] = 1
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum")

    def in_blocks() -> Tensor:
        packed = [part.to(args.device) for part in pack(labels)]
        value: Tensor = loss(LinearOutput.of(hidden, head), *packed)
        return value

    return {"held": held, "blocks": in_blocks}, args.batch_size


def reinforced_contrastive(args: argparse.Namespace) -> tuple[Forms, int]:
    """The forms of the loss, which is a mean already."""
    def near(features: Tensor) -> Tensor:  # cosine about 0.16, so that some are mistaken
        noise = 6 * features.shape[1] ** -0.5 * torch.randn_like(features)
        return F.normalize(features + noise)

    image = F.normalize(torch.randn(args.batch_size, args.width, device=args.device))
    texts = [near(image).requires_grad_() for _ in range(2)]
    teachers = [F.normalize(torch.randn(args.batch_size, width, device=args.device))
                for width in TEACHERS]
    teacher_texts = [torch.cat([near(each) for each in teachers], 1) for _ in range(2)]
    teacher_image = torch.cat(teachers, 1)
    del teachers
    image.requires_grad_()
    scale = torch.tensor(60.0, device=args.device, requires_grad=True)
    loss = registry.build("loss", "reinforced_contrastive", {
        "teacher_widths": TEACHERS, "teacher_logit_scales": SCALES, "contrastive_weight": HARD,
        "distillation_weight": SOFT, "block": args.block})

    def held() -> Tensor:
        return torch.stack([equations(image, text, scale, teacher_image, teacher_text)
                            for text, teacher_text in zip(texts, teacher_texts)]).sum()

    def in_blocks(dtype: torch.dtype) -> Tensor:
        parts = loss(image, texts[0], scale, teacher_image.to(dtype), teacher_texts[0].to(dtype),
                     texts[1], teacher_texts[1].to(dtype))
        return parts["real"] + parts["synthetic"]  # type: ignore[no-any-return]

    return {"held": held, "blocks": partial(in_blocks, torch.bfloat16),
            "exact": partial(in_blocks, torch.float32)}, 1


def equations(image: Tensor, text: Tensor, scale: Tensor, teacher_image: Tensor,
              teacher_text: Tensor) -> Tensor:
    """The reinforced loss of one set of captions (Vasu et al., 2024, section 4.2)."""
    target = torch.arange(len(image), device=image.device)
    total = torch.zeros((), device=image.device)
    for queries, targets, teacher_queries, teacher_targets in (
            (image, text, teacher_image, teacher_text), (text, image, teacher_text, teacher_image)):
        logits = scale * queries @ targets.T
        with torch.no_grad():
            of_teachers = zip(torch.split(teacher_queries, TEACHERS, 1),
                              torch.split(teacher_targets, TEACHERS, 1), SCALES)
            aims = torch.stack([(factor * one @ other.T).softmax(1)
                                for one, other, factor in of_teachers]).mean(0)
        hard, soft = F.cross_entropy(logits, target), F.cross_entropy(logits, aims)
        total = total + HARD * hard / 2 + SOFT * soft / 2
    return total


if __name__ == "__main__":
    sys.exit(main())
