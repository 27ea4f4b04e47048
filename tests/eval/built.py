"""Runs put together by hand, for tests of what is made of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.questions import EvalQuestion
from eval.results import Counts, Gold, Measured, Parameters, QuestionsIdentity, ReleaseIdentity, Row, Run
from eval.sample import Sample
from eval.scores import Outcome, Score
from rag_service.deployment import Deployment
from rag_service.digests import digest_bytes, digest_json
from rag_service.record import IndexIdentity
from rag_service.release import CodeRef, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, Retrieval

NOTHING = digest_bytes(b"")


def a_release(**retrieval: Any) -> Release:
    return Release(
        index=IndexRef(version="0" * 12, digest=NOTHING),
        encoder=NamedDigest(name="hashing", digest=NOTHING),
        chunker=NamedDigest(name="whole", digest=NOTHING),
        retrieval=Retrieval(**{"top_k": 3, "min_confidence": 0.5, **retrieval}),
        prompt=PromptRef(name="answer", version="1", digest=NOTHING),
        generator=GeneratorRef(spec="extractive", options={}, name="extractive", digest=NOTHING, parameters={}),
        code=CodeRef(version="0", digest=NOTHING),
    )


def a_row(
    question: EvalQuestion, sample: Sample, scores: Mapping[str, Outcome], *, cluster: str = "", gold: Gold | None = None, **more: Any
) -> Row:
    return Row(
        question=question,
        gold=gold or Gold(dict(question.relevant), 0),
        cluster=cluster or question.group or question.id,
        sample=sample,
        scores=scores,
        **more,
    )


def a_candidate(
    name: str, rows: Sequence[Row], *, metrics: Mapping[str, Mapping[str, Score]] | None = None, release: Release | None = None, **more: Any
) -> Measured:
    release = release or a_release()
    of = [row.sample.status for row in rows]
    given: dict[str, Any] = {
        "name": name,
        "origin": f"{name}.toml",
        "changed": {},
        "release": ReleaseIdentity(id=release.id, digest=release.digest, content=release),
        "index": IndexIdentity("little", "0" * 12, NOTHING, NOTHING, "2025-01-01T00:00:00Z", 4, 5),
        "deployment": Deployment("test", NOTHING, "test", None, None, None, {"code.commit": "a test"}),
        "rows": tuple(rows),
        "counts": Counts(
            questions=len(rows),
            answerable=sum(row.question.answerable is True for row in rows),
            unanswerable=sum(row.question.answerable is False for row in rows),
            with_gold=sum(bool(row.gold.relevant) for row in rows),
            gold_not_in_index=0,
            answered=of.count("answered"),
            abstained=of.count("abstained"),
            not_asked=of.count("not_asked"),
            errors=of.count("error"),
        ),
        "abstain_reasons": {},
        "error_codes": {},
        "labels": {},
        "metrics": metrics or {},
        "headroom": {},
        "warnings": (),
    }
    return Measured(**{**given, **more})


def a_run(*candidates: Measured, questions: str = "questions.jsonl", **more: Any) -> Run:
    n = len(candidates[0].rows)
    given: dict[str, Any] = {
        "id": digest_json([candidate.name for candidate in candidates])[7:19],
        "created_at": "2026-01-01T00:00:00Z",
        "duration_s": 1.0,
        "command": "python -m eval run -c eval.yaml",
        "questions": QuestionsIdentity(
            name=questions, form="native", split=None, digest=digest_json(questions), n_questions=n, n_asked=n, n_left_out=0
        ),
        "parameters": Parameters(depth=100, answers=True, limit=None, timeout_s=30.0),
        "candidates": candidates,
        "texts": {},
    }
    return Run(**{**given, **more})
