"""CPU of one question: hybrid search against dense search alone, over 5,000 chunks, in rounds that take turns."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.answers.sets import asked_of, opened
from benchmarks.inputs import DATA
from rag_service.ask import Pipeline
from rag_service.question import Question
from rag_service.retrieval import Retrieved, Retriever
from rag_service.types import Hit, Selection, Vector

_DOCUMENTS = 2036  # of scifact: 5,000 chunks
_QUESTIONS = 200
_ROUNDS = 9


def report() -> list[str]:
    pipeline = _pipeline()
    questions = [one.question.question for one in asked_of("scifact")][:_QUESTIONS]
    alone = replace(pipeline, retriever=_DenseAlone(**{name: getattr(pipeline.retriever, name) for name in Retriever.__slots__}))
    measured = _interleaved(
        {
            "embedding alone": lambda text: pipeline.embedder.embed_query(text),
            "search, dense alone": lambda text: alone.search(Question(text)),
            "search, hybrid": lambda text: pipeline.search(Question(text)),
            "ask, extractive, hybrid": lambda text: pipeline.ask(Question(text, min_confidence=0.0)),
        },
        questions,
    )
    base = measured["search, dense alone"]
    lines = [f"| {pipeline.lineage.index.chunks:,} chunks | CPU-ms a question | of dense search |", "|---|---|---|"]
    lines += [
        f"| {name} | {np.median(found):.2f} | {np.median(np.array(found) / np.array(base)):.2f} |" for name, found in measured.items()
    ]
    return lines


def _pipeline() -> Pipeline:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        with (DATA / "scifact" / "corpus.jsonl").open(encoding="utf-8") as rows:
            path.write_text("".join(line for line, _ in zip(rows, range(_DOCUMENTS), strict=False)), encoding="utf-8")
        return opened("cost", str(path))


class _DenseAlone(Retriever):
    """What search was before there were keywords: the five nearest and their texts."""

    def find(self, query: str, vector: Vector, k: int, within: Selection | None = None) -> Retrieved:  # noqa: ARG002 - as its base
        positions, scores = self.store.search(vector, k, within)
        chunks = self.chunks.chunks(positions.tolist())
        return Retrieved(tuple(Hit(chunk, round(float(score), 5)) for chunk, score in zip(chunks, scores, strict=True)), 1.0)


def _interleaved(ways: dict[str, Callable[[str], object]], questions: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of this process and its threads a question, of each round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(_ROUNDS + 1):
        for name, way in ways.items():
            began_s = time.process_time()
            for text in questions:
                way(text)
            if number:  # the first warms caches
                found[name].append((time.process_time() - began_s) * 1000 / len(questions))
    return found
