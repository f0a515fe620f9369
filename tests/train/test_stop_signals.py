"""Which signals ask a run to save and stop."""

import os
import signal

import pytest
import torch

from corekit.distributed.process_group import ProcessGroup
from corekit.train.signals import StopSignals


@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_goes_away_stops_a_run_unless_nohup_says_no(ignored: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else lambda *_: None)
    try:
        with StopSignals(None, ProcessGroup(0, 1, torch.device("cpu"))) as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.requests() == [float(not ignored)] * 2
    finally:
        signal.signal(signal.SIGHUP, before)
