"""Answers made again: the verdict, its evidence, and what is said where an answer cannot be made again."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_service.answer_cache import AnswerCache
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.deployment import describe_deployment
from rag_service.errors import GeneratorFailed
from rag_service.filters import parse_filter
from rag_service.kept import Content, Kept
from rag_service.opened import Opened
from rag_service.question import Question
from rag_service.record import Lineage, Receipt, Record
from rag_service.replay import Missing, Replay, replay
from rag_service.settings import load_settings
from rag_service.stored_record import entry_of, kept_from
from rag_service.types import Matrix, Sampling, Turn, Vector
from rag_service.wiring.replaying import Artefacts
from tests.doubles import HOLIDAYS, Writes, completion, with_generator

HERE = describe_deployment(environment="dev", declared_image=None, declared_commit=None)


def kept(record: Record, content: Content = "full") -> Kept:
    """As it comes back from a ledger."""
    entry = entry_of(record, content=content, key_id=None)
    return kept_from(entry.body, entry.vector, entry.lineage, Receipt(1, "sha256:" + "0" * 64))


def again(record: Record, pipeline: Pipeline, differences: tuple[str, ...] = ()) -> Replay:
    return replay(kept(record), lambda _: Opened(pipeline, differences), HERE)[0]


QUESTIONS = {
    "plain": Question(HOLIDAYS),
    "abstained": Question("What is the capital of Mongolia?"),
    "with its own settings": Question(HOLIDAYS, top_k=2, min_confidence=0.1),
    "asked with a filter": Question(HOLIDAYS, filters=parse_filter({"source": {"prefix": "travel"}}), min_confidence=0),
    "asked by a key that sees a part": Question(HOLIDAYS, access=parse_filter({"source": "leave.md"})),
    "follow-up": Question("And when do unused ones expire?", history=(Turn("user", HOLIDAYS), Turn("assistant", "28 days."))),
    "markup, emoji and other scripts": Question('<b onload="x">Urlaub</b> 🏖️ כמה ימי חופשה? {{passages}} [1]'),
    "of the whole window": Question("holiday " * 450),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_an_answer_is_made_again_to_the_bit(pipeline: Pipeline, question: Question) -> None:
    record = pipeline.ask(question)
    made = again(record, pipeline)
    assert made.verdict == "exact", made.headline
    assert made.recomputed == tuple(stage.name for stage in record.stages)
    assert all(stage.same for stage in made.stages)
    assert (made.hits, made.prompt_diff, made.answer_diff, made.differs_here) == ((), (), (), ())
    assert made.answer == record.answer
    assert made.vector is not None
    assert made.vector.max_abs == 0


def test_answers_of_a_batch_and_from_the_cache_are_made_again_too(pipeline: Pipeline) -> None:
    texts = [HOLIDAYS, "Who wears a yellow badge?", "How long must a password be?"]
    cache = AnswerCache(2**20)
    for record, text in zip(pipeline.ask_many([Question(text) for text in texts]), texts, strict=True):
        assert isinstance(record, Record)
        assert again(record, pipeline).verdict == "exact"
        cache.keep(pipeline, Question(text), record)
        repeated = cache.recall(pipeline, Question(text))
        assert repeated is not None
        assert again(repeated, pipeline).verdict == "exact"


def test_what_a_request_asked_of_the_model_is_asked_of_it_again(pipeline: Pipeline) -> None:
    model = Writes(completion("28 days [1]."), parameters={"max_tokens": 64, "temperature": 0.0, "seed": 1})
    asked = with_generator(pipeline, model)
    record = asked.ask(Question(HOLIDAYS, sampling=Sampling(max_tokens=16, seed=7)))
    assert again(record, asked).verdict == "exact"
    assert model.samplings == [Sampling(max_tokens=16, temperature=None, seed=7)] * 2


def test_other_text_from_the_same_passages_is_named_and_shown(pipeline: Pipeline) -> None:
    model = with_generator(pipeline, Writes(completion("An employee has 28 days [1]."), completion("It is 28 days of holiday [1].")))
    made = again(model.ask(Question(HOLIDAYS)), model)
    assert (made.verdict, made.kind) == ("same_context", "same_context")
    assert "generate" in made.headline
    removed = "".join(piece.text for piece in made.answer_diff if piece.op == "removed")
    added = "".join(piece.text for piece in made.answer_diff if piece.op == "added")
    assert "employee" in removed
    assert "of holiday" in added
    assert made.hits == ()


class Nudged:
    """An embedder whose numbers are a little off, or that reads another text."""

    def __init__(self, inner: Any, by: float = 0, reads: str | None = None) -> None:
        self._inner, self._by, self._reads = inner, np.float32(by), reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self._inner.embed_query(self._reads or text)
        vector[0] += self._by
        return vector

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self.embed_query(text) for text in texts])


def test_a_last_bit_in_the_vector_is_found_and_measured(pipeline: Pipeline) -> None:
    record = pipeline.ask(Question(HOLIDAYS))
    made = again(record, dataclasses.replace(pipeline, embedder=Nudged(pipeline.embedder, 1e-7)))
    assert made.verdict == "diverged_at:embed"
    assert made.vector is not None
    assert 0 < made.vector.max_abs < 1e-6
    assert made.vector.cosine == pytest.approx(1, abs=1e-6)
    assert "every later stage gave the same" in made.headline
    assert [stage.name for stage in made.stages if not stage.same] == ["embed"]


def test_other_passages_are_named_with_their_scores(pipeline: Pipeline) -> None:
    record = pipeline.ask(Question(HOLIDAYS))
    made = again(record, dataclasses.replace(pipeline, embedder=Nudged(pipeline.embedder, reads="Who wears a badge?")))
    assert made.verdict == "diverged_at:embed"
    movements = {hit.movement for hit in made.hits}
    assert movements & {"entered", "left", "moved"}
    assert made.prompt_diff != ()


def test_an_answer_with_fewer_passages_parts_at_the_search(pipeline: Pipeline) -> None:
    record = pipeline.ask(Question(HOLIDAYS))
    fewer = dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, parameters=dataclasses.replace(
        record.attempt.parameters, top_k=2)))  # fmt: skip
    made = again(fewer, pipeline)
    assert made.verdict == "diverged_at:retrieve"
    assert "other passages were found" in made.headline
    assert sum(hit.movement == "left" for hit in made.hits) == len(record.hits) - 2


def test_other_code_is_named_and_the_verdict_is_about_the_outputs(pipeline: Pipeline) -> None:
    lineage = pipeline.lineage
    older = lineage.release.model_copy(update={"code": lineage.release.code.model_copy(update={"digest": "sha256:" + "1" * 64})})
    deployment = dataclasses.replace(lineage.deployment, numeric_class="aarch64-asimd")
    made_by = dataclasses.replace(pipeline, lineage=dataclasses.replace(lineage, release=older, deployment=deployment))
    made = again(made_by.ask(Question(HOLIDAYS)), pipeline)
    assert made.verdict == "exact"
    assert made.differs_here == ("code", "numeric class")
    assert "code" in made.headline


# What cannot be made again


def test_digests_alone_cannot_be_made_again(pipeline: Pipeline) -> None:
    made = replay(kept(pipeline.ask(Question(HOLIDAYS)), "digest"), lambda _: Opened(pipeline, ()), HERE)[0]
    assert made.verdict == "not_replayable:redacted"
    assert (made.stages, made.recomputed, made.taken) == ((), (), ())


@pytest.mark.parametrize(
    ("question", "part"),
    [
        (Question("Does joe@example.com have 28 days of paid holiday?"), "question"),
        (Question("And I?", history=(Turn("user", "I am joe@example.com. How many days of holiday are there?"),)), "history"),
        (Question(HOLIDAYS, filters=parse_filter({"owner": {"ne": "joe@example.com"}}), min_confidence=0), "filters"),
    ],
)
def test_what_was_masked_in_the_question_is_said(pipeline: Pipeline, question: Question, part: str) -> None:
    made = again(pipeline.ask(question), pipeline)
    assert made.verdict == "not_replayable:redacted"
    assert part in made.headline


def test_what_was_masked_in_a_passage_does_not_stand_in_the_way(tmp_path: Path, encoder_folder: Path, build: Callable[..., Any]) -> None:
    root = tmp_path / "indexes"
    root.mkdir()
    (root / "encoders").symlink_to(encoder_folder.parent)
    source = tmp_path / "contacts.md"
    source.write_text("# Contacts\n\nThe finance office answers at finance@example.org or on +49 30 1234567.\n")
    catalog, settings = Catalog(root), load_settings({}, indexes=root, name="contacts")
    opened = _activated(catalog, build(root, source, name="contacts").manifest.version, settings)
    record = opened.ask(Question("How does the finance office answer?"))
    back = kept(record)
    assert "finance@example.org" in (record.answer or "")
    assert "finance@example.org" not in (back.record.answer or "")
    assert again(record, opened).verdict == "exact"


def test_an_error_while_making_it_again_is_the_reason(pipeline: Pipeline) -> None:
    record = with_generator(pipeline, Writes(completion("28 days [1]."))).ask(Question(HOLIDAYS))
    broken = with_generator(pipeline, Writes(GeneratorFailed("the model is out of order")))
    made = again(record, broken)
    assert made.verdict == "not_replayable:generator_error"
    assert "the model is out of order" in made.headline


# From what lies on the disk


@pytest.fixture
def disk(own_indexes: Path, encoder_folder: Path) -> Path:
    """A folder of indexes of its own, encoder included."""
    (own_indexes / "encoders").unlink()
    (own_indexes / "encoders").mkdir()
    shutil.copytree(encoder_folder, own_indexes / "encoders" / encoder_folder.name)
    return own_indexes


def artefacts(root: Path) -> Artefacts:
    return Artefacts(load_settings({}, indexes=root, name="handbook"), Catalog(root), HERE)


def _activated(catalog: Catalog, version: str, settings: Any) -> Pipeline:
    from rag_service.wiring.releases import make_release, open_release

    return open_release(settings, catalog, settings.name, make_release(settings, catalog, settings.name, version)).pipeline


def on_disk(record: Record, root: Path) -> Replay:
    return replay(kept(record), artefacts(root).open, HERE)[0]


def test_a_record_is_enough_where_the_file_of_its_release_is_gone(pipeline: Pipeline, disk: Path) -> None:
    record = pipeline.ask(Question(HOLIDAYS))
    shutil.rmtree(disk / "handbook" / "releases")
    (disk / "handbook" / "ACTIVE").unlink()
    assert on_disk(record, disk).verdict == "exact"


def _remove_index(root: Path, lineage: Lineage) -> None:
    shutil.rmtree(root / "handbook" / "versions" / lineage.index.version)


def _flip_a_bit_of_the_index(root: Path, lineage: Lineage) -> None:
    path = root / "handbook" / "versions" / lineage.index.version / "vectors.faiss"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _remove_encoder(root: Path, _: Lineage) -> None:
    shutil.rmtree(root / "encoders")


@pytest.mark.parametrize(
    ("harm", "missing", "seen_at_once"),
    [(_remove_index, "index", True), (_flip_a_bit_of_the_index, "index", False), (_remove_encoder, "encoder", True)],
    ids=["no index", "damaged index", "no encoder"],
)
def test_what_is_gone_is_named(
    pipeline: Pipeline, disk: Path, harm: Callable[[Path, Lineage], None], missing: str, *, seen_at_once: bool
) -> None:
    record = pipeline.ask(Question(HOLIDAYS))
    harm(disk, record.lineage)
    assert on_disk(record, disk).verdict == f"not_replayable:{missing}"
    found = artefacts(disk).missing(record.lineage)
    assert (found.what if found else None) == (missing if seen_at_once else None)


def test_a_prompt_of_other_bytes_and_a_model_that_is_gone_are_named(pipeline: Pipeline, disk: Path, tmp_path: Path) -> None:
    lineage, record = pipeline.lineage, pipeline.ask(Question(HOLIDAYS))

    def made_with(**parts: Any) -> Record:
        release = lineage.release.model_copy(update=parts)
        return dataclasses.replace(
            record, attempt=dataclasses.replace(record.attempt, lineage=dataclasses.replace(lineage, release=release))
        )

    prompt = lineage.release.prompt
    model = lineage.release.generator.model_copy(update={"spec": f"llamacpp:{tmp_path / 'gone.gguf'}", "options": {"threads": 2}})
    for made, missing in (
        (made_with(prompt=prompt.model_copy(update={"digest": "sha256:" + "2" * 64})), "prompt"),
        (made_with(prompt=prompt.model_copy(update={"version": "no-such"})), "prompt"),
        (made_with(generator=model), "generator"),
    ):
        assert on_disk(made, disk).verdict == f"not_replayable:{missing}"
        assert artefacts(disk).missing(made.lineage) == Missing(missing, on_disk(made, disk).headline) or missing == "generator"


def test_the_active_release_is_not_opened_a_second_time(pipeline: Pipeline, tmp_path: Path) -> None:
    nowhere = Artefacts(load_settings({}, indexes=tmp_path), Catalog(tmp_path), HERE, active=lambda: pipeline)
    record = pipeline.ask(Question(HOLIDAYS))
    assert replay(kept(record), nowhere.open, HERE)[0].verdict == "exact"
