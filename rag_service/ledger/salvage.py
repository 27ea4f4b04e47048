"""What a damaged ledger still holds: where it begins and ends, and a list of its answers made anew from their entries."""

import sqlite3
from contextlib import suppress

import orjson

from rag_service.errors import Damaged
from rag_service.kept import Flaw
from rag_service.ledger.packing import content_of
from rag_service.ledger.schema import LISTS
from rag_service.ledger.writer import list_answer, list_feedback
from rag_service.stored_record import row_from


def flaw_of(seq: int, error: Damaged) -> Flaw:
    """What is said of an entry, without its number."""
    return Flaw(seq, error.message.removeprefix(f"entry {seq} of the ledger "))


def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """First and last entry that can be known of; 1 and 0 where there is none. Raises `sqlite3.DatabaseError` where nothing can be read."""
    try:
        first, last = connection.execute("SELECT min(seq), max(seq) FROM entries").fetchone()
    except sqlite3.DatabaseError:
        known = _known(connection)
        if not known:
            raise
        first, last = min(known), max(known)
    return (1, 0) if first is None else (first, last)


def _known(connection: sqlite3.Connection) -> list[int]:
    """Of each table, as far as it can be read from its beginning, and its end."""
    known: list[int] = []
    for table in ("entries", "answers", "feedback"):
        for order in ("", "DESC"):
            with suppress(sqlite3.DatabaseError):
                for (seq,) in connection.execute(f"SELECT seq FROM {table} ORDER BY seq {order}"):
                    known.append(seq)
    return known


def relist(connection: sqlite3.Connection) -> list[Flaw]:
    """Puts lists that are made anew before those of the file, for this connection alone. Gives the entries that cannot be read."""
    for statement in LISTS.replace("CREATE TABLE", "CREATE TEMP TABLE IF NOT EXISTS").strip().split(";\n"):
        connection.execute(statement)
    first, last = bounds(connection)
    flaws: list[Flaw] = []
    for seq in range(first, last + 1):
        try:
            _list_anew(connection, seq)
        except Damaged as error:
            flaws.append(flaw_of(seq, error))
        except sqlite3.DatabaseError as error:
            flaws.append(Flaw(seq, f"cannot be read: {error}"))
    return flaws


def _list_anew(connection: sqlite3.Connection, seq: int) -> None:
    query = "SELECT kind, content, lineage, body, vector FROM entries WHERE seq = ?"
    entry = connection.execute(query, (seq,)).fetchone()
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
