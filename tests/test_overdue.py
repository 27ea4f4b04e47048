"""Connections on which nobody answers."""

import socket
import threading
import time

import pytest

from rag_service import overdue
from rag_service.overdue import Overdue


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(overdue, "_CUT_AFTER_S", 0.2)


def test_who_does_not_give_up_when_asked_is_cut_off() -> None:
    ours, theirs = socket.socketpair()
    asked = threading.Event()
    began_s = time.monotonic()
    with ours, theirs, Overdue().watching(0.1, ours.fileno(), asked.set):
        assert ours.recv(1) == b""  # would wait for ever
        assert asked.is_set()
    assert 0.3 <= time.monotonic() - began_s < 5


def test_what_is_done_in_time_is_left_alone() -> None:
    watch, asked = Overdue(), threading.Event()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(3):  # its thread has ended in between, and begins again
            with watch.watching(5, ours.fileno(), asked.set):
                theirs.send(b"x")
                assert ours.recv(1) == b"x"
            time.sleep(0.1)
        theirs.send(b"y")
        assert ours.recv(1) == b"y"
    assert not asked.is_set()


def test_of_several_only_the_late_one_is_cut_off() -> None:
    watch = Overdue()
    late, _late = socket.socketpair()
    well, other = socket.socketpair()
    with late, _late, well, other, watch.watching(60, well.fileno(), lambda: None):
        with watch.watching(0.05, late.fileno(), lambda: None):
            assert late.recv(1) == b""
        other.send(b"x")
        assert well.recv(1) == b"x"
