"""The verb: cases → verdicts. Asks what they ask for, each thing once."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from eval.behaviours.case import Case, Documents, Reply, Verdict
from eval.behaviours.judging import Replies, judge
from rag_service.ports import Progress

Ask = Callable[[Documents, str], Reply]
"""A question over these documents."""


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


def run_behaviours(cases: Sequence[Case], ask: Ask, progress: Progress) -> tuple[Verdict, ...]:
    """One verdict a case, in order. Raises what `ask` raises: what keeps everything from being asked is no reply."""
    known: dict[tuple[Documents, str], Reply] = {}

    def asked(documents: Documents, question: str) -> Reply:
        if (documents, question) not in known:
            known[documents, question] = ask(documents, question)
        return known[documents, question]

    progress.stage("behaviour", len(cases))
    verdicts = []
    for case in cases:
        documents = case.documents
        replies = Replies(
            first=asked(documents, case.ask),
            again=tuple(asked(documents, question) for question in case.same_as),
            without=asked(replace(documents, without=tuple(sorted(case.remove))), case.ask) if case.remove else None,
            beside=asked(replace(documents, beside=case.add), case.ask) if case.add else None,
        )
        verdicts.append(judge(case, replies))
        progress.advance()
    return tuple(verdicts)
