"""What a damaged ledger still holds: the numbers of its entries, and a list of its answers made anew from them."""

import sqlite3
from contextlib import suppress

import orjson

from rag_service.errors import Damaged
from rag_service.kept import Flaw
from rag_service.ledger.audit import flaw_of
from rag_service.ledger.packing import DAMAGED_HINT, content_of
from rag_service.ledger.schema import LISTS, is_damage
from rag_service.ledger.writer import list_answer, list_feedback
from rag_service.stored_record import row_from

_TYPES = {"kind": str, "at_ms": int, "content": bytes, "digest": bytes} | dict.fromkeys(("lineage", "body", "vector"), bytes | None)
_MOST_A_PAGE = 64
"""No more entries fit a page: the least has a hundred bytes. A number beyond that is damaged itself."""


def read_entry(connection: sqlite3.Connection, query: str, seq: int) -> sqlite3.Row | None:
    """One row, of the columns of `entries`. Raises `Damaged`, also for types that nobody can have written: SQLite does not look."""
    try:
        found: sqlite3.Row | None = connection.execute(query, (seq,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        raise Damaged(f"entry {seq} of the ledger cannot be read: {error}", hint=DAMAGED_HINT) from error
    wrong = [name for name in found.keys() if not isinstance(found[name], _TYPES[name])] if found else []  # noqa: SIM118 - a row gives values
    if wrong:
        raise Damaged(f"entry {seq} of the ledger is damaged: its {wrong[0]} is of another type", hint=DAMAGED_HINT)
    return found


def numbers(connection: sqlite3.Connection) -> list[int]:
    """Ascending: every entry that can be known of, and each that may lie where the table cannot be read.

    Raises `sqlite3.DatabaseError` where nothing can be read.
    """
    upwards = list[int]()
    try:
        _read_into(upwards, connection, "SELECT seq FROM entries ORDER BY seq")
        return sorted(set(upwards))  # a damaged table need not be in order
    except sqlite3.DatabaseError:
        known = set(upwards) | _known(connection)
        if not known:
            raise
    below, most = upwards[-1] if upwards else 0, _MOST_A_PAGE * connection.execute("PRAGMA page_count").fetchone()[0]
    above = min((seq for seq in known if seq > below), default=below + 2)  # the next is tried, so that it is named
    return sorted(known | set(range(below + 1, min(above, below + most))))


def _known(connection: sqlite3.Connection) -> set[int]:
    """As far as the tables can be read from their ends."""
    known = list[int]()
    for query in ("entries ORDER BY seq DESC", "answers", "answers ORDER BY seq DESC", "feedback", "feedback ORDER BY seq DESC"):
        with suppress(sqlite3.DatabaseError):
            _read_into(known, connection, f"SELECT seq FROM {query}")
    return set(known)


def _read_into(found: list[int], connection: sqlite3.Connection, query: str) -> None:
    """What was read before an error stays."""
    for (seq,) in connection.execute(query):
        found.append(seq)


def relist(connection: sqlite3.Connection) -> list[Flaw]:
    """Puts lists that are made anew before those of the file, for this connection alone. Gives the entries that cannot be read."""
    for statement in LISTS.replace("CREATE TABLE", "CREATE TEMP TABLE IF NOT EXISTS").strip().split(";\n"):
        connection.execute(statement)
    flaws: list[Flaw] = []
    for seq in numbers(connection):
        try:
            _list_anew(connection, seq)
        except Damaged as error:
            flaws.append(flaw_of(seq, error))
        except sqlite3.DatabaseError as error:
            flaws.append(Flaw(seq, f"cannot be read: {error}"))
    return flaws


def _list_anew(connection: sqlite3.Connection, seq: int) -> None:
    query = "SELECT kind, content, lineage, body, vector FROM entries WHERE seq = ?"
    entry = read_entry(connection, query, seq)
    if entry is None:
        raise Damaged(f"entry {seq} of the ledger is missing")
    if entry["body"] is None or entry["kind"] not in {"answer", "feedback"}:
        return
    body = content_of(seq, entry["body"], entry["vector"], entry["content"])
    if entry["kind"] == "feedback":
        said = orjson.loads(body)
        list_feedback(connection, seq, said["answer_id"], said["rating"])
        return
    lineage = connection.execute("SELECT body FROM lineages WHERE digest = ?", (entry["lineage"],)).fetchone()
    if lineage is None:
        raise Damaged(f"entry {seq} of the ledger names a release that is missing")
    list_answer(connection, seq, row_from(body, lineage["body"]))
