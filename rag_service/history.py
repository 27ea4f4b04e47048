"""What was served when: each change of the pointer ACTIVE, with who made it and why.

ACTIVE holds the newest transition beside the id of the release that it names, and `history.jsonl` all that came before. A change first
moves the transition of ACTIVE to the history, and then replaces ACTIVE in one rename: wherever it is cut short, no transition is lost,
and none stands there that never took place.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from rag_service.digests import canonical_json, digest_json
from rag_service.stored import Frozen, ShortId, read_bytes

_ID = re.compile(rb"[0-9a-f]{12}")

Action = Literal["activate", "rollback", "unknown"]


class Transition(Frozen):
    """`release` took the place of `previous`. `unknown` where the pointer was set by hand, or by a version that kept no history."""

    seq: int
    at: str
    """UTC, ISO 8601, seconds."""
    action: Action
    release: ShortId
    previous: ShortId | None
    who: str
    why: str

    def line(self) -> bytes:
        """With a digest, so that no changed bit of it goes unnoticed."""
        described = self.model_dump(mode="json")
        return canonical_json({"digest": digest_json(described), "transition": described}) + b"\n"


@dataclass(frozen=True, slots=True)
class History:
    """Oldest first; the last is what is served now. `damaged` counts lines that could not be read."""

    transitions: tuple[Transition, ...]
    damaged: int = 0

    def back(self) -> str | None:
        """The release that was served before the present one; None where there is none. Going back twice goes back two."""
        stack = _stack(self.transitions)
        return stack[-2] if len(stack) > 1 else None

    def recent(self, depth: int) -> tuple[str, ...]:
        """The release that is served, and those that `depth` steps back lead to; newest first, each once."""
        return tuple(dict.fromkeys(reversed(_stack(self.transitions)[-depth - 1 :])))


EMPTY = History(())


def _stack(transitions: Iterable[Transition]) -> list[str]:
    """What is served now on top, and below it what going back leads to."""
    stack: list[str] = []
    for transition in transitions:
        if transition.action == "rollback" and transition.release in stack:
            while stack[-1] != transition.release:
                stack.pop()
        else:
            stack.append(transition.release)
    return stack


def pointer_to(transition: Transition) -> bytes:
    """The content of ACTIVE: a line with the id of the release, for people and shells, and a line with the transition."""
    return f"{transition.release}\n".encode() + transition.line()


@lru_cache(maxsize=64)  # every request reads the pointer, and hardly any finds it changed
def pointer_in(content: bytes) -> tuple[str, Transition | None] | None:
    """The id and the transition that ACTIVE holds; without a transition where it was set by hand. None where it is damaged."""
    first, _, rest = content.partition(b"\n")
    if not _ID.fullmatch(first):
        return None
    transition = _transition_in(rest) if rest else None
    if rest and (transition is None or transition.release.encode() != first):
        return None
    return first.decode("ascii"), transition


def _transition_in(line: bytes) -> Transition | None:
    try:
        found = Transition.model_validate(json.loads(line)["transition"])
    except (ValueError, KeyError, TypeError):
        return None
    return found if found.line() == line else None


def read_transitions(path: Path) -> tuple[tuple[Transition, ...], int]:
    """What a history file holds, and how many of its lines cannot be read. A last line that was cut short does not count: its
    transition still stands in ACTIVE. Raises `StorageFailed`.
    """
    if not path.exists():
        return (), 0
    lines = read_bytes(path).splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    found = [_transition_in(line) for line in lines]
    return tuple(transition for transition in found if transition is not None), found.count(None)
