"""Questions that every release of an index must answer before it may be served: `indexes/<name>/canaries.jsonl`.

    {"question": "How many days of holiday do I have?", "documents": ["leave.md"], "contains": "28"}
    {"question": "Who won the match?", "abstains": true}

`documents` are ids, one of which must be among the passages; `contains` must stand in the answer.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from rag_service.ask import Pipeline
from rag_service.errors import Damaged, Mismatch, RagError
from rag_service.question import Question
from rag_service.record import Record
from rag_service.stored import Frozen, read_bytes

MOST = 100
"""They are asked before every activation."""


class Canary(Frozen):
    question: str
    documents: list[str] = Field(default_factory=list)
    contains: str | None = None
    abstains: bool = False


def read_canaries(path: Path) -> tuple[Canary, ...]:
    """None where there is no file. Raises `Damaged` naming the line that cannot be read."""
    if not path.is_file():
        return ()
    found: list[Canary] = []
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(Canary.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise Damaged(
                f"line {number} of {path.name} is no canary question: {where + ': ' if where else ''}{problem['msg']}",
                hint='a line is JSON such as {"question": "…", "documents": ["leave.md"], "contains": "28"}',
            ) from error
    if len(found) > MOST:
        raise Damaged(f"{path.name} holds {len(found)} questions, and at most {MOST} are asked", hint="keep those that matter most")
    return tuple(found)


def check_canaries(pipeline: Pipeline, canaries: Sequence[Canary]) -> tuple[Record, ...]:
    """Asks them all, and gives what came of it. Raises `Mismatch` naming every question that came out otherwise, with what did."""
    asked = [(canary, ask_canary(pipeline, canary)) for canary in canaries]
    failed = [f"{canary.question!r} {problem}" for canary, came in asked if (problem := _problem(came, canary))]
    if failed:
        raise Mismatch(
            f"{len(failed)} of {len(canaries)} canary questions failed: {'; '.join(failed[:5])}",
            hint="what is served is still served; change the questions in canaries.jsonl if they are out of date",
        )
    return tuple(came for _, came in asked if isinstance(came, Record))


def ask_canary(pipeline: Pipeline, canary: Canary) -> Record | RagError:
    try:
        return pipeline.ask(Question(canary.question))
    except RagError as error:
        return error


def _problem(came: Record | RagError, canary: Canary) -> str:
    if isinstance(came, RagError):
        return f"failed: {came.message}"
    if canary.abstains:
        return "" if came.status == "abstained" else f"was answered: {(came.answer or '')[:80]!r}"
    return _shortfall(came, canary)


def _shortfall(record: Record, canary: Canary) -> str:
    if record.status != "answered":
        return f"was not answered: {record.abstain_reason}"
    found = {hit.chunk.document_id for hit in record.hits}
    if canary.documents and found.isdisjoint(canary.documents):
        return f"found none of {', '.join(canary.documents)}, but {', '.join(sorted(found))}"
    if canary.contains is not None and canary.contains.casefold() not in (record.answer or "").casefold():
        return f"does not say {canary.contains!r}, but {(record.answer or '')[:80]!r}"
    return ""
