"""A PostgreSQL database by its URL: connections that wait a bounded time, and its errors in our words. Only this module imports psycopg.

What is read comes from a pool, and may be read from a standby where the URL names several hosts. What is written goes through a connection
of its own to the server that takes writes. A server that was away and is back is used again with the next question.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import conninfo
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from rag_service.errors import Damaged, InvalidSettings, RagError, StorageFailed
from rag_service.overdue import Overdue

logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # each failed try; our errors say it once

Connection = psycopg.Connection[TupleRow]
Rows = list[tuple[Any, ...]]

_CONNECT_S = 3
"""To one host; libpq tries the hosts of a URL in turn."""
_WAIT_S = 4.0
"""For a connection of the pool."""
_MOST_READING = 16
_IDLE_S = 300.0
_READ_MS = 20_000
"""The longest that one statement may read."""
WRITE_MS = 10_000
"""The longest that one statement may write, or wait for a standby to confirm a commit."""
LOCK_MS = 5_000
"""How long to wait for another process that is writing."""
_CANCEL_S = 2.0
_LEFT_ALONE_S = 1.0
"""After a failure to connect, for this long nobody waits for another."""
_UNDEFINED = frozenset({"42P01", "3F000"})  # a table, a schema: nothing was ever written
_CORRUPTED = "XX"
_OF_ONE = (psycopg.IntegrityError, psycopg.DataError)
_BY_CLASS = {
    "28": "check user and password in the URL, and pg_hba.conf of the server",
    "53": "free some space, or allow more connections; what was confirmed is untouched",
    "57": "the server is starting, stopping, or took too long; it is tried again with the next request",
    "25": "this server takes no writes (it is a standby): name all hosts in the URL, as postgresql://…@a,b/rag",
    "55": "another process holds what this one waits for",
    "42": "docs/postgres.md says what the role of the service must be allowed to do",
    "3D": "make the database first: docs/postgres.md says how",
}
_AWAY = "is the server running, and can it be reached from here? It is tried again with the next request"


class Database:
    """Nothing is opened until something is asked. Safe for several threads; a process that was forked opens its own connections."""

    def __init__(self, url: str) -> None:
        """Raises `InvalidSettings` for what is no URL of PostgreSQL; its message does not repeat it, since it may hold a password."""
        self._parts = url_parts(url)
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._pid = 0
        self._overdue = Overdue()
        self._away: tuple[float, RagError] | None = None
        self._last_problem: psycopg.Error | None = None
        self.shown = shown(url)

    @contextmanager
    def reading(self, doing: str) -> Iterator[Connection]:
        """Each statement by itself, or within `connection.transaction()`. Raises `StorageFailed`, `Damaged`, or `Unwritten`."""
        with self._errors(doing), self._pooled(doing).connection() as connection, self._bounded(connection, _READ_MS):
            yield connection

    def fetched(self, doing: str, query: LiteralString, values: Sequence[object] | Mapping[str, object] = ()) -> Rows:
        with self.reading(doing) as connection:
            return connection.execute(query, values).fetchall()

    def connect(self, doing: str) -> "WritingConnection":
        """A connection to the server that takes writes, for one thread; the caller closes it."""
        with self._errors(doing):
            wanted = {**self._parts, "target_session_attrs": "read-write"}
            connection = psycopg.connect(autocommit=True, prepare_threshold=None, **wanted)
            connection.execute(f"SET statement_timeout = {WRITE_MS}; SET lock_timeout = {LOCK_MS}")
            connection.execute(f"SET idle_in_transaction_session_timeout = {WRITE_MS}")
            return WritingConnection(self, connection)

    @contextmanager
    def writing(self, doing: str, *, unhurried: bool = False) -> Iterator[Connection]:
        """A transaction on a connection of its own, on the disk when the block is over. An unhurried one may take hours."""
        connection = self.connect(doing)
        try:
            with connection.transaction(doing, unhurried=unhurried) as transaction:
                if unhurried:
                    transaction.execute("SET LOCAL statement_timeout = 0")
                    transaction.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield transaction
        finally:
            connection.close()

    def _bounded(self, connection: Connection, milliseconds: int) -> AbstractContextManager[None]:
        """A little longer than the server itself may take."""

        def give_up() -> None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_S)

        return self._overdue.watching(milliseconds / 1000 + _CANCEL_S, connection.fileno(), give_up)

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.close()

    def _pooled(self, doing: str) -> "ConnectionPool[Connection]":
        """Where there was no connection before, or none could be made, one is tried first: the pool would wait, and not say why."""
        with self._lock:
            if self._away is not None and time.monotonic() < self._away[0]:
                raise self._away[1]
            if self._pool is None or self._away is not None or self._pid != os.getpid():
                try:
                    psycopg.connect(**self._parts).close()
                except psycopg.Error as error:
                    self._away = (time.monotonic() + _LEFT_ALONE_S, self._translated(error, doing))  # nobody waits for another
                    raise
                self._away = None
            if self._pool is None or self._pid != os.getpid():  # threads and connections of a parent are none of ours
                self._pool, self._pid = self._new_pool(), os.getpid()
            return self._pool

    def _new_pool(self) -> "ConnectionPool[Connection]":
        recorder = self

        class Recording(psycopg.Connection[TupleRow]):
            @classmethod
            def connect(cls, *given: Any, **named: Any) -> Any:
                """The pool says only that it waited in vain; this remembers why."""
                try:
                    return super().connect(*given, **named)
                except psycopg.Error as error:
                    recorder._last_problem = error
                    raise

        pool: ConnectionPool[Any] = ConnectionPool(
            kwargs={"autocommit": True, "prepare_threshold": None, **self._parts},
            connection_class=Recording,
            min_size=0,
            max_size=_MOST_READING,
            timeout=_WAIT_S,
            max_idle=_IDLE_S,
            reconnect_timeout=_WAIT_S,
            check=_check,
            configure=_configure_reading,
            open=False,
            name="rag-service",
        )
        pool.open()
        return pool

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turns what psycopg raises into our errors; none of them holds a password."""
        try:
            yield
        except psycopg.Error as error:
            translated = self._translated((isinstance(error, PoolTimeout) and self._last_problem) or error, doing)
            if isinstance(error, PoolTimeout):
                self._away = (time.monotonic() + _LEFT_ALONE_S, translated)
            raise translated from error

    def _translated(self, error: psycopg.Error, doing: str) -> RagError:
        code = error.sqlstate or ""
        if code in _UNDEFINED:
            return Unwritten(f"nothing was ever written to {self.shown}", hint="docs/postgres.md says how to begin")
        said = self._without_password(error.diag.message_primary or str(error).strip() or type(error).__name__)
        if code.startswith(_CORRUPTED):
            return Damaged(f"{self.shown} is damaged: {said}", hint="check its disk; restore it from a backup or from a standby")
        hint = next((hint for start, hint in _BY_CLASS.items() if code.startswith(start)), _AWAY)
        if "create extension" in said:
            hint = "an administrator of the server adds it to this database: CREATE EXTENSION vector"
        if "password" in said or "no pg_hba.conf entry" in said:
            hint = _BY_CLASS["28"]
        return StorageFailed(f"could not {doing} {self.shown}: {said}", hint=hint)

    def _without_password(self, text: str) -> str:
        password = str(self._parts.get("password") or "")
        text = " ".join(text.split())
        return text.replace(password, "…") if password and password in text else text


