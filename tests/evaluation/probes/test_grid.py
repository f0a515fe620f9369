"""Heads trained at once against each trained alone with torch's own modules, and one step against
its closed form.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.evaluation.probes.grid import Grid

POINTS = [(1e-3, 0.0), (1e-2, 0.1), (0.5, 0.02), (1e-4, 1.0)]
STEPS, WARMUP, FINAL = 12, 3, 1e-5


class Pooling(nn.Module):
    """A head over tokens [B, L, D]: a learned query attends to them, a linear layer classifies what
    it gets.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(width))
        self.key = nn.Linear(width, width, bias=False)
        self.linear = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        share = (self.key(tokens) @ self.query).softmax(1)
        out: Tensor = self.linear((share[:, :, None] * tokens).sum(1))
        return out


def batches(shape: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(9, *shape, generator=generator, dtype=torch.float64),
             torch.randint(0, 5, (9,), generator=generator)) for _ in range(STEPS)]


def alone(head: nn.Module, rate: float, decay: float, data: list[tuple[Tensor, Tensor]],
          clip: float | None) -> list[Tensor]:
    """The plain loop that a grid replaces."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=decay)
    for step, (inputs, label) in enumerate(data):
        falling = 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
        optimizer.param_groups[0]["lr"] = rate * (
            step + 1) / WARMUP if step < WARMUP else FINAL + (rate - FINAL) * falling
        optimizer.zero_grad()
        F.cross_entropy(head(inputs), label).backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            nn.utils.clip_grad_norm_(head.parameters(), clip)
        optimizer.step()
    return [parameter.detach() for parameter in head.parameters()]


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize(("make", "shape"), [(lambda: nn.Linear(6, 5), (6, )),
                                             (lambda: Pooling(6, 5), (4, 6))])
def test_each_head_is_what_it_is_when_trained_alone(
        make, shape: tuple[int, ...], clip: float | None) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    head = make().double()
    start = {name: value.clone() for name, value in head.state_dict().items()}
    data = batches(shape)
    grid = Grid(head, POINTS, STEPS, WARMUP, FINAL, clip)
    for inputs, label in data:
        grid.step(inputs, label)
    assert all(torch.equal(head.state_dict()[name], value)
               for name, value in start.items()), "the head given is a pattern"
    logits = grid(data[0][0])
    for index, (rate, decay) in enumerate(POINTS):
        single = make().double()
        single.load_state_dict(start)
        expected = alone(single, rate, decay, data, clip)
        for actual, value in zip(grid.one(index).values(), expected, strict=True):
            assert torch.allclose(actual, value, rtol=1e-10, atol=1e-12)
        assert torch.allclose(logits[index], single(data[0][0]), rtol=1e-9, atol=1e-10)


def test_one_step_in_closed_form() -> None:
    head = nn.Linear(3, 4).double()
    inputs, label = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 4
    grid = Grid(head, POINTS, steps=5)
    grid.step(inputs, label)
    # the gradient of mean cross-entropy by the logits
    wrong = (head(inputs).softmax(1) - F.one_hot(label, 4)) / 7
    for index, (rate, decay) in enumerate(POINTS):
        for name, start, gradient in (("weight", head.weight, wrong.T @ inputs), ("bias", head.bias,
                                                                                  wrong.sum(0))):
            # the first step of Adam, its moments corrected for their start, is the sign of the
            # gradient, all but eps
            expected = start * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)
            assert torch.allclose(grid.one(index)[name], expected, rtol=1e-10, atol=1e-12)


def test_learning_rates_rise_and_fall() -> None:
    grid = Grid(nn.Linear(2, 2), [(0.1, 0.0), (0.2, 0.0)], steps=6, warmup_steps=2,
                final_learning_rate=0.01)
    seen = []
    for _ in range(6):
        grid.step(torch.randn(3, 2), torch.tensor([0, 1, 0]))
        seen.append([group["lr"] for group in grid.optimizer.param_groups])
    assert [rates[0] for rates in seen[:3]] == pytest.approx([0.05, 0.1, 0.1])
    assert seen[4][0] == pytest.approx(0.01 + 0.09 / 2), "half way down"
    assert [rates[1] for rates in seen[2:]] == pytest.approx(
        [0.01 + 0.19 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_a_diverging_head_leaves_the_others_alone() -> None:
    head, data = nn.Linear(6, 5).double(), batches((6,))
    grids = [Grid(head, points, STEPS) for points in (POINTS[:1], [POINTS[0], (1e308, 10.0)])]
    for grid in grids:
        for inputs, label in data:
            grid.step(inputs, label)
    assert not grids[1].one(1)["weight"].isfinite().all()
    assert torch.allclose(grids[0].one(0)["weight"], grids[1].one(0)["weight"], rtol=1e-12)
