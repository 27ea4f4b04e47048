"""How often somebody may do something: token buckets that hold a minute's worth. Pure but for what they remember.

A bucket of `per_minute` tokens (at least 1) fills evenly, one token every 60 / `per_minute` seconds: who has been quiet for a minute may
use a minute's worth at once. So at most `n + n * T / 60` are let through in any T seconds.

It is kept as one number, the instant at which the bucket will be full again (GCRA, ITU-T I.371). A bucket that nobody has used for a
minute is full, and forgetting a full bucket changes nothing. That is what makes bounded memory safe here.

Not for several threads at once: the event loop is one.
"""

import hashlib
import os
from array import array
from collections import OrderedDict

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
        self._full_at_s: OrderedDict[str, float] = OrderedDict()
        """Least recently used first."""
        self._shared_full_at_s = 0.0

    def __len__(self) -> int:
        return len(self._full_at_s)

    def take(self, name: str, per_minute: int, now_s: float) -> float | None:
        """None if `name` may go on; otherwise the seconds after which it may, and nothing is taken. `now_s` is monotonic."""
        if name not in self._full_at_s and not self._room(now_s):
            self._shared_full_at_s, wait_s = _step(self._shared_full_at_s, per_minute, now_s)
            return wait_s
        full_at_s = self._full_at_s.get(name, self._shared_full_at_s)
        self._full_at_s[name], wait_s = _step(full_at_s, per_minute, now_s)
        self._full_at_s.move_to_end(name)
        return wait_s

    def _room(self, now_s: float) -> bool:
        if len(self._full_at_s) < self._max_entries:
            return True
        oldest = next(iter(self._full_at_s), None)
        if oldest is None or self._full_at_s[oldest] > now_s:
            return False
        del self._full_at_s[oldest]
        return True


class SharedRates:
    """`slots` buckets for any number of names. For names that anybody can make up, such as addresses.

    Which names share a bucket cannot be foreseen from outside. Nothing is ever forgotten, so there is nothing to flood.
    """

    def __init__(self, slots: int, per_minute: int) -> None:
        self._full_at_s = array("d", bytes(8 * slots))
        self._per_minute = per_minute
        self._salt = os.urandom(16)

    def take(self, name: str, now_s: float) -> float | None:
        """As `Rates.take`."""
        number = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8, key=self._salt).digest())
        slot = number % len(self._full_at_s)
        self._full_at_s[slot], wait_s = _step(self._full_at_s[slot], self._per_minute, now_s)
        return wait_s


def _step(full_at_s: float, per_minute: int, now_s: float) -> tuple[float, float | None]:
    """When the bucket is full again after this attempt, and what is left to wait if there was no token."""
    token_s = WINDOW_S / max(per_minute, 1)
    missing_s = max(full_at_s - now_s, 0.0)
    wait_s = missing_s + token_s - WINDOW_S
    if wait_s > _SLACK_S:
        return full_at_s, min(wait_s, token_s)  # rounding must not make it longer than a token takes
    return now_s + missing_s + token_s, None
