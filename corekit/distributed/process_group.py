"""The ranks of a run and their exchanges; plain python, torchrun or srun starts them."""

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import Store  # type: ignore[attr-defined]
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from corekit.distributed.heartbeat import Heartbeat
from corekit.distributed.rendezvous import environment_ranks, rendezvous
from corekit.errors import CorekitError

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among the processes of the run, and the device it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather_rows(self, tensor: Tensor) -> Tensor:
        """[n, ...] of every rank stacked by rank, [world * n, ...]; n is the same on all."""
        if self.world == 1:
            return tensor
        gathered = tensor.new_empty((self.world * len(tensor), *tensor.shape[1:]))
        dist.all_gather_into_tensor(gathered, tensor.contiguous())
        return gathered

    def sum_rows(self, tensor: Tensor) -> Tensor:
        """The rows of this rank out of the sum over ranks of [world * n, ...]: [n, ...]."""
        count = len(tensor) // self.world
        # all_reduce because gloo has no reduce_scatter for every dtype and version
        return self.sum(tensor)[self.rank * count:(self.rank + 1) * count]

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


def connect(parallel: str, device: str) -> ProcessGroup:
    """Join the run's processes and choose the device, as ``engine`` in the recipe says.

    Raises:
        CorekitError: the device is not there, or several processes were started for ``parallel:
            none``, or one of them does not come.
    """
    rank, world, _ = environment_ranks()
    return _connect(parallel, device, rendezvous(rank, world)[0] if world > 1 else None)


@contextlib.contextmanager
def joined(parallel: str, device: str) -> Iterator[ProcessGroup]:
    """The run's processes, which all end with the first error of one of them.

    Raises:
        CorekitError: as ``connect``.
    """
    rank, world, _ = environment_ranks()
    if world == 1:
        yield _connect(parallel, device, None)
        return
    store, for_heartbeat = rendezvous(rank, world)
    heartbeat = Heartbeat(for_heartbeat, rank, world)
    try:
        yield _connect(parallel, device, store)
    except BaseException as error:
        heartbeat.fail(error)
        raise
    else:
        heartbeat.stop()
    finally:
        disconnect()


def _connect(parallel: str, device: str, store: Store | None) -> ProcessGroup:
    rank, world, local_rank = environment_ranks()
    if world > 1 and parallel == "none":
        raise CorekitError(f"{world} processes were started with engine.parallel=none: type "
                           "engine.parallel=ddp")
    own = _device(device, local_rank)
    if store is not None:
        backend = "nccl" if own.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world,
                                timeout=timedelta(minutes=10))
    return ProcessGroup(rank, world, own)


def disconnect() -> None:
    """Leave the process group, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(name: str, local_rank: int) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(),
                 "cpu": True}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available[name]:
        raise CorekitError(f"engine.device={name}, but torch sees no such device here; type "
                           "engine.device=cpu")
    if name == "cuda":
        number = local_rank % torch.cuda.device_count()
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    return torch.device(name)


def wrap(model: nn.Module, group: ProcessGroup) -> nn.Module:
    """The model in DDP with summed gradients, where there are several ranks."""
    if group.world == 1:
        return model
    # Running statistics are averaged by us, not broadcast; torch 2.15 calls the option by another
    # name.
    parameters = inspect.signature(DistributedDataParallel.__init__).parameters
    names = ("forward_sync_buffers", "broadcast_buffers")
    broadcast = next(name for name in names if name in parameters)
    devices = [group.device.index] if group.device.type == "cuda" else None
    wrapped = DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True,
                                      **{broadcast: False})  # type: ignore[arg-type]
    wrapped.register_comm_hook(None, _sum_gradients)
    return wrapped


def _sum_gradients(
        _: object, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])  # type: ignore[no-any-return]
