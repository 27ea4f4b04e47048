"""How often a test part was looked at: `looks.jsonl`, one line for each pair of releases that was decided on with it, never taken back.

A test part says the truth about a candidate once. Whoever tries one after the other on it until one passes has chosen by it.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rag_service.digests import canonical_json
from rag_service.durable import append_line, exclusive_lock
from rag_service.errors import Damaged

LOOKS_FILE = "looks.jsonl"


@dataclass(frozen=True, slots=True)
class Look:
    questions: str
    """Digest of the test part: see `comparable.questions_digest`."""
    releases: tuple[str, str]
    """Digests of the two, sorted: who of them is the base changes nothing."""
    at: str
    """UTC, ISO 8601, seconds."""


def looks(home: Path) -> tuple[Look, ...]:
    """Oldest first. Raises `Damaged` for a line that cannot be read: a look that is not counted is one too many."""
    path = home / LOOKS_FILE
    if not path.is_file():
        return ()
    return tuple(_look(line, f"{path.name}:{number}") for number, line in enumerate(path.read_bytes().splitlines(), start=1))


def looks_with(home: Path, questions: str, base: str, candidate: str) -> int:
    """How many pairs will have looked at a test part once this one has. Raises `Damaged`."""
    return len({each.releases for each in looks(home) if each.questions == questions} | {_pair(base, candidate)})


def look(home: Path, questions: str, base: str, candidate: str) -> int:
    """Counts a look at a test part by a pair of releases; gives how many pairs have looked at it, this one included.

    The same pair again is the same look. Raises `Conflict`, `Damaged` or `StorageFailed`.
    """
    with exclusive_lock(home / ".looks", doing="counting looks"):
        seen = {each.releases for each in looks(home) if each.questions == questions}
        pair = _pair(base, candidate)
        if pair not in seen:
            new = Look(questions, pair, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
            append_line(home / LOOKS_FILE, canonical_json({**asdict(new)}) + b"\n")
        return len(seen | {pair})


def _pair(base: str, candidate: str) -> tuple[str, str]:
    return min(base, candidate), max(base, candidate)


def _look(line: bytes, place: str) -> Look:
    try:
        read = json.loads(line)
        one, other = map(str, read["releases"])
        return Look(str(read["questions"]), (one, other), str(read["at"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"{place} is no look at a test part", hint="restore the file: looks that are forgotten make a test part worthless"
        ) from error
