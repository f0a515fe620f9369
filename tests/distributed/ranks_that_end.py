"""Run by test_heartbeat.py on each of several ranks, one of which ends in the way it is told."""

import os
import signal
import subprocess
import sys
import threading
import time

import torch

from corekit.cli.sentences import sentences
from corekit.distributed.process_group import joined
from corekit.errors import CorekitError
from corekit.stalls import stalls


def main() -> None:
    ending = sys.argv[1]
    with sentences(), joined("ddp", "cpu") as ranks:
        ranks.barrier()
        print("ready", os.getpid(), flush=True)
        if ending == "alike":
            raise CorekitError("the same everywhere")
        if ranks.rank == int(sys.argv[2]):
            if ending == "user's error":
                # as a launcher does when another rank has ended
                threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM]).start()
                raise CorekitError("the disk of this rank is full")
            if ending == "slip":
                raise IndexError("a slip of mine")
            if ending == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if ending == "paused":
                subprocess.Popen(["sh", "-c", f"sleep 4; kill -CONT {os.getpid()}"])
            if ending in ("stopped", "paused"):
                os.kill(os.getpid(), signal.SIGSTOP)
            if ending == "stalled":
                stalls.warning("no batch for 3 s")
                time.sleep(3)
        elif ending == "slip":
            time.sleep(60)  # in no exchange
        ranks.sum(torch.ones(3))
