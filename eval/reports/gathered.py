"""Several runs over the same questions as one."""

from collections.abc import Sequence
from dataclasses import replace

from eval.results import Measured, Run
from rag_service.errors import Mismatch


def gathered(runs: Sequence[Run]) -> Run:
    """The first run, with the candidates and texts of all. A name that several runs have is followed by the id of its run: `base@1f2e…`.

    Raises `Mismatch` where the runs did not ask the same questions in the same way.
    """
    first, *others = runs
    for other in others:
        for what, one, another in _must_agree(first, other):
            if one != another:
                raise Mismatch(
                    f"the runs {first.id} and {other.id} do not compare: {what} differ ({one} and {another})",
                    hint="run the candidates again on one question set, with the same options",
                )
    if not others:
        return first
    names = [candidate.name for run in runs for candidate in run.candidates]
    candidates = [_named(candidate, run, names) for run in runs for candidate in run.candidates]
    return replace(
        first,
        candidates=tuple(candidates),
        texts={chunk_id: text for run in reversed(runs) for chunk_id, text in run.texts.items()},
        duration_s=sum(run.duration_s for run in runs),
        command="\n".join(dict.fromkeys(run.command for run in runs)),
    )


def _must_agree(first: Run, other: Run) -> list[tuple[str, object, object]]:
    one, another = first.parameters, other.parameters
    return [
        ("their questions", first.questions.digest[7:19], other.questions.digest[7:19]),
        ("the part that they asked", one.part, another.part),
        ("the numbers of questions", first.questions.n_asked, other.questions.n_asked),
        ("the depths", one.depth, another.depth),
        ("whether answers were asked for", one.answers, another.answers),
    ]


def _named(candidate: Measured, run: Run, names: Sequence[str]) -> Measured:
    return replace(candidate, name=f"{candidate.name}@{run.id}") if names.count(candidate.name) > 1 else candidate
