"""The reinforced loss with teachers' embeddings in fewer bits, and the bytes that saves.

    python tools/measure_embeddings.py [--teachers RUN RUN] [--samples 512]

Reinforces drawn scenes three times with the same draws, in fp32, bf16 and int8, reads each folder
as training does, and computes loss and gradient of a student on the same pictures and captions.
Teachers and student are runs or model folders given; else small models with random weights.
"""

import tempfile
from pathlib import Path

import timing
import torch
from check_generator import random_teacher, write_scenes
from corekit_projects.mobileclip.embeddings import encode_embeddings
from corekit_projects.mobileclip.losses import ReinforcedContrastive
from corekit_projects.mobileclip.reinforced import Reinforced
from corekit_projects.mobileclip.replay import Replay
from torch import Tensor
from torch.nn.functional import normalize

import corekit
from corekit.data.jobs.driver import run_job
from corekit.models.clip import CLIP

PRECISIONS = ("fp32", "bf16", "int8")
SCALE = 100.0


def main() -> None:
    parser = timing.parser(__doc__, augmentations=4)
    parser.add_argument("--teachers", nargs="+",
                        help="runs or model folders for pictures of 64 pixels")
    parser.add_argument("--student", help="a run or model folder")
    parser.add_argument("--samples", type=int, default=512, help="the batch is all of them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder, args.samples, 128)
        teachers = args.teachers or [random_teacher(folder / f"teacher{seed}", seed)
                                     for seed in (1, 2)]
        student = args.student or random_teacher(folder / "student", 3)
        captioner = {"name": "nearest_captions", "path": teachers[0],
                     "candidates": str(folder / "captions.txt")}
        caption, measured = torch.zeros(1, 32, dtype=torch.int64), {}
        widths = [corekit.load(path)[0].encode_text(caption).shape[1]  # type: ignore[operator]
                  for path in teachers]
        for precision in PRECISIONS:
            arguments = {"teachers": teachers, "captioner": captioner, "captions": 2,
                         "image_size": 64, "augmentations": args.augmentations,
                         "precision": precision}
            run_job("reinforce", arguments, str(folder / "scenes"), folder / precision)
            dataset = Reinforced(str(folder / "scenes"), str(folder / precision))
            stored = sum(path.stat().st_size for path in (folder / precision).glob("*.tar"))
            measured[precision] = (*loss_of(dataset, student, widths), stored / args.samples)
    print(f"{args.samples} scenes, {args.augmentations} augmentations, 3 captions, teachers "
          f"{widths} wide")
    exact, gradient, _ = measured["fp32"]
    for precision, (loss, other_gradient, size) in measured.items():
        distance = float((other_gradient - gradient).norm() / gradient.norm())
        print(f"{precision}: loss {loss:.7f}, {abs(loss - exact):.1e} "
              f"({abs(loss - exact) / exact:.1e} of it) from fp32's; "
              f"gradient {distance:.1e} of its length away; {size:,.0f} bytes a sample in shards")
    rows = {"image_emb": unit(30), "text_emb": unit(6)}
    sizes = ", ".join(f"{precision} {len(encode_embeddings(rows, precision)[1]):,}"
                      for precision in PRECISIONS)  # type: ignore[arg-type]
    print("as DataCompDR-12M has them (30 augmentations, 6 captions, 1,536 numbers), bytes of "
          f"embeddings a sample: {sizes}")


def loss_of(data: Reinforced, student: str, widths: list[int]) -> tuple[float, Tensor]:
    """The loss of all samples as one batch, and its gradient for the student's features."""
    loaded, preprocess, tokenize = corekit.load(student)
    assert isinstance(loaded, CLIP)
    assert tokenize is not None
    replay = Replay(preprocess, 64)
    # what decoding draws: the same augmentation and caption of each sample in every precision
    torch.manual_seed(0)
    samples = [data.decode(handle) for shard, size in enumerate(data.shard_sizes.tolist())
               for handle in data.read(shard, 0, size)]
    with torch.no_grad():
        pixels = torch.stack([replay.replay(sample["image"], sample["augmentation"])
                              for sample in samples])
        features = [loaded.encode_image(preprocess.normalize(pixels), normalize=True),
                    *(loaded.encode_text(tokenize([sample[name] for sample in samples]),
                                         normalize=True) for name in ("text", "synthetic_text"))]
    image, text, synthetic = (each.double().requires_grad_() for each in features)
    teacher_image, teacher_text, teacher_synthetic = (
        torch.stack([sample[f"teacher_{name}_features"] for sample in samples]).double()
        for name in ("image", "text", "synthetic_text"))
    loss = ReinforcedContrastive(widths, [SCALE] * len(widths))
    parts = loss(image, text, torch.tensor(20.0, dtype=torch.float64), teacher_image, teacher_text,
                 synthetic, teacher_synthetic)
    total = torch.stack(list(parts.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    gradients = [each.grad.flatten() for each in (image, text, synthetic) if each.grad is not None]
    return total.item(), torch.cat(gradients)


def unit(count: int) -> Tensor:
    return normalize(torch.randn(count, 1536, generator=torch.Generator().manual_seed(0)), dim=1)


if __name__ == "__main__":
    main()
