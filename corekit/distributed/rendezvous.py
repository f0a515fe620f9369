"""Where the ranks of a run meet: a key-value store at the address of the first rank."""

import itertools
import logging
import os
import re
import time
from datetime import timedelta
from functools import lru_cache

from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from corekit.errors import CorekitError
from corekit.stalls import stall_seconds

PATIENCE = 600.0  # seconds until every rank has to be there
AGENT = "TORCHELASTIC_USE_AGENT_STORE"  # set by torchrun, whose own process keeps the store

log = logging.getLogger(__name__)
_meetings = itertools.count()  # a process may join its ranks again, for another configuration


def environment_ranks() -> tuple[int, int, int]:
    """(rank, processes, local rank) from torchrun's or srun's environment, or (0, 1, 0)."""
    for rank, world, local in (("RANK", "WORLD_SIZE", "LOCAL_RANK"),
                               ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")):
        if rank in os.environ and world in os.environ:
            return (int(os.environ[rank]), int(os.environ[world]), int(os.environ.get(local, 0)))
    return 0, 1, 0


def rendezvous(rank: int, world: int) -> tuple[Store, Store]:
    """The stores of this meeting, for torch and for ``Heartbeat``, when every rank is there.

    They are two connections: a call of one waits for no call of the other.

    Raises:
        CorekitError: a rank does not come, or the address cannot be had.
    """
    host, port = _address()
    try:
        if rank == 0:
            stores = (_connection(host, port, "torch", True),
                      _connection(host, port, "heartbeat", False))
        else:
            _await_first_rank(host, port)
            stores = (_connection(host, port, "torch", False),
                      _connection(host, port, "heartbeat", False))
    except DistError as error:
        raise CorekitError(f"rank {rank} cannot meet the others at {host}:{port} "
                           f"({str(error).splitlines()[0]}): is MASTER_PORT in use, or "
                           "MASTER_ADDR not the first rank's machine?") from None
    number = next(_meetings)
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    for_torch, for_heartbeat = (PrefixStore(f"corekit/{restart}/{number}/{name}", store)
                            for name, store in zip(("torch", "heartbeat"), stores))
    _await_everyone(for_heartbeat, rank, world)
    return for_torch, for_heartbeat


def _address() -> tuple[str, int]:
    if "MASTER_ADDR" not in os.environ:  # srun does not set where rank 0 is
        nodes = os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")
        os.environ["MASTER_ADDR"] = first_node(nodes)
    if "MASTER_PORT" not in os.environ:
        job = int(os.environ.get("SLURM_JOB_ID", "0"))
        os.environ["MASTER_PORT"] = str(20000 + job % 20000)
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def first_node(nodes: str) -> str:
    """The first of SLURM's list of nodes, gpu03 of ``gpu[03-10,12],big1``: where rank 0 is."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).split(",")[0]


@lru_cache
def _connection(host: str, port: int, purpose: str, is_first: bool) -> TCPStore:
    """A connection, kept as long as the process: the first rank's ends with the store itself."""
    return TCPStore(host, port, is_master=is_first and os.environ.get(AGENT) != "True",
                    wait_for_workers=False, timeout=timedelta(seconds=PATIENCE))


def _await_first_rank(host: str, port: int) -> None:
    """Wait until there is a store, with a word now and then."""
    began = time.monotonic()
    while True:
        try:
            TCPStore(host, port, is_master=False, wait_for_workers=False,
                     timeout=timedelta(seconds=stall_seconds()))
            return
        except DistError:
            _say_or_end("rank 0", began, f" at {host}:{port}")


def _await_everyone(store: Store, rank: int, world: int) -> None:
    """Wait for all ranks; the first one says which of them it misses."""
    store.set(f"life{rank}", "")
    began = said = time.monotonic()
    missing = list(range(world))
    while missing := [each for each in missing if not store.check([f"life{each}"])]:
        time.sleep(0.02)
        if time.monotonic() - said > stall_seconds():
            said = time.monotonic()
            shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            _say_or_end(f"rank{'s' * (len(missing) > 1)} {shown}", began, f" of {world}")


def _say_or_end(who: str, began: float, where: str) -> None:
    waited = time.monotonic() - began
    if waited > PATIENCE:
        raise CorekitError(f"{who}{where} did not come within {waited:.0f} s: look at the output "
                           "of that process and at its machine")
    log.warning(f"{waited:.0f} s without {who}{where}: waiting for it to come")
