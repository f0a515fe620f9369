"""Signs of life of ranks: the first error ends them all, and so does a rank that is gone.

A rank that waits in an exchange for another one hears of its end by a thread, which ends the
process: nothing else could, least of all with NCCL.
"""

import contextlib
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NoReturn

from torch.distributed import DistError, Store  # type: ignore[attr-defined]

from corekit.errors import CorekitError
from corekit.printable import printable
from corekit.stalls import stall_seconds, stalls

BEAT = 1.0  # seconds between two signs of life
GONE = 3  # silences without any that a rank is told of before it counts as gone
SUSPECT = 4  # beats that a rank may miss where an exchange has failed
LINGER = 8.0  # seconds that a rank with an error stays, at most, for the others to hear of it
# what an exchange raises where another rank is gone
CONNECTION = re.compile(r"gloo/transport|[Cc]onnection (closed|reset)|by peer|[Bb]roken pipe|NCCL")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """The first error of a run: whose it is, who tells it, and the exit status of all ranks."""

    rank: int
    teller: int
    status: int
    sentence: str


class Heartbeat:
    """Gives signs of life and looks for those of others while it lasts, in threads of its own.

    Args:
        store: the ranks' own.
        rank, world: this process among them.
    """

    def __init__(self, store: Store, rank: int, world: int) -> None:
        self.store, self.rank, self.world = store, rank, world
        self.patience = stall_seconds()
        self.ended = threading.Event()
        self.failed = False  # this rank has an error of its own
        self.lost = False  # an exchange of this rank has failed
        self.beats = 0
        self.word = ""  # the newest of this rank's stalls
        self.seen = [""] * world  # the newest sign of life of each
        self.missed = [0] * world  # how often there was none since
        self.words = [""] * world
        self.handler = _Words(self)
        stalls.addHandler(self.handler)
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._run,
                                                                              self._guard)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End it, since this rank's work is done."""
        stalls.removeHandler(self.handler)
        self.ended.set()
        self.threads[0].join(self.patience)
        try:
            self.store.set(f"life{self.rank}", "done")
        except DistError:  # the first rank has ended as well
            return

    def fail(self, error: BaseException) -> None:
        """Tell the others of this rank's error; where one of theirs came first, end with it."""
        self.failed = True
        stalls.removeHandler(self.handler)
        try:
            if isinstance(error, RuntimeError) and CONNECTION.search(str(error)):
                self.failed, self.lost = False, True  # by another's end, which is still to be found
                time.sleep(self.patience + 10 * BEAT)
                self.failed = True
            elif threading.current_thread() is threading.main_thread():
                # a launcher's, when the others have ended: this rank has still to tell why
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            first = self._claim(Failure(self.rank, self.rank, _status(error), _sentence(error)))
        except DistError:
            return
        if first.teller != self.rank:
            self._leave(first)
        # should the way out be blocked, as in an exchange that never ends
        _leave_after(2 * LINGER, first.status)
        with contextlib.suppress(DistError):
            self._linger()

    def _linger(self) -> None:
        """Wait until the others have heard of this rank's error, or a while."""
        deadline = time.monotonic() + LINGER
        others = [rank for rank in range(self.world) if rank != self.rank]
        while others and time.monotonic() < deadline:
            time.sleep(BEAT / 10)
            lives = self.store.multi_get([f"life{rank}" for rank in others])
            others = [rank for rank, life in zip(others, lives) if life != b"done"]

    def _run(self) -> None:
        lost_since = None
        while not self.ended.wait(BEAT):
            try:
                self._live()
                lost_since = None
            except DistError:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > SUSPECT * BEAT and not self.failed:
                    self._leave(self._first_is_gone())

    def _live(self) -> None:
        """Give a sign of life and hear what there is."""
        self.store.set(f"life{self.rank}", json.dumps([self.beats, self.word, self.lost,
                                                       socket.gethostname(), os.getpid()]))
        self.beats += 1
        if self.store.check(["failure"]) and not self.failed:
            self._leave(Failure(**json.loads(self.store.get("failure"))))
        if self.rank == 0:
            self._look_for(range(1, self.world))
        elif self.rank == 1:
            self._look_for([0])

    def _look_for(self, ranks: Sequence[int]) -> None:
        """Look for the signs of life of other ranks, and tell what they say of themselves."""
        lives = self.store.multi_get([f"life{rank}" for rank in ranks])
        silence = max(1, round(self.patience / BEAT))
        lost = self.lost or any(json.loads(life)[2] for life in lives
                                if life not in (b"", b"done"))
        for rank, life in zip(ranks, (each.decode() for each in lives)):
            if life == "done":
                continue
            missed = self.missed[rank] + 1 if life == self.seen[rank] else 0
            self.missed[rank], self.seen[rank] = missed, life
            if missed > (SUSPECT if lost else GONE * silence) and not self.failed:
                self._claim(Failure(rank, self.rank, 2, f"{self._silent(rank)}: {_REASONS}"))
            elif missed and missed % silence == 0:
                self._tell(f"{self._silent(rank)}: waiting for it")
            word = json.loads(life)[1] if life else ""
            if rank and word != self.words[rank]:
                self.words[rank] = word
                log.warning(f"rank {rank}: {word}")

    def _guard(self) -> None:
        """Notice that the store itself does not answer, where the first rank is stopped."""
        beats, silences = -1, 0
        while not self.ended.wait(self.patience):
            silences = silences + 1 if beats == self.beats else 0
            beats = self.beats
            if silences > GONE and not self.failed:
                self._leave(self._first_is_gone())
            elif silences and self.rank == 1:
                self._tell(f"rank 0 has given no sign of life for {silences * self.patience:.0f} "
                           "s: waiting for it")

    def _silent(self, rank: int) -> str:
        """The beginning of a sentence on a rank."""
        life = self.seen[rank]
        where = "of {3}, process {4},".format(*json.loads(life)) if life else "of this run"
        return (f"rank {rank} {where} has given no sign of life for "
                f"{self.missed[rank] * BEAT:.0f} s")

    def _tell(self, sentence: str) -> None:
        """Warn; the second rank, which shows no log, of the first one."""
        log.warning(sentence)
        if self.rank:
            sys.stderr.write(f"corekit: {printable(sentence)}\n")
            sys.stderr.flush()

    def _first_is_gone(self) -> Failure:
        return Failure(0, 1, 2, f"rank 0 at {os.environ['MASTER_ADDR']} gives no sign of life: "
                                f"{_REASONS}")

    def _claim(self, failure: Failure) -> Failure:
        """The first error of all ranks, which is this one where there was none."""
        first = self.store.compare_set("failure", "", json.dumps(asdict(failure)))
        return Failure(**json.loads(first))

    def _leave(self, failure: Failure) -> NoReturn:
        """End this process with another rank's error, told here where nobody else does."""
        note = f"rank {failure.rank} ended the run: {failure.sentence}"
        for handler in logging.getLogger("corekit").handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(logging.makeLogRecord({"msg": note}))
        if failure.teller == self.rank:
            sys.stderr.write(f"corekit: {printable(failure.sentence)}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        _leave_after(BEAT, failure.status)  # should the store not answer
        try:
            self.store.set(f"life{self.rank}", "done")
        finally:
            os._exit(failure.status)


_REASONS = ("it was killed, as the system does where memory is short, or it is stopped, or its "
            "machine is gone. All ranks end; the same command goes on from the newest checkpoint")


class _Words(logging.Handler):
    """Keeps a rank's newest stall, to be told by the first rank."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        super().__init__()
        self.heartbeat = heartbeat

    def emit(self, record: logging.LogRecord) -> None:
        self.heartbeat.word = record.getMessage()


def _leave_after(seconds: float, status: int) -> None:
    timer = threading.Timer(seconds, os._exit, [status])
    timer.daemon = True
    timer.start()


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return 2 if isinstance(error, CorekitError) else 1


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, CorekitError) else f"{type(error).__name__}: {error}"
