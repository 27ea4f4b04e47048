"""How often somebody may do something: token buckets that hold a minute's worth. Pure but for what they remember.

A bucket of `per_minute` tokens (at least 1) fills evenly, one token every 60 / `per_minute` seconds: who has been quiet for a minute may
use a minute's worth at once. So at most `n + n * T / 60` are let through in any T seconds.

It is kept as one number, the instant at which the bucket will be full again (GCRA, ITU-T I.371). A bucket that nobody has used for a
minute is full, and forgetting a full bucket changes nothing. That is what makes bounded memory safe here.

Buckets lie in memory that processes share which are forked later, so several workers count as one. Not for several threads of one
process at once: the event loop is one.
"""

import fcntl
import hashlib
import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_S = 60.0
_SLACK_S = 1e-6
"""More than a sum of floating-point seconds is off by, and less than anybody waits."""


class Rates:
    """One bucket for each name, for at most `max_entries` names. For names that are known to be real, such as those of keys.

    Only a full bucket is forgotten. While every one is in use, further names share one, and start from it when they get their own:
    no number of names gives anybody a fresh bucket sooner than waiting does.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._numbers = memoryview(mmap.mmap(-1, 8 * max(max_entries, 1))).cast("Q")
        """0 where no name has been yet; otherwise a hash of the name that the bucket is of."""
        self._full_at_s = _instants(max_entries + 1)
        """The last is the one that is shared."""
        self._salt = os.urandom(16)
        self._lock = _Lock()

    def __len__(self) -> int:
        return sum(number != 0 for number in self._numbers[: self._max_entries])

    def take(self, name: str, per_minute: int, now_s: float) -> float | None:
        """None if `name` may go on; otherwise the seconds after which it may, and nothing is taken. `now_s` is monotonic."""
        number = _hash(name, self._salt) or 1
        with self._lock.held():
            slot = self._slot(number, now_s)
            shared_s = self._full_at_s[self._max_entries]
            if slot is None:
                self._full_at_s[self._max_entries], wait_s = _step(shared_s, per_minute, now_s)
                return wait_s
            full_at_s = self._full_at_s[slot] if self._numbers[slot] == number else shared_s
            self._full_at_s[slot], wait_s = _step(full_at_s, per_minute, now_s)
            self._numbers[slot] = number
        return wait_s

    def _slot(self, number: int, now_s: float) -> int | None:
        """Of this name, or one that it can have: never used, or of a bucket that is full. None where there is none."""
        free = None
        for step in range(self._max_entries):
            slot = (number + step) % self._max_entries
            held = self._numbers[slot]
            if held == number:
                return slot
            if free is None and (held == 0 or self._full_at_s[slot] <= now_s):
                free = slot
            if held == 0:
                break
        return free


class SharedRates:
    """`slots` buckets for any number of names. For names that anybody can make up, such as addresses.

    Which names share a bucket cannot be foreseen from outside. Nothing is ever forgotten, so there is nothing to flood.
    """

    def __init__(self, slots: int, per_minute: int) -> None:
        self._full_at_s = _instants(slots)
        self._per_minute = per_minute
        self._salt = os.urandom(16)
        self._lock = _Lock()

    def take(self, name: str, now_s: float) -> float | None:
        """As `Rates.take`."""
        slot = _hash(name, self._salt) % len(self._full_at_s)
        with self._lock.held():
            self._full_at_s[slot], wait_s = _step(self._full_at_s[slot], self._per_minute, now_s)
        return wait_s


class _Lock:
    """Keeps other processes out. The kernel lets it go when a process ends, however it ends."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("rates", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    @contextmanager
    def held(self) -> Iterator[None]:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _instants(count: int) -> "memoryview[float]":
    return memoryview(mmap.mmap(-1, 8 * count)).cast("d")


def _hash(name: str, salt: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8, key=salt).digest())


def _step(full_at_s: float, per_minute: int, now_s: float) -> tuple[float, float | None]:
    """When the bucket is full again after this attempt, and what is left to wait if there was no token."""
    token_s = WINDOW_S / max(per_minute, 1)
    missing_s = max(full_at_s - now_s, 0.0)
    wait_s = missing_s + token_s - WINDOW_S
    if wait_s > _SLACK_S:
        return full_at_s, min(wait_s, token_s)  # rounding must not make it longer than a token takes
    return now_s + missing_s + token_s, None
