"""Candidates that must lose: a harness that promotes one of them measures the wrong thing."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from eval.candidate import Trivial
from rag_service.ask import Pipeline
from rag_service.cancellation import Cancellation
from rag_service.digests import digest_json
from rag_service.release import GeneratorRef, Release
from rag_service.retrieval import Retrieved, Retriever
from rag_service.stores.selections import selection_of
from rag_service.types import NO_SAMPLING, Completion, Marker, Prompt, Sampling, Selection, Usage, Vector

_VERSION = 1


def trivial_release(release: Release, kind: Trivial) -> Release:
    """What `release` becomes: another one, so that nobody takes its answers for those of the real one."""
    reference = GeneratorRef(
        spec=f"trivial:{kind}", options={}, name=kind, digest=digest_json({"trivial": kind, "version": _VERSION}), parameters={}
    )
    without_threshold = release.retrieval.model_copy(update={"min_confidence": 0.0})
    if kind == "random_retrieval":
        reference = release.generator.model_copy(update={"spec": f"{release.generator.spec}+random_retrieval"})
    return release.model_copy(update={"generator": reference, "retrieval": without_threshold})


def trivial_pipeline(pipeline: Pipeline, kind: Trivial) -> Pipeline:
    lineage = replace(pipeline.lineage, release=trivial_release(pipeline.lineage.release, kind))
    if kind == "random_retrieval":
        return replace(pipeline, lineage=lineage, retriever=random_retriever(pipeline.retriever))
    return replace(pipeline, lineage=lineage, generator=Parrot(kind))


@dataclass(frozen=True, slots=True, eq=False)
class RandomRetriever(Retriever):
    """Finds among chunks that were drawn, by the hash of the question; how well they fit has no say in which these are."""

    def find(self, query: str, vector: Vector, k: int, within: Selection | None = None) -> Retrieved:
        rows = np.arange(len(self.store)) if within is None else within.positions
        seed = int.from_bytes(hashlib.sha256(query.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        drawn = np.random.default_rng(seed).choice(rows, min(k, len(rows)), replace=False)
        permitted = np.zeros(len(self.store), np.bool_)
        permitted[drawn] = True
        return Retriever.find(self, query, vector, k, selection_of(permitted, documents=len(drawn)))


def random_retriever(inner: Retriever) -> RandomRetriever:
    return RandomRetriever(**{field.name: getattr(inner, field.name) for field in fields(Retriever)})


class Parrot:
    """A generator that does not read what it says."""

    context_tokens = 1_000_000
    follows_instructions = False

    def __init__(self, kind: Trivial) -> None:
        self.name = kind
        self.parameters: dict[str, str | int | float | None] = {}
        self.digest = digest_json({"trivial": kind, "version": _VERSION})

    def count_tokens(self, text: str) -> int:
        return -(-len(text) // 4)

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,  # noqa: ARG002 - the signature of a generator
        deadline_s: float | None = None,  # noqa: ARG002
        cancellation: Cancellation | None = None,  # noqa: ARG002
        write: Callable[[str], None] | None = None,  # noqa: ARG002
    ) -> Completion:
        match self.name:
            case "echo_context":
                text, markers = _echo([passage.chunk.text for passage in prompt.passages])
            case "copy_question":
                text, markers = prompt.question, ()
            case _:
                text, markers = "", ()
        return Completion(text, not text, "stop", self.name, Usage(None, None), markers=markers)


def _echo(texts: Sequence[str]) -> tuple[str, tuple[Marker, ...]]:
    text, markers = "", []
    for number, passage in enumerate(texts, start=1):
        text += f"{passage} "
        markers.append(Marker(len(text), len(text) + len(f"[{number}]"), (number,)))
        text += f"[{number}]\n\n"
    return text.rstrip(), tuple(markers)
