"""corekit's commands in forks of a process that has imported torch, for tests and checks.

Importing takes some four seconds of a core, a fork next to nothing. Everything else is as it is at
the command line: a process of its own, its own session, signals, exit status.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = {"corekit-train": "corekit.cli.train", "corekit-eval": "corekit.cli.evaluate",
           "corekit": "corekit.cli.main"}

_PRELOADED = [*MODULES.values(), "corekit.train.run", "corekit.evaluation.run",
              "corekit.data.datasets.openmoji.dataset", "torch._dynamo", "torch.utils.tensorboard",
              "torch.distributed.checkpoint", "torch.distributed.fsdp"]


def start(command: str, *words: str, folder: Path, output: Path,
          environment: Mapping[str, str] | None = None) -> Any:
    """Start a command with one thread in a folder; it prints to ``output`` and ``output``.err.

    It is a name of ``MODULES``, or any module with a ``main()``. The process is one of
    ``multiprocessing`` whose process group has its number; ``environment`` is added to our own.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch asks once, where it is imported
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_run, args=(command, words, str(folder), str(output),
                                                 {**os.environ, **(environment or {})}))
    process.start()
    return process


def start_ranks(command: str, *words: str, folder: Path, output: Path, ranks: int) -> list[Any]:
    """Start a command on every rank, as torchrun would; rank r > 0 prints to ``output``.r."""
    if ranks == 1:
        return [start(command, *words, folder=folder, output=output)]
    port = free_port()
    return [start(command, *words, folder=folder,
                  output=output.with_name(f"{output.name}.{rank}") if rank else output,
                  environment={"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks),
                               "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
            for rank in range(ranks)]


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(command: str, words: tuple[str, ...], folder: str, output: str,
         environment: dict[str, str]) -> None:
    os.setsid()
    # it would hand on the way it was started itself to its data workers
    multiprocessing.set_start_method(None, force=True)
    for place, descriptor in ((output, 1), (f"{output}.err", 2)):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [command, *words]
    import torch

    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    import_module(MODULES.get(command, command)).main()
