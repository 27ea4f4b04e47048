"""The connections of one server together: how many there may be, and which of them makes room when there are too many."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

_PATIENCE_S = 0.1
"""When connections are short, a client that has had this long for its request and has not sent all of it makes room."""
_LOOKED_AT = 8
"""How many connections are considered when one has to make room."""
_MAX_LINGERING = 256


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    max_connections: int
    read_timeout_s: float
    """Time for the head of a request, for each part of its body, and for the client to take each part of the reply."""
    keep_alive_s: float = 75.0
    """How long a connection may rest between two requests: longer than the 60 s after which the usual proxies close theirs, so that
    none sends a request on a connection that is being closed from this end."""


class Member(Protocol):
    """A connection, as far as its neighbours are concerned."""

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing happens on it before the client sends something."""

    def make_way(self) -> None:
        """Ends it although its time is not over."""

    def abort(self) -> None:
        """Ends it without another word."""


class Connections:
    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.closing = False
        """Once set, each connection closes after the answer it is at."""
        self._idle: OrderedDict[Member, None] = OrderedDict()
        """Between two requests, the longest idle first."""
        self._sending: OrderedDict[Member, float] = OrderedDict()
        """Their request has not come whole; since when, the slowest first."""
        self._lingering: OrderedDict[Member, None] = OrderedDict()
        """Have had their last reply."""

    def rests(self, connection: Member) -> None:
        """It is between two requests."""
        self._sending.pop(connection, None)
        self._idle[connection] = None

    def sends(self, connection: Member) -> None:
        """A request has begun to come."""
        self._idle.pop(connection, None)
        self._sending.setdefault(connection, time.monotonic())

    def has_sent(self, connection: Member) -> None:
        """The request has come whole."""
        self._sending.pop(connection, None)

    def lingers(self, connection: Member) -> None:
        """Its last reply is on its way. Of too many such, the oldest are ended at once."""
        self.forget(connection)
        self._lingering[connection] = None
        if len(self._lingering) > _MAX_LINGERING:
            self._lingering.popitem(last=False)[0].abort()

    def forget(self, connection: Member) -> None:
        self._idle.pop(connection, None)
        self._sending.pop(connection, None)
        self._lingering.pop(connection, None)

    def make_room(self) -> bool:
        """Ends the connection that is missed least. False when each of them is at an answer, or has only just come."""
        if self._idle:
            self._idle.popitem(last=False)[0].make_way()
            return True
        now_s = time.monotonic()
        for connection, since_s in list(islice(self._sending.items(), _LOOKED_AT)):
            if since_s + _PATIENCE_S > now_s:
                return False
            if connection.waits_for_client:
                connection.make_way()
                return True
            self._sending[connection] = now_s
            self._sending.move_to_end(connection)
        return False

    def end_lingering(self) -> None:
        while self._lingering:
            self._lingering.popitem()[0].abort()
