"""AIM's pre-training: what leaks, and whether the loss depends on how a step is cut.

    python tools/check_autoregressive.py [--device cuda]

Leakage: the gradient of every output i to every patch j, for every prefix length M of pictures of
16 patches. It has to be exactly 0 for j >= max(i + 1, M), and is printed beside the largest one
that may be there. Attention is by SDPA's mask and, where its backward pass runs (not on a CPU), by
FlexAttention; there all gradients of both are compared too.

The loss: one step of 16 pictures on 1 rank, on 2 ranks, and in 4 micro-batches, of a small model.
Prints the relative difference of the loss and of all gradients to those of the whole batch on one
rank. Exits with 0 where nothing leaks, and gradients of both attentions differ by at most 1e-5,
losses by at most 1e-6 in float32 and 1e-12 in float64.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import timing
import torch
from commands import free_port
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

import corekit
from corekit import registry
from corekit.data.fields import find_fields
from corekit.data.loading.collate import split
from corekit.distributed.process_group import ProcessGroup, connect, disconnect, wrap
from corekit.optim.loss_scale import Precision
from corekit.train.step.forward import Forward, StepRandom
from corekit.train.step.grad_cache import make_step
from corekit.train.step.loss_terms import WeightedLoss
from corekit.train.step.prepare import Prepare
from corekit.wiring import Wiring

SIDE, LENGTH, WORDS, SAMPLES, END = 56, 12, 64, 16, 1
PATCHES = (SIDE // 14) ** 2
LIMITS = {torch.float32: 1e-6, torch.float64: 1e-12}
Figures = dict[str, Tensor]  # the loss of a step, and the gradients by name


def main() -> int:
    """The command."""
    parser = timing.parser(__doc__)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    backends = ("sdpa",) if device.type == "cpu" else ("sdpa", "flex")
    sound = sum(leaks(backend, device) for backend in backends) == 0
    if "flex" in backends:
        sound = distance(backends, device) <= 1e-5 and sound
    for dtype, limit in LIMITS.items():
        full_batch = one_step(ProcessGroup(0, 1, device), dtype, 1)
        cuts = {"4 micro-batches": one_step(ProcessGroup(0, 1, device), dtype, 4),
                "2 ranks": on_two_ranks(dtype)}
        for name, tensors in cuts.items():
            loss = abs(float(tensors["loss"]) / float(full_batch["loss"]) - 1)
            grads = sum(float((tensors[key] - value).square().sum())
                        for key, value in full_batch.items())**0.5
            norm = sum(float(value.square().sum()) for value in full_batch.values())**0.5
            print(f"  {dtype}, {name}: loss {float(tensors['loss']):.15f} against "
                  f"{float(full_batch['loss']):.15f}, relative difference {loss:.1e} (limit "
                  f"{limit:.0e}); of the gradients {grads / norm:.1e}")
            sound = sound and loss <= limit
    return 0 if sound else 1


def distance(backends: Sequence[str], device: torch.device) -> float:
    """The relative distance of the second backend's gradients from the first's."""
    gradients = []
    for backend in backends:
        net, generator = model(torch.float32, backend).to(device), torch.Generator().manual_seed(0)
        image = torch.randn(SAMPLES, 3, SIDE, SIDE, generator=generator).to(device)
        text = torch.randint(WORDS, (SAMPLES, LENGTH), generator=generator).to(device)
        outputs = net(image, text, torch.linspace(0, 0.999, SAMPLES, device=device))
        sum(output.dense().square().sum() for output in outputs.values()).backward()
        gradients.append(torch.cat([value.grad.flatten() for value in net.parameters()
                                    if value.grad is not None]))
    difference = float((gradients[1] - gradients[0]).norm() / gradients[0].norm())
    print(f"  gradients by {backends[1]} against {backends[0]}: relative difference "
          f"{difference:.1e} (limit 1e-5)")
    return difference


def leaks(backend: str, device: torch.device) -> float:
    """The largest gradient where none may be."""
    net = model(torch.float32, backend).to(device)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, SIDE, SIDE, generator=generator).to(device).requires_grad_()
    text = torch.randint(WORDS, (1, LENGTH), generator=generator).to(device)
    forbidden, allowed = 0.0, 0.0
    for length in range(1, PATCHES):
        uniform = torch.tensor([(length - 0.5) / (PATCHES - 1)], device=device)
        predictions = net(image, text, uniform)["patch_predictions"].dense()[0]
        for patch in range(PATCHES - 1):
            grad = torch.autograd.grad(predictions[patch].square().sum(), image,
                                       retain_graph=True)[0]
            of_patch = grad.unfold(2, 14, 14).unfold(3, 14, 14).abs().amax((0, 1, 4, 5)).flatten()
            edge = max(patch + 1, length)
            forbidden = max(forbidden, float(of_patch[edge:].max()) if edge < PATCHES else 0.0)
            allowed = max(allowed, float(of_patch[:edge].max()))
    print(f"  {backend}, {PATCHES - 1} prefix lengths: largest gradient to a patch j >= max(i + 1, "
          f"M) {forbidden!r}, to the others {allowed:.2e}")
    return forbidden


def model(dtype: torch.dtype, attention: str = "sdpa") -> nn.Module:
    """A small one, the same each time."""
    torch.manual_seed(0)
    network: nn.Module = corekit.create_model("aimv2_pretrain", encoder="aimv2_base_224",
                                              context_length=LENGTH, vocab_size=WORDS,
                                              attention=attention, width_divisor=6, depth_divisor=4)
    return network.to(dtype)


def one_step(ranks: ProcessGroup, dtype: torch.dtype, micro_batches: int) -> Figures:
    """The loss and the gradients of one step."""
    net, generator = model(dtype).to(ranks.device), torch.Generator().manual_seed(1)
    text = torch.randint(END + 1, WORDS, (SAMPLES, LENGTH), generator=generator)
    for row in range(SAMPLES):
        text[row, 1 + row % LENGTH:] = END
    batch = {"key": [str(number) for number in range(SAMPLES)], "text": text,
             "image": torch.randn(SAMPLES, 3, SIDE, SIDE, generator=generator).to(dtype)}
    weights = {"next_token": 1.0, "next_patch": 0.4}
    arguments = {"next_token": {"end_token": END}, "next_patch": {}}
    losses = [WeightedLoss.of(registry.build("loss", name, arguments[name]), name, weight)
              for name, weight in weights.items()]

    def place(batch: dict[str, object]) -> dict[str, object]:
        return {name: value.to(ranks.device) if isinstance(value, Tensor) else value
                for name, value in batch.items()}

    forward = Forward(wrap(net, ranks), net, Wiring.of("model", net, net.forward), None,
                      Precision("fp32"), StepRandom(0, ranks, micro_batches))
    step = make_step(forward, losses, Prepare(place))
    fields = find_fields(["image", "text"])
    share = split(batch, ranks.world, fields)[ranks.rank]
    own = split(share, micro_batches // ranks.world, fields)
    figures, _ = step(own, 3)
    gradients = {name: value.grad.double().cpu() for name, value in net.named_parameters()
                 if value.grad is not None}
    return {"loss": torch.tensor(figures["loss"], dtype=torch.float64), **gradients}


def on_two_ranks(dtype: torch.dtype) -> Figures:
    """The same step on two CPU ranks, a micro-batch each."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, (free_port(), dtype, folder), nprocs=2)  # type: ignore[no-untyped-call]
        tensors: Figures = torch.load(Path(folder) / "step.pt", weights_only=True)
    return tensors


def _rank(rank: int, port: int, dtype: torch.dtype, folder: str) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
                      MASTER_ADDR="localhost", MASTER_PORT=str(port))
    ranks = connect("ddp", "cpu")
    tensors = one_step(ranks, dtype, 2)
    if ranks.is_first:
        torch.save(tensors, Path(folder) / "step.pt")
    disconnect()


if __name__ == "__main__":
    sys.exit(main())
