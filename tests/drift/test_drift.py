"""From records to a report: by command, on the page and in the metrics."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.digests import digest_text
from rag_service.drift.compare import Policy, compare
from rag_service.drift.folder import DriftFolder
from rag_service.drift.observation import Sample, gathered
from rag_service.drift.reference import reference_of, side_of
from rag_service.errors import Damaged, Mismatch
from rag_service.kept import Kept
from rag_service.question import Question
from rag_service.record import Receipt, Record
from rag_service.settings import load_settings
from rag_service.types import Turn
from rag_service.wiring.activating import activate
from rag_service.wiring.desks import recorder_of
from rag_service.wiring.drifting import keep_canary_answers
from tests.api.conftest import Serve, desk_on, running
from tests.api.conftest import serve as serve
from tests.conftest import Cli

SUBJECTS = ("holidays", "sick leave", "trains", "expenses", "passwords", "visitors", "rooms", "receipts", "badges", "first class")
FORMS = (
    "What is said about {}?", "How do {} work?", "Who decides about {}?", "When do {} matter?", "Where are {} explained?",
    "Why are there rules for {}?", "What must I know about {}?", "Which rules hold for {}?", "Can I ask about {}?",
    "How long do {} last?", "Is anything written on {}?", "What changes with {}?", "What happens without {}?",
)  # fmt: skip
USUAL = [form.format(subject) for form in FORMS for subject in SUBJECTS]
GERMAN = [f"Was muss ich über {subject} wissen, und wo steht das in Kapitel {number}?" for subject in SUBJECTS for number in range(12)]
LEAST = Policy(alpha=0.05, least=50, draws=999)
NOW = datetime.now(UTC)


def as_kept(record: Record, *, key_id: str | None = None) -> Kept:
    return Kept(record, "full", frozenset(), key_id, digest_text(record.question), Receipt(1, "sha256:" + "0" * 64))


def sample_of(pipeline: Pipeline, texts: Sequence[str]) -> Sample:
    return gathered([as_kept(pipeline.ask(Question(text))) for text in texts], most=1000).sample()


def part(sample: Sample, places: Sequence[int]) -> Sample:
    return Sample(tuple(sample.observations[place] for place in places), sample.vectors[list(places)])


def alarms(reference: Sample, window: Sample, policy: Policy = LEAST) -> set[str]:
    return {found.feature for found in compare(reference, window, min_confidence=0.6, policy=policy) if found.state == "alarm"}


@pytest.fixture(scope="module")
def usual(pipeline: Pipeline) -> Sample:
    return sample_of(pipeline, USUAL)


@pytest.fixture(scope="module")
def halves(usual: Sample) -> tuple[Sample, Sample]:
    order = np.random.default_rng(5).permutation(len(USUAL)).tolist()
    return part(usual, order[:70]), part(usual, order[70:])


def record_all(root: Path, pipeline: Pipeline, texts: Sequence[str], *, days_ago: float) -> None:
    recorder = recorder_of(load_settings({}, indexes=root, name="handbook"))
    for text in texts:
        recorder.keep(replace(pipeline.ask(Question(text)), created_at=NOW - timedelta(days=days_ago)), key_id=None)
    recorder.close()


def test_no_more_windows_without_drift_raise_an_alarm_than_was_declared(usual: Sample) -> None:
    """200 splits of the same questions. The rate holds for what is significant after the correction, floors or not."""
    declared, significant = 0.05, 0
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(len(USUAL)).tolist()
        policy = Policy(alpha=declared, least=50, draws=299, seed=seed)
        found = compare(part(usual, order[:70]), part(usual, order[70:]), min_confidence=0.6, policy=policy)
        significant += any(finding.state in {"alarm", "significant"} for finding in found)
    assert significant <= declared * 200


def test_questions_like_those_of_the_reference_raise_no_alarm(halves: tuple[Sample, Sample]) -> None:
    assert alarms(*halves) == set()


def test_questions_in_another_language_are_told_by_language_and_meaning(halves: tuple[Sample, Sample], pipeline: Pipeline) -> None:
    assert {"language", "query_embedding"} <= alarms(halves[0], sample_of(pipeline, GERMAN))


def test_shorter_questions_are_told_by_their_length(halves: tuple[Sample, Sample], pipeline: Pipeline) -> None:
    short = [f"{subject} {number}" for subject in SUBJECTS for number in range(8)]
    assert "question_chars" in alarms(halves[0], sample_of(pipeline, short))


def test_poisoned_documents_are_told_by_what_comes_first_and_by_the_instructions_in_it(halves: tuple[Sample, Sample]) -> None:
    poisoned = [replace(seen, first_document="poison", instructed=True) for seen in halves[1].observations]
    assert {"first_document", "passage_instructs"} <= alarms(halves[0], Sample(tuple(poisoned), halves[1].vectors))


def test_questions_of_an_evaluation_raise_no_alarm_however_far_they_are(halves: tuple[Sample, Sample], pipeline: Pipeline) -> None:
    german = sample_of(pipeline, GERMAN)
    found = compare(halves[0], german, min_confidence=0.6, policy=LEAST, traffic=False)
    assert {one.feature for one in found if one.unlike} == alarms(halves[0], german)
    assert "alarm" not in {one.state for one in found}


def test_below_the_minimum_nothing_is_said(halves: tuple[Sample, Sample]) -> None:
    found = compare(*halves, min_confidence=0.6, policy=Policy(least=71))
    assert {one.state for one in found} == {"undefined"}
    assert found[0].why == "70 conversations of the reference have one, and it takes 71"
    assert found[0].effect is None
    assert found[0].p_value is None


def test_scores_of_other_settings_of_retrieval_are_not_compared(halves: tuple[Sample, Sample]) -> None:
    other = Sample(tuple(replace(seen, scale="0" * 12) for seen in halves[1].observations), halves[1].vectors)
    states = {found.feature: found.state for found in compare(halves[0], other, min_confidence=0.6, policy=LEAST)}
    assert {name for name, state in states.items() if state == "undefined"} >= {"top_score", "score_gap", "coverage"}
    assert states["abstention"] != "undefined"


def test_what_is_sure_and_small_is_no_alarm(halves: tuple[Sample, Sample]) -> None:
    first = Sample(halves[0].observations * 30, np.tile(halves[0].vectors, (30, 1)))
    alone = tuple(replace(seen, conversation=str(place)) for place, seen in enumerate(first.observations))
    longer = tuple(replace(seen, question_chars=(seen.question_chars or 0) + (place % 9 == 0) * 40) for place, seen in enumerate(alone))
    found = compare(Sample(alone, first.vectors), Sample(longer, first.vectors), min_confidence=0.6, policy=LEAST)
    [length] = [one for one in found if one.feature == "question_chars"]
    assert (length.state, length.effect) == ("significant", pytest.approx(0.11, abs=0.03))


def test_a_question_that_is_asked_again_counts_once(pipeline: Pipeline) -> None:
    assert len(sample_of(pipeline, [USUAL[0], USUAL[1], USUAL[0]]).observations) == 2


def test_questions_of_one_conversation_stay_together(pipeline: Pipeline) -> None:
    first = pipeline.ask(Question(USUAL[0]))
    then = pipeline.ask(Question("And why?", history=(Turn("user", USUAL[0]), Turn("assistant", "So."))))
    found = gathered([as_kept(first), as_kept(then), as_kept(pipeline.ask(Question(USUAL[5])))], most=10).sample()
    one, other, third = (seen.conversation for seen in found.observations)
    assert one == other != third


def test_a_reference_of_another_encoder_is_refused_with_both_named(own_indexes: Path, pipeline: Pipeline, cli: Cli) -> None:
    record_all(own_indexes, pipeline, USUAL[:5], days_ago=20)
    made = cli("drift", "reference", "--name", "handbook", "--indexes", str(own_indexes))
    assert made.code == 0, made.err
    folder = DriftFolder(Catalog(own_indexes).drift_folder("handbook"))
    [reference] = folder.references()
    other = reference.model_copy(update={"encoder": reference.encoder.model_copy(update={"digest": "sha256:" + "a" * 64})})
    folder.add(other)
    with pytest.raises(Mismatch, match=f"reference {other.id} was made with encoder .*aaaaaaaaaaaa.*cannot be compared"):
        other.check_encoder(reference.encoder.digest, reference.encoder.name)
    refused = cli("drift", "report", "--reference", other.id, "--name", "handbook", "--indexes", str(own_indexes))
    assert refused.code == 1
    assert "cannot be compared" in refused.err


def test_a_reference_that_was_changed_is_refused(own_indexes: Path, pipeline: Pipeline, cli: Cli) -> None:
    record_all(own_indexes, pipeline, USUAL[:5], days_ago=20)
    cli("drift", "reference", "--name", "handbook", "--indexes", str(own_indexes))
    folder = DriftFolder(Catalog(own_indexes).drift_folder("handbook"))
    [path] = folder.references_folder.glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"answered", b"answereD", 1).replace(b"low_confidence", b"low_confidencE", 1))
    with pytest.raises(Damaged, match="does not give the id"):
        folder.reference(path.stem)


def test_from_records_to_report_page_and_metrics(own_indexes: Path, pipeline: Pipeline, cli: Cli) -> None:
    record_all(own_indexes, pipeline, USUAL, days_ago=20)
    record_all(own_indexes, pipeline, GERMAN, days_ago=2)
    where = ("--name", "handbook", "--indexes", str(own_indexes))
    until = (NOW - timedelta(days=10)).strftime("%Y-%m-%d")
    assert cli("drift", "report", *where).code == 1, "there is nothing to compare with yet"
    assert cli("drift", "reference", "--until", until, *where).code == 0
    overlapping = cli("drift", "report", "--since", (NOW - timedelta(days=25)).strftime("%Y-%m-%d"), *where)
    assert (overlapping.code, "compared with itself" in overlapping.err) == (1, True)
    told = cli("drift", "report", "--json", *where)
    report = json.loads(told.out)
    assert told.code == 3
    assert {"language", "query_embedding"} <= {found["feature"] for found in report["findings"] if found["state"] == "alarm"}
    assert report["system"]["state"] == "undefined"
    table = cli("drift", "report", *where)
    assert max(len(line) for line in table.out.splitlines() if "ALARM" in line) <= 80
    with running(desk_on(own_indexes)) as client:
        assert client.get("/drift").json["reference_id"] == report["reference_id"]
        page = client.get("/drift", accept="text/html").body.decode()
        assert "Traffic: what is asked" in page
        assert "of-window" in page
        metrics = client.get("/metrics").body.decode()
    assert 'rag_drift_alarm{signal="language"} 1.0' in metrics
    assert "rag_drift_report_timestamp_seconds 1" in metrics
    assert cli("drift", "forget", report["reference_id"], *where).code == 0
    assert cli("drift", "report", *where).code == 1


def test_against_an_evaluation_and_against_searches_the_report_says_what_it_is_worth(
    own_indexes: Path, pipeline: Pipeline, cli: Cli
) -> None:
    folder = DriftFolder(Catalog(own_indexes).drift_folder("handbook"))
    release, sample = pipeline.lineage.release, sample_of(pipeline, USUAL)
    folder.add(reference_of("handbook", release, "evaluation", sample, side_of(sample, records=len(USUAL))))
    record_all(own_indexes, pipeline, GERMAN, days_ago=2)
    where = ("--name", "handbook", "--indexes", str(own_indexes))
    told = cli("drift", "report", *where)
    assert (told.code, "ALARM" in told.out, "unlike" in told.out) == (0, False, True), told.out
    assert "reference an evaluation  130 questions" in told.out
    assert "are no traffic" in told.err
    assert "an evaluation" in cli("drift", "references", *where).out
    with running(desk_on(own_indexes)) as client:
        assert 'rag_drift_alarm{signal="language"} 0.0' in client.get("/metrics").body.decode()
        assert "differ from an evaluation, which is no traffic" in client.get("/drift", accept="text/html").body.decode()
    unknown = Sample(tuple(replace(seen, outcome=None, answer_chars=None, instructed=None) for seen in sample.observations), sample.vectors)
    since, until = ((NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ") for days in (20, 10))
    folder.add(reference_of("handbook", release, "searches", unknown, side_of(unknown, records=130, since=since, until=until)))
    told = cli("drift", "report", "--json", *where)
    report = json.loads(told.out)
    states = {found["feature"]: found["state"] for found in report["findings"]}
    assert (told.code, report["source"], states["language"]) == (3, "searches", "alarm")
    assert {states[name] for name in ("outcome", "abstention", "answer_chars", "passage_instructs")} == {"undefined"}


def test_too_few_questions_end_with_a_code_of_their_own(own_indexes: Path, pipeline: Pipeline, cli: Cli) -> None:
    record_all(own_indexes, pipeline, USUAL[:5], days_ago=20)
    where = ("--name", "handbook", "--indexes", str(own_indexes))
    cli("drift", "reference", "--until", (NOW - timedelta(days=10)).strftime("%Y-%m-%d"), *where)
    assert cli("drift", "report", *where).code == 4


def test_the_same_release_must_answer_its_canaries_the_same(own_indexes: Path, pipeline: Pipeline, cli: Cli) -> None:
    catalog = Catalog(own_indexes)
    settings = load_settings({}, indexes=own_indexes, name="handbook")
    catalog.canaries_path("handbook").write_text('{"question": "What is said about holidays?"}\n{"question": "Who wrote Faust?"}\n')
    catalog.canaries_path("handbook").write_text('{"question": "How many days of paid holiday does an employee have?"}\n')
    activate(settings, catalog, "handbook", catalog.release("handbook", catalog.active_id("handbook")), who="test")
    record_all(own_indexes, pipeline, USUAL[:3], days_ago=20)
    where = ("--name", "handbook", "--indexes", str(own_indexes))
    cli("drift", "reference", "--until", (NOW - timedelta(days=10)).strftime("%Y-%m-%d"), *where)
    same = json.loads(cli("drift", "report", "--json", *where).out)["system"]
    assert (same["state"], same["asked"]) == ("same", 1)
    folder = DriftFolder(catalog.drift_folder("handbook"))
    kept = folder.canary_answers(same["release"])
    assert kept is not None
    stages = tuple((name, "sha256:" + "b" * 64 if name == "retrieve" else digest) for name, digest in kept.answers[0].stages)
    changed = kept.model_copy(update={"answers": (kept.answers[0].model_copy(update={"stages": stages}),)})
    (folder.canaries_folder / f"{same['release']}.json").unlink()
    folder.keep_canary_answers(changed)
    told = cli("drift", "report", "--json", *where)
    system = json.loads(told.out)["system"]
    assert (told.code, system["state"], system["changed"]) == (3, "alarm", ["question 1 parts at retrieve"])
    keep_canary_answers(catalog, "handbook", [pipeline.ask(Question("Who wrote Faust?"))])
    assert folder.canary_answers(same["release"]) == changed, "what was answered first is what counts"


def test_a_service_without_a_report_says_how_to_make_one(serve: Serve, own_indexes: Path) -> None:
    client = serve(own_indexes)
    assert client.get("/drift").status == 404
    assert "rag-service drift reference" in client.get("/drift", accept="text/html").body.decode()
