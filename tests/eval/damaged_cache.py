"""Damage to a cache of stages that a test wants to see found."""

import sqlite3
from contextlib import closing
from pathlib import Path


def alter(file: Path, stage: str) -> int:
    """Turns one bit in the middle of every output of the stage. How many there were."""
    with closing(sqlite3.connect(file)) as connection, connection:
        rows = connection.execute("SELECT key, value FROM outputs WHERE stage = ?", (stage,)).fetchall()
        for key, value in rows:
            altered = bytearray(value)
            altered[len(altered) // 2] ^= 1
            connection.execute("UPDATE outputs SET value = ? WHERE stage = ? AND key = ?", (bytes(altered), stage, key))
    return len(rows)
