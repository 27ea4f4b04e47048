"""The question sets, with an index of each, and their halves."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from benchmarks.inputs import DATA, default_settings, encoder_folder
from benchmarks.quality import Silent
from eval.gold import resolve_gold
from eval.questions import EvalQuestion, read_questions
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.chunking import ChunkParameters, describe
from rag_service.errors import Mismatch
from rag_service.evidence import keyword_part, sentence_part
from rag_service.manifest import read_manifest
from rag_service.settings import Settings
from rag_service.wiring.building import build
from rag_service.wiring.encoders import embedder_of
from rag_service.wiring.releases import make_release, open_release

SETS = {"squad2": "squad2/dev-visible.json", "anthropic-docs": "anthropic-docs/questions.jsonl", "scifact": "scifact"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a set. `cluster` is what its answers are found in: a SQuAD article, else the first gold document."""

    question: EvalQuestion
    relevant: Mapping[str, int]
    cluster: str
    half: int
    """0: constants may be fitted to it; 1: it is reported."""

    @property
    def answerable(self) -> bool:
        return self.question.answerable is not False and bool(self.relevant)


@cache
def pipeline_of(name: str) -> Pipeline:
    return opened(name, str(DATA / name / "corpus.jsonl"))


def opened(name: str, source: str) -> Pipeline:
    """With the default settings. Builds the index where none is there that this code would build."""
    settings = default_settings(name=f"bench-{name}-int8")
    encoder_folder(settings)
    catalog = Catalog(settings.indexes)
    version = next((version for version in reversed(catalog.versions(settings.name)) if _is_current(catalog, settings, version)), None)
    if version is None:
        version = build(settings, catalog, settings.name, source, Silent()).manifest.version
    return open_release(settings, catalog, settings.name, make_release(settings, catalog, settings.name, version)).pipeline


def _is_current(catalog: Catalog, settings: Settings, version: str) -> bool:
    try:
        manifest = read_manifest(catalog.version_folder(settings.name, version))
    except Mismatch:
        return False
    embedder = embedder_of(manifest, catalog, settings)
    parameters = ChunkParameters(settings.chunk_tokens, settings.chunk_overlap_tokens, settings.chunk_context)
    chunker = describe(parameters, encoder_digest=embedder.digest)
    parts = (manifest.chunker, manifest.keywords, manifest.sentences)
    return parts == (chunker, keyword_part(manifest.keywords.languages), sentence_part())


def without_abstention(pipeline: Pipeline) -> Pipeline:
    release = pipeline.lineage.release
    always = release.model_copy(update={"retrieval": release.retrieval.model_copy(update={"min_confidence": 0.0})})
    return replace(pipeline, lineage=replace(pipeline.lineage, release=always))


@cache
def asked_of(name: str) -> tuple[Asked, ...]:
    questions = read_questions(DATA / SETS[name]).questions
    gold = resolve_gold(questions, pipeline_of(name).chunks, index=name)
    clusters = [_cluster(question, known.relevant) for question, known in zip(questions, gold, strict=True)]
    half = _halves(Counter(clusters))
    return tuple(
        Asked(question, known.relevant, cluster, half[cluster]) for question, known, cluster in zip(questions, gold, clusters, strict=True)
    )


def _cluster(question: EvalQuestion, relevant: Mapping[str, int]) -> str:
    if question.gold_texts and question.tags:
        return question.tags[0]
    return min(relevant, default=question.id).partition("#")[0] if not question.tags else question.tags[0]


def _halves(sizes: Mapping[str, int]) -> dict[str, int]:
    """Largest cluster first, each to the half that has fewer questions; equal ones in the order of their hashes."""
    halves: dict[str, int] = {}
    counts = [0, 0]
    for cluster in sorted(sizes, key=lambda name: (-sizes[name], hashlib.sha256(name.encode()).hexdigest())):
        half = int(counts[1] < counts[0])
        halves[cluster] = half
        counts[half] += sizes[cluster]
    return halves


def names() -> list[str]:
    """Of the sets that are here."""
    return [name for name in SETS if (DATA / name).is_dir()]
