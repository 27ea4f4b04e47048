"""The verb: candidates + questions → run. Every candidate is made ready before the first question is asked, so that what can be known to
be wrong is said before anything is spent; what was asked before is not asked again, so that a run that was cut off goes on where it was.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from eval.asking import Subject, Way, answered
from eval.attribution import GoldState, attribute
from eval.bounds import EXACT_KINDS, closed_book, oracle_release, with_exact_index, with_oracle
from eval.candidate import Candidate, changed
from eval.clusters import cluster_of
from eval.experiment import Experiment
from eval.gold import resolve_gold
from eval.metrics.catalogue import metric_versions
from eval.metrics.passages import all_found
from eval.places import ChunkPlaces
from eval.preparing import Preparing, Ready
from eval.questions import EvalQuestion, QuestionSet
from eval.results import Gold, Measured, Parameters, QuestionsIdentity, ReleaseIdentity, Row, Run
from eval.sample import Failure, Sample
from eval.scores import Outcome, Score, Undefined, mean
from eval.scoring import correct, score
from eval.splits import part
from eval.stages.cache import StageCache
from eval.summary import abstain_reasons, count, error_codes, labels, summarise, warn
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.deployment import Deployment, describe_deployment
from rag_service.digests import Json, digest_json, short_id
from rag_service.errors import InvalidInput
from rag_service.ports import Progress
from rag_service.record import Record
from rag_service.release import Release
from rag_service.wiring.releases import open_chunks

POOL_SHOWN = 20
"""Chunks of a pool that a run keeps for reading; its scores are over all of them."""
_WARM_UP = 3
"""Questions asked before times are taken."""


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What the questions' gold is in one index version."""

    gold: Sequence[Gold]
    places: ChunkPlaces


