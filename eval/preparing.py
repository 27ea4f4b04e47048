"""Candidate → release, opened: builds the index that its settings ask for, each once, and shares what candidates have in common.

Indexes of candidates are versions of `<name>-eval`, beside the index that is served and apart from it: nothing that is served, listed as
newest or kept for going back changes until a candidate is promoted.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.candidate import BUILD_FIELDS, CANDIDATE_FIELDS, Candidate
from eval.stages.cache import StageCache, stage_key
from eval.stages.code import code_digest
from eval.trivial import trivial_pipeline, trivial_release
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.digests import Json, digest_json, file_digest
from rag_service.errors import InvalidSettings, RagError
from rag_service.loading.source import find
from rag_service.manifest import Manifest, read_build_facts, read_manifest
from rag_service.ports import Progress
from rag_service.prompt import load_template
from rag_service.record import IndexIdentity
from rag_service.release import Checks, PromptRef, Release
from rag_service.settings import Settings
from rag_service.wiring.encoders import Encoders, find_encoder
from rag_service.wiring.releases import make_release, open_release, with_generator
from rag_service.wiring.rerankers import chosen_reranker

EVAL_SUFFIX = "-eval"
_BUILD_STAGE = "build"
_GENERATOR_FIELDS = frozenset({
    "generator", "generator_base_url", "max_tokens", "temperature", "seed", "generator_threads", "generator_retries", "generator_fallback",
    "timeout_s",
})  # fmt: skip
_OPTION_FIELDS = {"base_url": "generator_base_url", "threads": "generator_threads"}
"""Option of a generator → setting; the others have one name."""
_RETRIEVAL_FIELDS = {"retrieval": "mode", "top_k": "top_k", "per_document": "per_document", "min_confidence": "min_confidence"}
"""Setting → field of a release's retrieval."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A candidate whose index is there."""

    candidate: Candidate
    settings: Settings
    index_name: str
    release: Release
    """As it will run."""
    manifest: Manifest
    built_at: str

    @property
    def index(self) -> IndexIdentity:
        manifest, counts = self.manifest, self.manifest.counts
        return IndexIdentity(
            self.index_name, manifest.version, manifest.digest, manifest.corpus_digest, self.built_at, counts.documents, counts.chunks
        )