class Unwritten(StorageFailed):
    """There are no tables yet."""


class WritingConnection:
    """One transaction after the other, each on the disk when its block is over."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._warnings: list[str] = []
        connection.add_notice_handler(self._noticed)

    @contextmanager
    def transaction(self, doing: str, *, unhurried: bool = False, pipelined: bool = False) -> Iterator[Connection]:
        """Raises what `reading` raises, also where a standby that must confirm the commit did not: it could be lost with this server.

        In one that is pipelined, a statement is waited for only where its result is read, and all of them at the end.
        """
        with self._database._errors(doing):
            bounded = nullcontext() if unhurried else self._database._bounded(self._connection, WRITE_MS)
            with bounded, self._connection.pipeline() if pipelined else nullcontext(), self._connection.transaction():
                yield self._connection
                self._warnings.clear()  # what matters is what the commit says
        if self._warnings:
            said = self._warnings[0]
            raise StorageFailed(f"could not {doing} {self._database.shown}: {said}", hint="is the standby up that confirms commits?")

    @contextmanager
    def alone(self, doing: str) -> Iterator[Connection]:
        """Statements that no transaction may hold."""
        with self._database._errors(doing):
            yield self._connection

    @property
    def broken(self) -> bool:
        return self._connection.closed

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._connection.close()

    def _noticed(self, said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            self._warnings.append(said.message_primary or "the server warned of something")


def blames_one(error: RagError) -> bool:
    """Whether the server refused what was written, rather than being away, full, or slow."""
    return isinstance(error.__cause__, _OF_ONE)


def url_parts(url: str) -> dict[str, Any]:
    """What libpq makes of `url`, with bounds on its waiting where the URL sets none. Raises `InvalidSettings`."""
    try:
        parts = conninfo.conninfo_to_dict(url) if is_database_url(url) else None
    except psycopg.ProgrammingError:
        parts = None
    if parts is None:
        raise InvalidSettings(
            "the URL of the database cannot be read",
            hint="it looks like postgresql://user:password@host:5432/database; special characters of a password are written %XX",
        )
    bounds = {"connect_timeout": _CONNECT_S, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    return {**bounds, "tcp_user_timeout": WRITE_MS, "application_name": "rag-service", **parts}


def is_database_url(value: str) -> bool:
    return value.startswith(("postgresql://", "postgres://"))


def shown(url: str) -> str:
    """Where a database is, without user, password and options."""
    parts = url_parts(url)
    hosts, ports = (str(parts.get(name) or "").split(",") for name in ("host", "port"))
    ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    places = ",".join(f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=True))
    return f"postgresql://{places}/{parts.get('dbname') or ''}"


def make_once(connection: Connection, table: str, statements: str, *, lock: int) -> None:
    """Within a transaction: the tables of which `table`, in the schema `rag`, is one, unless it is there. Of two that come at once, the
    second finds what the first has made. By a query: what the server remembers of names may be older than a lock that was waited for.
    """
    query = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'rag' AND c.relname = %s"
    if connection.execute(query, (table,)).fetchall():
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
    if not connection.execute(query, (table,)).fetchall():
        for statement in statements.strip().split(";\n"):
            connection.execute(statement.encode())


def _check(connection: Connection) -> None:
    """One that a restart or a failover closed is replaced: then its socket has something to say. Asking the server each time would cost
    every read a round trip.
    """
    watched = select.poll()
    watched.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    if watched.poll(0):
        ConnectionPool.check_connection(connection)


def _configure_reading(connection: Connection) -> None:
    connection.execute(f"SET statement_timeout = {_READ_MS}")
