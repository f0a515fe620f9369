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


def test_a_second_sigterm_ends_at_once_unless_it_is_the_first_ones_echo(
        monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    with StopSignals(None, ProcessGroup(0, 1, torch.device("cpu"))) as signals:
        for _ in range(2):  # as a scheduler and a launcher send it
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.requests() == [1.0, 1.0]
        assert not raised
        monkeypatch.setattr("corekit.train.signals.TWICE", -1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert raised == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