class Preparing:
    def __init__(self, catalog: Catalog, cache: StageCache, *, name: str, corpus: str | None, progress: Progress) -> None:
        self._catalog = catalog
        self._cache = cache
        self._name = name
        self._corpus = corpus
        self._progress = progress
        self._fingerprint: str | None = None
        self._encoders = Encoders(Settings(indexes=catalog.root), catalog)
        self._ready: dict[str, Ready] = {}
        self._opened: dict[str, Pipeline] = {}
        """As they came from `open_release`: what they hold is let go of with them, and not with what was made of them."""

    def ready(self, candidate: Candidate) -> Ready:
        """Builds the index where it is not there. Raises what building and opening raise."""
        found = self._ready.get(candidate.name)
        if found is None:
            settings = candidate.settings(self._catalog.root)
            if candidate.served:
                index_name, release = self._name, self._changed_served(candidate, settings)
            else:
                index_name = f"{self._name}{EVAL_SUFFIX}"
                version = self.known_version(candidate) or self._build(candidate, settings)
                release = make_release(settings, self._catalog, index_name, version, encoders=self._encoders)
            if candidate.trivial is not None:
                release = trivial_release(release, candidate.trivial)
            folder = self._catalog.version_folder(index_name, release.index.version)
            found = Ready(candidate, settings, index_name, release, read_manifest(folder), read_build_facts(folder).built_at)
            self._ready[candidate.name] = found
        return found

    def known_version(self, candidate: Candidate) -> str | None:
        """Of the index that a candidate's settings and the corpus as it is now give, where that has been built; None where nobody knows
        without building it.
        """
        settings = candidate.settings(self._catalog.root)
        known = self._cache.get(_BUILD_STAGE, self.build_key(settings))
        if known is None:
            return None
        version = known.decode()
        try:
            read_manifest(self._catalog.version_folder(f"{self._name}{EVAL_SUFFIX}", version))
        except RagError:  # removed, or of another form
            return None
        return version

    def build_key(self, settings: Settings) -> bytes:
        """Of an index: the documents, the settings that decide what it becomes, and the code that builds it."""
        decided: dict[str, Json] = {name: _plain(getattr(settings, name)) for name in BUILD_FIELDS}
        encoder = find_encoder(settings, self._catalog) if settings.embedder == "onnx" else None
        return stage_key(self._corpus_fingerprint(), decided, encoder.name if encoder else None, code_digest("rag_service.wiring.building"))

    def open(self, ready: Ready) -> Pipeline:
        """Opened once, whatever other candidates are opened meanwhile."""
        name, kind = ready.candidate.name, ready.candidate.trivial
        if name not in self._opened:
            release = ready.release if kind is None else self._without_trivial(ready)
            self._opened[name] = open_release(ready.settings, self._catalog, ready.index_name, release, encoders=self._encoders).pipeline
        return self._opened[name] if kind is None else trivial_pipeline(self._opened[name], kind)

    def close(self, ready: Ready) -> None:
        """Lets go of what `open` opened; encoders that others use stay."""
        self._opened.pop(ready.candidate.name, None)

    def _without_trivial(self, ready: Ready) -> Release:
        return self.ready(replace(ready.candidate, trivial=None, name=f"{ready.candidate.name} without being trivial")).release

    def _build(self, candidate: Candidate, settings: Settings) -> str:
        from rag_service.wiring.building import build  # loads the document parsers

        if self._corpus is None:
            raise InvalidSettings(
                f"the candidate {candidate.name!r} ({candidate.origin}) needs an index, and no corpus is named",
                hint="name the documents with --corpus, or measure the served release",
            )
        key = self.build_key(settings)
        built = build(settings, self._catalog, f"{self._name}{EVAL_SUFFIX}", self._corpus, self._progress)
        version = built.manifest.version
        if settings.embedder == "onnx":  # of another encoder only its name is known before it is opened
            self._cache.put(_BUILD_STAGE, key, version.encode(), cpu_ms=built.facts.duration_s * 1000)
            self._cache.put(_BUILD_STAGE, self.build_key(settings), version.encode(), cpu_ms=built.facts.duration_s * 1000)
            self._cache.keep()
        return version

    def _corpus_fingerprint(self) -> str:
        """`sha256:…` over the files that would be read, as they are now."""
        if self._fingerprint is None:
            if self._corpus is None:
                return "none"
            files = [[found.source, _file(found.path) if found.problem is None else found.problem.reason] for found in find(self._corpus)]
            self._fingerprint = digest_json(files)
        return self._fingerprint

    def _changed_served(self, candidate: Candidate, settings: Settings) -> Release:
        """The release that is served, with the candidate's settings instead of what it has, and with the code that runs here."""
        catalog, name, given = self._catalog, self._name, candidate.given
        release = catalog.release(name, catalog.active_id(name))
        had = _served_with(release)
        if "generator" in given:
            had.pop("generator_base_url", None)  # it is the address of the other one
        settings = settings.model_copy(update={field: value for field, value in had.items() if field not in given})
        fields: dict[str, Any] = {field: getattr(settings, setting) for setting, field in _RETRIEVAL_FIELDS.items() if setting in given}
        changes: dict[str, Any] = {"retrieval": release.retrieval.model_copy(update=fields)} if fields else {}
        if "support" in given:
            changes["checks"] = Checks(support=settings.support)
        if "prompt" in given:
            template = load_template(settings.prompt)
            changes["prompt"] = PromptRef(name=template.name, version=template.version, digest=template.digest)
        if {"reranker", "rerank_depth"} & given.keys():
            changes["reranker"] = chosen_reranker(settings)
        release = release.model_copy(update=changes)
        if _GENERATOR_FIELDS & given.keys():
            release = with_generator(release, settings, catalog, name)
        opened = open_release(settings, catalog, name, release, encoders=self._encoders)
        self._opened[candidate.name] = opened.pipeline
        return opened.pipeline.lineage.release


def _served_with(release: Release) -> dict[str, Any]:
    """What a release answers with, as settings: what a candidate that begins from it keeps where it gives nothing else."""
    generator, reranker = release.generator, release.reranker
    options = {_OPTION_FIELDS.get(option, option): value for option, value in generator.options.items()}
    had: dict[str, Any] = {"generator": generator.spec, **{name: value for name, value in options.items() if name in CANDIDATE_FIELDS}}
    if generator.options:  # those that change nothing are left out of a release
        had = {"temperature": None, "seed": None, **had}
    if reranker is not None:
        had |= {"reranker": reranker.spec, "rerank_depth": reranker.depth}
    return had


def _file(path: Path) -> str:
    try:
        return file_digest(path).sha256
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _plain(value: Any) -> Json:
    return list(value) if isinstance(value, tuple) else value
