"""References that come by themselves: with an activation, and with a promotion."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.drift.folder import DriftFolder
from rag_service.drift.reference import Reference
from rag_service.question import Question
from rag_service.records import Records
from rag_service.settings import Settings, load_settings
from rag_service.wiring.desks import recorder_of, records_of
from rag_service.wiring.first_reference import first_reference
from rag_service.wiring.releases import deployment_of, make_release
from rag_service.wiring.stores import open_ledger
from tests.api.conftest import desk_on, running
from tests.conftest import Cli, SilentProgress
from tests.drift.test_drift import NOW, USUAL, record_all

ENOUGH = USUAL[:110]


def settings_of(root: Path, **settings: object) -> Settings:
    return load_settings({}, indexes=root, name="handbook", **settings)


def references(root: Path) -> list[Reference]:
    return DriftFolder(Catalog(root).drift_folder("handbook")).references()


def records_below(root: Path) -> Records:
    settings = settings_of(root)
    return records_of(settings, Catalog(root), open_ledger(settings), deployment=deployment_of(settings))


def another_release(root: Path) -> str:
    """Of the same version and encoder."""
    catalog = Catalog(root)
    version = catalog.release("handbook", catalog.active_id("handbook")).index.version
    release = make_release(settings_of(root, top_k=3), catalog, "handbook", version)
    catalog.add_release("handbook", release)
    return release.id


def with_another_encoder(pipeline: Pipeline) -> Pipeline:
    """As if what opened were of an encoder that nobody asked before: its digest is another, and its vectors are."""
    lineage, other = pipeline.lineage, "sha256:" + "c" * 64
    release = lineage.release.model_copy(update={"encoder": lineage.release.encoder.model_copy(update={"digest": other})})
    return replace(pipeline, lineage=replace(lineage, release=release, embedder=replace(lineage.embedder, digest=other)))


def test_an_activation_keeps_what_was_asked_before_as_a_reference_once(own_indexes: Path, pipeline: Pipeline, cli: Cli) -> None:
    record_all(own_indexes, pipeline, ENOUGH, days_ago=3)
    record_all(own_indexes, pipeline, USUAL[110:], days_ago=40)
    told = cli("release", "activate", "handbook", another_release(own_indexes), "--indexes", str(own_indexes))
    assert told.code == 0, told.err
    [made] = references(own_indexes)
    assert (made.source, made.side.conversations, made.encoder.digest) == ("records", 110, pipeline.lineage.embedder.digest)
    assert f"reference {made.id} of drift is kept: 110 questions asked in 28 days" in told.err
    back = cli("release", "rollback", "handbook", "--indexes", str(own_indexes))
    assert (back.code, "reference" in back.err, references(own_indexes)) == (0, False, [made])
    assert cli("drift", "report", "--name", "handbook", "--indexes", str(own_indexes)).code == 4, "what was asked since is still little"


def test_too_little_traffic_makes_no_reference_and_no_noise(own_indexes: Path, pipeline: Pipeline, cli: Cli) -> None:
    record_all(own_indexes, pipeline, USUAL[:99], days_ago=3)
    told = cli("release", "activate", "handbook", another_release(own_indexes), "--indexes", str(own_indexes))
    assert (told.code, told.err, references(own_indexes)) == (0, "", [])


@pytest.mark.parametrize("variable", ["RAG_DRIFT_REFERENCE=false", "RAG_RECORDS=off"])
def test_a_setting_leaves_it_out(own_indexes: Path, pipeline: Pipeline, cli: Cli, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record_all(own_indexes, pipeline, ENOUGH, days_ago=3)
    monkeypatch.setenv(*variable.split("="))
    assert cli("release", "activate", "handbook", another_release(own_indexes), "--indexes", str(own_indexes)).code == 0
    assert references(own_indexes) == []


def test_records_that_cannot_be_read_are_a_warning_and_the_release_is_served(own_indexes: Path, cli: Cli) -> None:
    (own_indexes / "ledger.sqlite").write_bytes(b"no database at all, but a file of its name" * 100)
    other = another_release(own_indexes)
    told = cli("release", "activate", "handbook", other, "--indexes", str(own_indexes))
    assert (told.code, Catalog(own_indexes).active_id("handbook")) == (0, other)
    assert "no reference of drift was made" in told.err
    assert "`rag-service drift reference` makes one" in told.err


def test_a_server_that_is_told_to_switch_keeps_one_too(own_indexes: Path, pipeline: Pipeline) -> None:
    record_all(own_indexes, pipeline, ENOUGH, days_ago=3)
    other = another_release(own_indexes)
    with running(desk_on(own_indexes)) as client:
        assert client.post(f"/releases/{other}/activate", {"why": "a test"}).status == 200
    [made] = references(own_indexes)
    assert (made.source, made.side.questions) == ("records", 110)


def test_for_an_encoder_that_nobody_asked_yet_the_questions_are_searched_for_anew(own_indexes: Path, pipeline: Pipeline) -> None:
    record_all(own_indexes, pipeline, ENOUGH, days_ago=3)
    opened = with_another_encoder(pipeline)
    made = first_reference(settings_of(own_indexes), Catalog(own_indexes), records_below(own_indexes), opened, SilentProgress())
    assert made is not None
    assert (made.source, made.encoder.digest, made.side.conversations) == ("searches", "sha256:" + "c" * 64, 110)
    assert set(made.side.releases) == {opened.lineage.release.id}
    again = pipeline.ask(Question(ENOUGH[0]))
    seen = next(seen for seen in made.observations if seen.top_score == again.hits[0].score and seen.question_chars == len(ENOUGH[0]))
    assert (seen.outcome, seen.instructed, seen.confidence) == (None, None, again.confidence)
    assert made.sample().vectors.shape == (110, 384)


def test_what_there_is_no_time_for_is_left_out(own_indexes: Path, pipeline: Pipeline) -> None:
    record_all(own_indexes, pipeline, ENOUGH, days_ago=3)
    where = (settings_of(own_indexes), Catalog(own_indexes), records_below(own_indexes))
    assert first_reference(*where, pipeline, SilentProgress(), within_s=0.0) is None
    assert first_reference(*where, pipeline, SilentProgress()) is not None


def test_questions_without_their_texts_are_not_searched_for_anew(own_indexes: Path, pipeline: Pipeline) -> None:
    recorder = recorder_of(settings_of(own_indexes, records="digest"))
    for text in ENOUGH:
        recorder.keep(replace(pipeline.ask(Question(text)), created_at=NOW - timedelta(days=3)), key_id=None)
    recorder.close()
    opened = with_another_encoder(pipeline)
    where = (settings_of(own_indexes), Catalog(own_indexes), records_below(own_indexes))
    assert first_reference(*where, opened, SilentProgress()) is None