class Running:
    """One experiment on its way. `made_ready` and `measured` may be told of each candidate as it comes."""

    def __init__(self, experiment: Experiment, questions: QuestionSet, catalog: Catalog, cache: StageCache, progress: Progress) -> None:
        self.experiment = experiment
        self._questions = questions
        self._catalog = catalog
        self._cache = cache
        self._progress = progress
        self.asked = asked_part(experiment, questions)
        self.preparing = Preparing(catalog, cache, name=experiment.name, corpus=experiment.corpus, progress=progress)
        self._known: dict[str, _Known] = {}
        self._lately: dict[bytes, Sample] = {}
        self._scored: dict[tuple[str, str, Sample], Row] = {}
        """Index version, question and sample → row: candidates that differ in a threshold alone have most of them in common."""
        self._version = ""
        self._texts: dict[str, str] = {}
        self._way = Way(depth=experiment.depth, answers=experiment.answers, timeout_s=experiment.timeout_s)

    def run(self, *, command: str, only: str = "*") -> Run:
        """Raises what makes a candidate unusable, `Mismatch` where the questions do not belong to the documents, and `StorageFailed`. What
        goes wrong at one question is in its row.
        """
        began_s, created_at = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        candidates = chosen(self.experiment.candidates, only)
        ready = [self.preparing.ready(candidate) for candidate in candidates]
        for each in ready:
            self.known(each)
        deployment = describe_deployment(environment="evaluation", declared_image=None, declared_commit=None)
        measured = [
            self._measured(each, deployment, candidates[0], f"{number}/{len(ready)}" if len(ready) > 1 else "")
            for number, each in enumerate(ready, start=1)
        ]
        return Run(
            id=self._run_id(measured),
            created_at=created_at,
            duration_s=round(time.monotonic() - began_s, 3),
            command=command,
            questions=self._identity(),
            parameters=self._parameters(),
            candidates=tuple(measured),
            texts=self._texts_shown(measured),
            metric_versions=metric_versions(),
        )

    @property
    def root(self) -> Path:
        """Of the indexes."""
        return self._catalog.root

    def known(self, ready: Ready) -> _Known:
        """The gold of all questions of the set in the candidate's index; whether they belong together is a matter of all of them."""
        version = ready.manifest.version
        if version not in self._known:
            chunks = open_chunks(self._catalog, ready.index_name, version)
            gold = resolve_gold(self._questions.questions, chunks, index=ready.index_name)
            asked = {question.id for question in self.asked}
            gold_asked = [known for question, known in zip(self._questions.questions, gold, strict=True) if question.id in asked]
            self._known[version] = _Known(gold_asked, ChunkPlaces.of(chunks, gold_asked))
        return self._known[version]

    def subject(self, ready: Ready, *, asked_as: str = "served", way: Way | None = None) -> Subject:
        def opened() -> Pipeline:
            pipeline = self.preparing.open(ready)
            return with_exact_index(pipeline) if asked_as == "exact_index" else pipeline

        release = oracle_release(ready.release) if asked_as == "oracle" else ready.release
        limit = ready.settings.max_question_chars
        return Subject(release, opened, self._cache, way or self._way, limit, asked_as, self._texts, self._lately)

    def _measured(self, ready: Ready, deployment: Deployment, first: Candidate, place: str) -> Measured:
        known = self.known(ready)
        self._begin(ready.manifest.version)
        samples = self._samples(ready, place)
        version = ready.manifest.version
        rows = [self._row(version, *each) for each in zip(self.asked, known.gold, samples, strict=True)]
        headroom: dict[str, Score] = {}
        if self.experiment.answers:
            rows, headroom = self._bounded(ready, rows, known)
        rows = [self._attributed(row, known, ready.release) for row in rows]
        if self.experiment.timing and self.experiment.answers:
            rows = self._timed(ready, rows)
        self.preparing.close(ready)
        release = ready.release
        return Measured(
            name=ready.candidate.name,
            origin=ready.candidate.origin,
            changed=changed(first, ready.candidate),
            release=ReleaseIdentity(id=release.id, digest=release.digest, content=release),
            index=ready.index,
            deployment=deployment,
            rows=tuple(replace(row, sample=replace(row.sample, pool=row.sample.pool[:POOL_SHOWN])) for row in rows),
            counts=count(rows),
            abstain_reasons=abstain_reasons(rows),
            error_codes=error_codes(rows),
            labels=labels(rows),
            metrics=summarise(rows, answers=self.experiment.answers),
            headroom=headroom,
            warnings=tuple(warn(rows, documents=ready.manifest.counts.documents)),
        )

    def _begin(self, version: str) -> None:
        """What candidates share is held while they are of one index."""
        if version != self._version:
            self._lately.clear()
            self._scored.clear()
            self._version = version

    def _samples(self, ready: Ready, place: str) -> list[Sample]:
        subject = self.subject(ready)
        doing = "asking" if self.experiment.answers else "searching"
        self._progress.stage(f"{doing} {place}".strip(), len(self.asked))
        return list(self._each(self.asked, lambda question: subject.sample(question.question), open_first=subject))

    def _each(
        self, questions: Sequence[EvalQuestion], ask: Callable[[EvalQuestion], Sample], *, open_first: Subject | None = None
    ) -> Iterator[Sample]:
        if self.experiment.jobs == 1:
            for question in questions:
                yield ask(question)
                self._progress.advance()
            return
        if open_first is not None and not all(open_first.knows(question.question) for question in questions):
            open_first.pipeline  # noqa: B018 - opened before threads ask for it
        with ThreadPoolExecutor(self.experiment.jobs) as pool:
            try:
                for sample in pool.map(ask, questions):
                    yield sample
                    self._progress.advance()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _row(self, version: str, question: EvalQuestion, gold: Gold, sample: Sample) -> Row:
        known = self._scored.get(key := (version, question.id, sample))
        if known is None:
            scores = score(question, gold, sample, texts=self._texts, answers=self.experiment.answers)
            known = self._scored[key] = Row(question=question, gold=gold, cluster=cluster_of(question), sample=sample, scores=scores)
        return known

    def _bounded(self, ready: Ready, rows: list[Row], known: _Known) -> tuple[list[Row], dict[str, Score]]:
        """The rows with what the bounds gave, and the headroom of each."""
        headroom: dict[str, Score] = {}
        if ready.candidate.trivial is not None:
            return rows, headroom
        bounds = self.experiment.bounds
        if "oracle" in bounds:
            rows, found = self._with_oracle(ready, rows, known)
            headroom |= found
        if "closed_book" in bounds:
            rows, found = self._with_closed_book(ready, rows)
            headroom |= found
        if "exact_index" in bounds:
            headroom |= self._exact(ready, rows)
        return rows, headroom

    def _with_oracle(self, ready: Ready, rows: list[Row], known: _Known) -> tuple[list[Row], dict[str, Score]]:
        subject = self.subject(ready, asked_as="oracle")
        places = [(number, known.places.rows(row.gold)) for number, row in enumerate(rows) if row.question.answerable is not False]
        wanted = [(number, found) for number, found in places if len(found)]
        self._progress.stage("oracle", len(wanted))
        given = list(rows)
        for number, found in wanted:
            question = rows[number].question.question
            only = digest_json(found.tolist())
            sample = subject.sample(question, only=only, narrowed=with_oracle(found))
            given[number] = replace(rows[number], oracle=replace(sample, pool=()))
            self._progress.advance()
        pairs = [(row, correct(row.question, row.oracle)) for row in given if row.oracle is not None]
        best = [oracle for _, oracle in pairs if oracle is not None]
        gains: dict[str, list[Outcome]] = {"retrieval": [], "threshold": []}
        for row, oracle in pairs:
            system = row.scores.get("correct")
            if isinstance(oracle, float) and isinstance(system, float):
                owed = "threshold" if _withheld(row) else "retrieval"
                for part, values in gains.items():
                    values.append(oracle - system if part == owed else 0.0)
        nothing = "no answerable question has gold in this index"
        return given, {
            **{part: mean(values, nothing=nothing) for part, values in gains.items()},
            "reader": mean([1.0 - value if isinstance(value, float) else value for value in best], nothing=nothing),
        }

    def _with_closed_book(self, ready: Ready, rows: list[Row]) -> tuple[list[Row], dict[str, Score]]:
        pipeline = self.subject(ready).pipeline
        if not pipeline.generator.follows_instructions:
            why = Undefined(f"{pipeline.generator.name} only quotes passages: without any it has nothing to say")
            return rows, {"parametric": Score(why, len(rows), 0, n_undefined=len(rows))}
        self._progress.stage("closed book", len(rows))
        given: list[Row] = []
        for row in rows:
            given.append(replace(row, closed_book=closed_book(pipeline, row.question.question, self.experiment.timeout_s)))
            self._progress.advance()
        self._cache.keep()
        answerable = [row for row in given if row.question.answerable is not False]
        found = [correct(row.question, row.closed_book) for row in answerable if row.closed_book is not None]
        return given, {"parametric": mean([value for value in found if value is not None], nothing="no question is answerable")}

    def _exact(self, ready: Ready, rows: Sequence[Row]) -> dict[str, Score]:
        """How much of the documents that an exact search finds first the index loses."""
        kind = ready.manifest.store.kind
        if kind in EXACT_KINDS:
            return {"index": Score(Undefined(f"a {kind} index is exact"), len(rows), 0, n_undefined=len(rows))}
        subject = self.subject(ready, asked_as="exact_index", way=replace(self._way, answers=False))
        self._progress.stage("exact search", len(rows))
        lost: list[Outcome] = []
        for row, exact in zip(
            rows, self._each([row.question for row in rows], lambda question: subject.sample(question.question)), strict=True
        ):
            best = self._row(ready.manifest.version, row.question, row.gold, exact).scores.get("recall@10")
            found = row.scores.get("recall@10")
            if isinstance(best, float) and isinstance(found, float):
                lost.append(best - found)
        return {"index": mean(lost, nothing="no question names what is relevant to it")}

    def _attributed(self, row: Row, known: _Known, release: Release) -> Row:
        if not self.experiment.answers:
            return row
        state = GoldState(indexed=not row.gold.missing, covered=known.places.covered(row.gold))
        considered = max(release.retrieval.top_k, release.reranker.depth if release.reranker else 0)
        label, evidence = attribute(row, state, considered=considered)
        return replace(row, label=label, evidence=evidence)

    def _timed(self, ready: Ready, rows: list[Row]) -> list[Row]:
        """Times of a serial pass over some questions, evenly spread, by a pipeline that remembers nothing."""
        pipeline, timeout_s = self.preparing.open(ready), self.experiment.timeout_s
        n = min(self.experiment.timing, len(rows))
        chosen_rows = sorted({math.floor(step * len(rows) / n) for step in range(n)})
        for row in rows[:_WARM_UP]:
            answered(pipeline, row.question.question, timeout_s)
        self._progress.stage("timing", len(chosen_rows))
        given = list(rows)
        for number in chosen_rows:
            outcome = answered(pipeline, rows[number].question.question, timeout_s)
            given[number] = replace(rows[number], sample=replace(rows[number].sample, took_ms=_took_ms(outcome)))
            self._progress.advance()
        return given

    def _texts_shown(self, measured: Iterable[Measured]) -> dict[str, str]:
        shown: dict[str, str] = {}
        for candidate in measured:
            for row in candidate.rows:
                for chunk_id in [*(hit.chunk_id for hit in row.sample.in_prompt), *(cited.chunk_id for cited in row.sample.cited)]:
                    shown[chunk_id] = self._texts[chunk_id]
        return shown

    def _run_id(self, measured: Sequence[Measured]) -> str:
        parameters = self._parameters()
        content: dict[str, Json] = {
            "questions": self._questions.digest,
            "asked": digest_json([question.id for question in self.asked]),
            "candidates": [[candidate.name, candidate.release.digest] for candidate in measured],
            "parameters": [parameters.depth, parameters.answers, list(parameters.bounds), parameters.timing],
            "metrics": dict(metric_versions()),
        }
        return short_id(digest_json(content))

    def _identity(self) -> QuestionsIdentity:
        questions = self._questions
        return QuestionsIdentity(
            name=questions.name,
            form=questions.form,
            split=questions.split,
            digest=questions.digest,
            n_questions=len(questions.questions),
            n_asked=len(self.asked),
            n_left_out=questions.left_out,
        )

    def _parameters(self) -> Parameters:
        experiment = self.experiment
        return Parameters(
            depth=experiment.depth,
            answers=experiment.answers,
            limit=experiment.limit,
            timeout_s=experiment.timeout_s,
            part=experiment.part,
            bounds=experiment.bounds if experiment.answers else (),
            timing=experiment.timing if experiment.answers else 0,
        )


