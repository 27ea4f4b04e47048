"""Replies to a verdict. Pure: nothing is asked here."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eval.behaviours.case import Case, Expected, Reply, Verdict

_SHOWN_CHARS = 160
_NO_NUMBER_BEFORE, _NO_NUMBER_AFTER = r"(?<!\d)(?<!\d[.,])", r"(?![.,]?\d)"
_NO_WORD_BEFORE, _NO_WORD_AFTER = r"(?<!\w)", r"(?!\w)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """Everything that a case asks for."""

    first: Reply
    again: tuple[Reply, ...] = ()
    """To the questions of `same_as`, in their order."""
    without: Reply | None = None
    """To the same question where the documents of `remove` are gone."""
    beside: Reply | None = None
    """To the same question where the documents of `add` stand beside."""


def judge(case: Case, replies: Replies) -> Verdict:
    problems = tuple(_problems(case, replies))
    return Verdict(
        case=case.id,
        kind=case.kind,
        level=case.level,
        passed=not problems,
        asked=_short(case.ask),
        said=said(replies.first),
        problems=problems,
        reason=case.reason,
    )


def holds(part: str, text: str) -> bool:
    """Whether `part` stands in `text`: its case and white space do not count, and it neither begins nor ends within a word or number.
    Where a script has no spaces, it may stand anywhere.
    """
    wanted, found = _plain(part), _plain(text)
    before = _NO_NUMBER_BEFORE if wanted[:1].isdigit() else _NO_WORD_BEFORE if _is_latin(wanted[:1]) else ""
    after = _NO_NUMBER_AFTER if wanted[-1:].isdigit() else _NO_WORD_AFTER if _is_latin(wanted[-1:]) else ""
    return re.search(f"{before}{re.escape(wanted)}{after}", found) is not None


def alike(one: Reply, other: Reply) -> bool:
    """Both abstain, or both answer with the same words, or from a document in common."""
    if one.status != other.status:
        return False
    return one.status != "answered" or _plain(one.answer) == _plain(other.answer) or not set(one.cites).isdisjoint(other.cites)


def said(reply: Reply) -> str:
    """A reply in a line."""
    match reply.status:
        case "answered":
            return f"{_short(reply.answer)!r}, citing {', '.join(reply.cites) or 'nothing'}"
        case "abstained":
            return f"nothing ({reply.code})"
    return f"the error {reply.code}" + (f": {_short(reply.message)}" if reply.message else "")


def _problems(case: Case, replies: Replies) -> Iterator[str]:
    first = replies.first
    yield from shortfalls(case.expected, first)
    for question, reply in zip(case.same_as, replies.again, strict=True):
        if not alike(first, reply):
            yield f"asked {_short(question)!r} it said {said(reply)}"
        yield from (f"asked {_short(question)!r}: {fault}" for fault in reply.faults)
    if replies.without is not None and replies.without.status != "abstained":
        yield f"without {', '.join(case.remove)} an abstention was expected, and it said {said(replies.without)}"
    if replies.beside is not None:
        yield from _changed(case, first, replies.beside)


def _changed(case: Case, first: Reply, beside: Reply) -> Iterator[str]:
    """Other words are no other answer where everything that the case expects still holds."""
    if first.status == beside.status and _plain(first.answer) == _plain(beside.answer):
        return
    expected = case.expected
    if first.status != beside.status or not (expected.contains or expected.contains_any):
        yield f"beside other documents the same answer was expected, and it said {said(beside)}"
    else:
        yield from (f"beside other documents: {shortfall}" for shortfall in shortfalls(expected, beside))


def shortfalls(expected: Expected, reply: Reply) -> Iterator[str]:
    """What was expected and did not come, each as a sentence."""
    yield from reply.faults
    if expected.status is not None and reply.status != expected.status:
        yield f"{expected.status} was expected, not {reply.status}" + (f" ({reply.code}: {_short(reply.message)})" if reply.message else "")
        return
    if expected.status is None and reply.status == "error":
        if reply.code not in expected.code:
            yield f"an answer or an abstention was expected, not the error {reply.code}: {_short(reply.message)}"
        return
    if expected.status is not None and expected.code and reply.code not in expected.code:
        yield f"{' or '.join(expected.code)} was expected, not {reply.code}"
    if reply.status == "answered":
        yield from _in_the_answer(expected, reply.answer)
        yield from _in_the_citations(expected, reply.cites)
    yield from (f"the warning {warning} was expected" for warning in expected.warns if warning not in reply.warnings)


def _in_the_answer(expected: Expected, answer: str) -> Iterator[str]:
    yield from (f"{part!r} was expected in the answer" for part in expected.contains if not holds(part, answer))
    if expected.contains_any and not any(holds(part, answer) for part in expected.contains_any):
        yield f"one of {_listed(expected.contains_any)} was expected in the answer"
    yield from (f"{part!r} was not expected in the answer" for part in expected.excludes if holds(part, answer))


def _in_the_citations(expected: Expected, cites: Sequence[str]) -> Iterator[str]:
    cited = ", ".join(cites) or "nothing"
    yield from (f"{document} was expected to be cited, not {cited}" for document in expected.cites if document not in cites)
    if expected.cites_any and set(expected.cites_any).isdisjoint(cites):
        yield f"one of {_listed(expected.cites_any)} was expected to be cited, not {cited}"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(map(repr, parts))


def _is_latin(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"
