"""A step's batch: cut into micro-batches, and copied to a GPU one step ahead."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from corekit import CorekitError
from corekit.data.loading.loader import Batch
from corekit.train.step import prefetch
from corekit.train.step.prefetch import Copier, Read, StepBatch, step_by_step


def steps(count: int, log: list[str]) -> Iterator[Read]:
    for step in range(count):
        log.append(f"read {step}")
        batches: list[Batch] = [{"key": [f"{step}.{part}"], "image": torch.full((1, 2), step),
                                 "list": [torch.zeros(step + 1)]} for part in range(2)]
        yield batches, {"image": [f"bad {step}"]}


class Logged(Copier):
    """A GPU's copier that only notes what it is called for."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def start(self, read: Sequence[Batch], bad: dict[str, list[str]]) -> Any:
        return StepBatch(read, [dict(batch) for batch in read], bad), None

    def finish(self, copy: Any) -> StepBatch:
        batch: StepBatch = copy[0]
        self.log.append(f"finish {batch.keys[0]}")
        return batch


def test_on_a_cpu_batches_are_as_they_were_read_and_none_is_read_ahead() -> None:
    log: list[str] = []
    batches = step_by_step(steps(3, log), torch.device("cpu"))
    first = next(batches)
    assert log == ["read 0"]
    assert first.moved is first.read
    assert first.keys == ["0.0", "0.1"]
    assert first.bad == {"image": ["bad 0"]}
    assert [batch.keys[0] for batch in batches] == ["1.0", "2.0"]


def test_on_a_gpu_the_next_batch_is_read_before_one_is_computed_and_the_order_stays() -> None:
    log: list[str] = []
    batches = prefetch.one_ahead(steps(3, log), Logged(log))
    first = next(batches)
    assert log == ["read 0", "read 1", "finish 0.0"]
    assert (first.keys[0], first.moved[0] is first.read[0]) == ("0.0", False)
    assert [(batch.keys[0], batch.bad["image"]) for batch in batches] == [("1.0", ["bad 1"]),
                                                                          ("2.0", ["bad 2"])]
    assert not list(prefetch.one_ahead(steps(0, log), Logged(log)))


def test_an_error_of_the_reader_comes_through() -> None:
    def broken() -> Iterator[Read]:
        yield from steps(1, [])
        raise CorekitError("the shard is gone")

    with pytest.raises(CorekitError, match="the shard is gone"):
        list(prefetch.one_ahead(broken(), Logged([])))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_gets_every_tensor_and_losses_keep_the_pinned_ones() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    for number, batch in enumerate(step_by_step(steps(4, []), device)):
        assert batch.read[1]["image"].is_pinned()
        assert batch.moved[1]["image"].device == device
        assert batch.moved[1]["image"].tolist() == [[number, number]]
        assert batch.moved[1]["list"][0].device == device
        assert batch.moved[1]["key"] == [f"{number}.1"]
