"""Peak memory and value of the reinforced loss, in blocks and dense, for a large global batch.

    python tools/measure_loss_memory.py --batch-size 8192

Real and synthetic captions, a student of 512 and two teachers of 768 numbers a sample, all features
in fp32; both forms compute the loss of one step and its gradients on one rank. The dense form is
the equations as one writes them in torch, teachers without gradient. Each form has a process of its
own. Prints its peak resident memory, less that of a process that only makes the features. The
blockwise form rounds the teachers to bf16 as it gathers them: that copy counts as its memory, and
the last line shows the effect of the rounding on the loss.
"""

import json
import time

import fresh_process
import timing
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH, TEACHERS, SCALES = 512, [768, 768], [100.0, 100.0]
HARD, SOFT = 0.25, 0.75


def main() -> None:
    """Run every form in a process of its own, and print both sides."""
    parser = timing.parser(__doc__, batch_size=8192, block=256)
    parser.add_argument("--form", choices=["features", "dense", "blocks"],
                        help="used by the script itself")
    parser.add_argument("--teachers", choices=["float32", "bfloat16"], default="bfloat16")
    args = parser.parse_args()
    if args.form:
        print(json.dumps(measure(args.form, args.batch_size, args.block,
                                 getattr(torch, args.teachers))))
        return
    measured = {(form, teachers): fresh_process.again("--form", form, "--teachers", teachers)
             for form, teachers in (("features", "float32"), ("dense", "float32"),
                                    ("blocks", "bfloat16"), ("blocks", "float32"))}
    base = measured["features", "float32"]["peak"]
    dense, blocks = measured["dense", "float32"], measured["blocks", "bfloat16"]
    print(f"global batch {args.batch_size}, teachers {TEACHERS}, real and synthetic captions; "
          f"features alone {base / 2**20:.0f} MiB")
    for name, one in (("dense", dense), ("blocks", blocks)):
        print(f"  {name:<8}{(one['peak'] - base) / 2**20:8.0f} MiB   {one['seconds']:6.1f} s   "
              f"loss {one['loss']:.6f}")
    print(f"  memory: {(blocks['peak'] - base) / (dense['peak'] - base):.1%} of the dense form's")
    exact = measured["blocks", "float32"]["loss"]
    print(f"  teachers in bf16 instead of fp32: loss {blocks['loss']:.6f} instead of {exact:.6f}, "
          f"{abs(blocks['loss'] - exact) / exact:.1e} of it")


def measure(form: str, batch: int, block: int, dtype: torch.dtype) -> dict[str, float]:
    """Bytes of the largest resident memory, seconds of loss and gradients, and the loss."""
    torch.manual_seed(0)
    image = F.normalize(torch.randn(batch, WIDTH))
    texts = [near(image).requires_grad_() for _ in range(2)]
    teachers = [F.normalize(torch.randn(batch, width)) for width in TEACHERS]
    teacher_texts = [torch.cat([near(each) for each in teachers], 1) for _ in range(2)]
    teacher_image = torch.cat(teachers, 1)
    del teachers
    image.requires_grad_()
    scale = torch.tensor(60.0, requires_grad=True)
    began = time.perf_counter()
    loss = torch.zeros(())
    if form == "dense":
        loss = sum((dense(image, text, scale, teacher_image, teacher)
                    for text, teacher in zip(texts, teacher_texts)), loss)
    elif form == "blocks":
        from corekit import registry

        reinforced = registry.build("loss", "reinforced_contrastive", {
            "teacher_widths": TEACHERS, "teacher_logit_scales": SCALES, "contrastive_weight": HARD,
            "distillation_weight": SOFT, "block": block})
        parts = reinforced(image, texts[0], scale, teacher_image.to(dtype),
                           teacher_texts[0].to(dtype), texts[1], teacher_texts[1].to(dtype))
        loss = parts["real"] + parts["synthetic"]
    if loss.requires_grad:
        torch.autograd.backward(loss)
    seconds = time.perf_counter() - began
    return {"peak": fresh_process.peak("cpu"), "seconds": seconds, "loss": loss.item()}


def near(features: Tensor) -> Tensor:
    """Features at a cosine similarity of about 0.16, so that some samples are mistaken."""
    return F.normalize(features + 6 * features.shape[1] ** -0.5 * torch.randn_like(features))


def dense(image: Tensor, text: Tensor, scale: Tensor, teacher_image: Tensor,
          teacher_text: Tensor) -> Tensor:
    """The loss of one set of captions."""
    target = torch.arange(len(image))
    total = torch.zeros(())
    directions = ((image, text, teacher_image, teacher_text),
                  (text, image, teacher_text, teacher_image))
    for queries, targets, teacher_queries, teacher_targets in directions:
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
    main()