def asked_part(experiment: Experiment, questions: QuestionSet) -> tuple[EvalQuestion, ...]:
    """The questions that are asked, in the order of the set. Raises `InvalidInput` where there is none."""
    found = part(questions.questions, experiment.part, test_share=experiment.test_share, seed=experiment.seed)[: experiment.limit]
    if not found:
        raise InvalidInput(
            f"the {experiment.part} part of {questions.name} holds no question",
            hint="mark questions with split, or give a share with splits: {test: 0.3}",
        )
    return tuple(found)


def chosen(candidates: Sequence[Candidate], only: str) -> tuple[Candidate, ...]:
    """Those whose name fits the pattern. Raises `InvalidInput` where there is none."""
    found = tuple(candidate for candidate in candidates if only == "*" or fnmatchcase(candidate.name, only))
    if not found:
        names = ", ".join(candidate.name for candidate in candidates[:8])
        raise InvalidInput(f"no candidate is called {only!r}", hint=f"there are: {names}", param="only")
    return found


def _withheld(row: Row) -> bool:
    """Whether the search had found the gold, and the threshold of confidence kept the answer back: an oracle has none."""
    return row.sample.abstain_reason == "low_confidence" and all_found(row.sample.hits, row.gold) is True


def _took_ms(outcome: Record | Failure) -> dict[str, float]:
    return {} if isinstance(outcome, Failure) else dict(outcome.timings_ms)
