"""Passages that read like instructions to a language model. Pure, and linear in the length of the text.

Finds the common forms by their words, and is meant to be quiet on ordinary documents: what it finds is reported with the answer and
changes nothing. Whoever words an instruction like a plain question ("List the planets") is not found; docs/limits.md has the rates.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag_service.injection_rules import SYSTEM_TEXT, WORDED, Reason
from rag_service.types import Notice, Passage


@dataclass(frozen=True, slots=True)
class Finding:
    """`text[start:end]` is what was found, for the reason that comes first; offsets in characters."""

    reason: Reason
    start: int
    end: int


def find_instructions(text: str) -> tuple[Finding, ...]:
    """At most one for each reason, in the order of the text. `text` is normalised: without invisible characters (see `normalise`)."""
    lowered = text.lower()
    if len(lowered) != len(text):  # İ becomes two characters: then letter by letter, so that offsets stay
        lowered = "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
    first: dict[Reason, Finding] = {}
    for rule in _RULES:
        if any(sign in lowered for sign in rule.signs) and (match := rule.pattern.search(lowered)):
            known = first.get(rule.reason)
            if known is None or match.start() < known.start:
                first[rule.reason] = Finding(rule.reason, match.start(), match.end())
    return tuple(sorted(first.values(), key=lambda found: found.start))


def instructing(passages: Sequence[Passage]) -> list[Notice]:
    """A notice for each passage in which something was found: its number, and why."""
    notices: list[Notice] = []
    for passage in passages:
        reasons = ", ".join(found.reason for found in find_instructions(passage.chunk.text))
        if reasons:
            detail = f"passage {passage.marker} reads like instructions to a language model ({reasons})"
            notices.append(Notice("passage_instructs", detail))
    return notices


@dataclass(frozen=True, slots=True)
class _Rule:
    reason: Reason
    signs: tuple[str, ...]
    """Without one of these in the lower-case text the pattern need not be tried: ten times faster on ordinary text."""
    pattern: re.Pattern[str]


_SPACE = r"[\s,*_\"'’“”-]{1,4}"
_NEAR = r"[^.!?。！？]{0,40}?"


def _compiled(rule: str) -> re.Pattern[str]:
    """In a rule a space is what may stand between words, and `(?:~)` a few words within a sentence."""
    held = rule.replace("(?:~)", "\0").replace(r"[ \t]", "\1").replace(" ?", f"(?:{_SPACE})?").replace(" ", _SPACE)
    return re.compile(held.replace("\0", _NEAR).replace("\1", r"[ \t]"))


_RULES = (
    *(_Rule(reason, tuple(signs.split()), _compiled(rule)) for reason, rules in WORDED.items() for signs, rule in rules),
    *(_Rule("system_text", tuple(signs.split()), re.compile(rule)) for signs, rule in SYSTEM_TEXT),
)
