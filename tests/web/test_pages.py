"""What stands on each page, without a browser: made from stored answers, and read as HTML."""

import dataclasses
import html
import json
import re
import shlex
from collections.abc import Callable

import pytest

from rag_service.ask import Pipeline
from rag_service.compare import compare
from rag_service.deployment import Deployment, Image
from rag_service.kept import Feedback, Kept, Listed, Page, RecordQuery, Row
from rag_service.manifest import BuildFacts, Counts, EncoderPart, KeywordPart, Manifest, Part, SkippedInput, Skips, StorePart
from rag_service.opened import Opened
from rag_service.question import Question
from rag_service.replay import Missing, Replay, replay
from rag_service.shelf import ShelvedRelease, ShelvedVersion
from rag_service.types import ChunkId, Notice
from rag_service.web.ask import Form, Problem, ask_page
from rag_service.web.chunks import chunk_page
from rag_service.web.compare import compare_page
from rag_service.web.indexes import indexes_page, release_page, version_page
from rag_service.web.pages import ANYBODY, STATIC_FILES, Viewer, error_page, sign_in_page, static_file
from rag_service.web.traces import MOST_ROWS, candidates_of, trace_page, traces_page
from tests.doubles import Writes, completion, with_generator, with_top_k
from tests.web.conftest import HOLIDAYS, kept
from tests.web.html import check_harmless, links, parsed, text_of

UNKNOWN = "How far is the moon from Jupiter in parsecs?"
DIGEST = "sha256:" + "ab" * 32


def row(number: int = 1, **fields: object) -> Listed:
    values: dict[str, object] = {
        "answer_id": f"ans_{number:032x}", "trace_id": f"{number:032x}", "created_at_ms": 1_790_000_000_000 + number, "status": "answered",
        "abstain_reason": None, "release": "a" * 12, "index_name": "handbook", "index_version": "b" * 12, "key_id": None, "access": None,
        "top_score": 0.51234, "total_ms": 12.3, "repeats": None, "question": HOLIDAYS, "answer": "28 days.",
    }  # fmt: skip
    return Listed(number, Row(**{**values, **fields}), None)  # type: ignore[arg-type]


def without_texts(full: Kept) -> Kept:
    """As a ledger that keeps digests alone gives it back."""
    record = full.record
    hits = tuple(
        dataclasses.replace(hit, chunk=dataclasses.replace(hit.chunk, text="", title="", heading_path=(), source="")) for hit in record.hits
    )
    by_id = {hit.chunk.id: hit.chunk for hit in hits}
    bare = dataclasses.replace(
        record, question="", query="", hits=hits, prompt=None, answer=None, raw_answer=None,
        citations=tuple(dataclasses.replace(one, quote="", chunk=by_id[one.chunk.id]) for one in record.citations),
    )  # fmt: skip
    return dataclasses.replace(full, record=bare, content="digest")


def replayed(pipeline: Pipeline, answer: Kept) -> Replay:
    return replay(answer, lambda _: Opened(pipeline, ()), pipeline.lineage.deployment)[0]


def manifest(**fields: object) -> Manifest:
    part = Part(name="part", digest=DIGEST, parameters={"max_tokens": 192})
    values: dict[str, object] = {
        "corpus_digest": DIGEST, "chunk_set_digest": DIGEST, "loader": part, "chunker": part,
        "encoder": EncoderPart(name="encoder", digest=DIGEST, embedder="onnx", dimension=384, window_tokens=256, unrelated_cosine=0.037),
        "store": StorePart(kind="flat"), "keywords": KeywordPart(name="bm25s", digest=DIGEST, languages=["en"], parameters={}),
        "sentences": Part(name="units", digest=DIGEST), "counts": Counts(documents=3, chunks=12, tokens=900, sentences=40),
        "skipped": Skips(),
        "built_with": {"python": "3.11.7"}, "files": {"chunks.sqlite": {"sha256": "cd" * 32, "size_bytes": 4096}},
    }  # fmt: skip
    return Manifest.model_validate({**values, **fields})


# --- one trace


def test_a_trace_shows_what_made_the_answer_before_anything_else(pipeline: Pipeline) -> None:
    page = parsed(trace_page(kept(pipeline)))
    headings = [text_of(heading) for heading in page.css("h2")]
    assert headings == [
        "What made it", "Stages", "Candidates", "Support", "Passages in the prompt", "Prompt, exactly as sent", "Answer", "Replay",
        "Feedback", "For programs",
    ]  # fmt: skip
    rows = [text_of(row.css_first("th")) for row in page.css(".lineage tbody tr")]
    assert rows == [
        "Release", "Index version", "Corpus", "Chunker", "Embedding model", "Retrieval", "Prompt template", "Generator", "Code",
        "Container image", "Environment", "Numeric class",
    ]  # fmt: skip


def test_every_id_of_a_trace_is_a_link(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    record = answer.record
    release, version = record.lineage.release.id, record.lineage.index.version
    found = links(trace_page(answer, active_release="0" * 12))
    wanted = {
        f"/traces/{record.answer_id}", f"/traces/{record.trace_id}", f"/releases/{release}", "/releases/" + "0" * 12,
        f"/indexes/versions/{version}", f"/indexes/versions/{version}#corpus",
        *(f"/releases/{release}#{part}" for part in ("chunker", "encoder", "retrieval", "prompt", "generator", "code")),
        *(f"/chunks/{hit.chunk.id}?index_version={version}" for hit in record.hits),
    }  # fmt: skip
    assert wanted <= found
    [citation, *_] = record.citations
    start, end = citation.quote_span
    assert f"/chunks/{citation.chunk.id}?index_version={version}&quote={start}-{end}#quote" in found


def test_whole_digests_can_be_read_and_copied_where_short_ones_are_shown(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    page = parsed(trace_page(answer))
    release = answer.record.lineage.release
    titles = {element.attributes.get("title") for element in page.css("[title]")}
    copied = {button.attributes["data-copy"] for button in page.css("button.copy")}
    for digest in (release.digest, release.encoder.digest, release.code.digest, *(stage.digest for stage in answer.record.stages)):
        assert digest in titles & copied


def test_the_waterfall_has_a_bar_for_each_stage_that_lies_within_the_whole(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    page = parsed(trace_page(answer))
    bars = page.css(".bar .fill")
    assert [text_of(row.css_first("th")) for row in page.css(".stages tbody tr")] == [stage.name for stage in answer.record.stages]
    ends = [float(bar.attributes["x"] or 0) + float(bar.attributes["width"] or 0) for bar in bars]
    starts = [float(bar.attributes["x"] or 0) for bar in bars]
    assert all(0 <= start < end <= 1000.1 for start, end in zip(starts, ends, strict=True))
    assert starts == sorted(starts)


def test_each_candidate_says_what_became_of_it(pipeline: Pipeline) -> None:
    record = kept(pipeline).record
    assert {candidate.why for candidate in candidates_of(record)} == {"in the prompt"}
    cut = dataclasses.replace(record, shown=1)
    assert [candidate.why for candidate in candidates_of(cut)][:2] == ["in the prompt", "left out: did not fit into the token budget"]
    abstained = kept(pipeline, UNKNOWN).record
    assert abstained.abstain_reason == "low_confidence"
    least = f"{abstained.attempt.parameters.min_confidence:g}"
    assert {candidate.why for candidate in candidates_of(abstained)} == {
        f"not shown to the generator: confidence {abstained.confidence:.3f} is below {least}"
    }


def test_the_quoted_place_is_marked_in_the_passage_and_the_passage_is_open(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    [citation, *_] = answer.record.citations
    page = parsed(trace_page(answer))
    box = page.css_first("details.passage-box[open]")
    assert box is not None
    mark = box.css_first("mark")
    assert mark is not None
    assert mark.text() == citation.quote
    assert len(page.css("details.passage-box")) == answer.record.shown


def test_the_prompt_stands_there_to_the_letter(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    assert answer.record.prompt is not None
    system, user = parsed(trace_page(answer)).css("#prompt pre")
    assert system.text() == answer.record.prompt.system
    assert user.text() == answer.record.prompt.user


def test_an_abstention_says_why_there_is_no_answer_and_no_prompt(pipeline: Pipeline) -> None:
    page = parsed(trace_page(kept(pipeline, UNKNOWN)))
    assert "No answer: it is not sure enough that the documents answer the question." in text_of(page.css_first("#answer"))
    assert "No prompt was made" in text_of(page.css_first("#prompt"))
    assert page.css_first("#support") is None


def test_a_trace_says_how_sure_it_is_that_there_is_an_answer_and_what_each_candidate_has_of_the_question(pipeline: Pipeline) -> None:
    record = kept(pipeline).record
    candidates = parsed(trace_page(kept(pipeline))).css_first("#candidates")
    assert candidates is not None
    needed = record.attempt.parameters.min_confidence
    assert f"hold an answer: {record.confidence:.3f}, needed {needed:g}" in text_of(candidates)
    shown = [[text_of(cell) for cell in row.css("td.number")] for row in candidates.css("tbody tr")]
    assert shown == [[str(rank), f"{hit.cosine:.3f}", f"{hit.keywords:.2f}"] for rank, hit in enumerate(record.hits, start=1)]


def test_each_sentence_of_an_answer_stands_there_with_its_support_and_what_speaks_against_it(pipeline: Pipeline) -> None:
    wrong = Writes(
        completion("Every employee has 28 days of paid holiday a year [1]. Every employee has 99 days of paid holiday a year [1].")
    )
    page = parsed(trace_page(kept(with_generator(pipeline, wrong))))
    first, second = (text_of(item) for item in page.css("#support li"))
    assert first.startswith("supported Every employee has 28 days")
    assert not second.startswith("supported")
    assert "the number 99 is in no cited passage" in second


def test_without_texts_a_trace_says_so_and_shows_the_rest(pipeline: Pipeline) -> None:
    answer = without_texts(kept(pipeline))
    page = trace_page(answer)
    text = text_of(parsed(page))
    for said in ("The question is not stored", "digests only", "The answer is not stored", "The prompt is not stored"):
        assert said in text
    assert HOLIDAYS not in page
    assert f"/releases/{answer.record.lineage.release.id}#encoder" in links(page)
    check_harmless(page)


def test_what_was_masked_is_named(pipeline: Pipeline) -> None:
    answer = dataclasses.replace(kept(pipeline), redacted=frozenset({"question", "passages"}))
    assert "masked in: passages, question" in text_of(parsed(trace_page(answer)))


def test_whether_the_release_is_the_one_that_answers_now(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    release = answer.record.lineage.release.id
    assert "same release as now" in trace_page(answer, active_release=release)
    other = trace_page(answer, active_release="0" * 12)
    assert "same release as now" not in other
    assert "another release answers now: 000000000000" in other
    neither = trace_page(answer)
    assert "release as now" not in neither
    assert "answers now" not in neither


def test_what_the_request_replaced_is_marked(pipeline: Pipeline) -> None:
    page = parsed(trace_page(kept(pipeline, Question(HOLIDAYS, top_k=2))))
    assert "set by the request" in text_of(page.css_first("#part-retrieval"))
    assert "top_k 2" in text_of(page.css_first("#part-retrieval"))
    assert "set by the request" not in text_of(page.css_first("#part-prompt"))


def test_an_image_that_was_declared_is_named_and_one_that_was_not_is_explained(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    assert "not known: not declared" in text_of(parsed(trace_page(answer)).css_first("#part-image"))
    record = answer.record
    deployment: Deployment = dataclasses.replace(record.lineage.deployment, image=Image(f"registry/rag@{DIGEST}", DIGEST))
    attempt = dataclasses.replace(record.attempt, lineage=dataclasses.replace(record.lineage, deployment=deployment))
    declared = dataclasses.replace(answer, record=dataclasses.replace(record, attempt=attempt))
    assert "registry/rag" in text_of(parsed(trace_page(declared)).css_first("#part-image"))


def test_feedback_is_listed_newest_first_with_a_form_for_more(pipeline: Pipeline) -> None:
    given = (Feedback("up", "good", None, None, 1_790_000_000_000), Feedback("down", None, "30 days", "k1", 1_790_000_001_000))
    answer = dataclasses.replace(kept(pipeline), feedback=given)
    page = parsed(trace_page(answer))
    said = [text_of(item) for item in page.css(".feedback li")]
    assert "30 days" in said[0]
    assert "rated down" in said[0]
    assert "good" in said[1]
    form = page.css_first("form.feedback-form")
    assert form is not None
    assert form.attributes["action"] == f"/traces/{answer.record.answer_id}/feedback"
    assert form.attributes["method"] == "post"
    fields = {field.attributes.get("name") for field in form.css("input, textarea")}
    assert fields == {"rating", "comment", "expected"}


def test_the_command_that_asks_again_is_one_argument_of_a_shell_whatever_was_asked(pipeline: Pipeline) -> None:
    question = 'What\'s `$(reboot)` "or" \\ $HOME?'
    page = parsed(trace_page(kept(pipeline, question)))
    command = page.css(".calls pre")[2].text()
    body = json.loads(shlex.split(command)[-1])
    assert body["question"] == question
    assert body["release"] == pipeline.lineage.release.id


def test_warnings_and_the_raw_answer_are_shown(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    noticed = dataclasses.replace(answer.record, notices=(Notice("citation_dropped", "one marker"),), raw_answer="Raw words [9].")
    text = text_of(parsed(trace_page(dataclasses.replace(answer, record=noticed))))
    assert "citation_dropped one marker" in text
    assert "Raw words [9]." in text


# --- replay and comparison


def test_a_replay_shows_its_verdict_and_every_stage(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    page = parsed(trace_page(answer, replay=replayed(pipeline, answer)))
    verdict = page.css_first(".verdict")
    assert text_of(verdict).startswith("exact all ")
    assert verdict is not None
    assert "good" in (verdict.attributes["class"] or "")
    outcomes = [text_of(row.css("td")[-1]) for row in page.css("#replay tbody tr")]
    assert outcomes == ["the same"] * len(answer.record.stages)
    form = page.css_first("#replay form[method=post]")
    assert form is not None
    assert form.attributes["action"] == f"/traces/{answer.record.answer_id}/replay#replay"


def test_a_replay_that_parted_shows_where_and_how(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    [first, *rest] = answer.record.hits
    stages = tuple(
        dataclasses.replace(stage, digest=DIGEST) if stage.name in ("retrieve", "prompt", "generate", "cite") else stage
        for stage in answer.record.stages
    )
    record = dataclasses.replace(
        answer.record,
        hits=(*rest, dataclasses.replace(first, chunk=dataclasses.replace(first.chunk, id=ChunkId("f" * 32)))),
        attempt=dataclasses.replace(answer.record.attempt, stages=stages),
        answer="Nine days. [1]",
    )
    made = replayed(pipeline, dataclasses.replace(answer, record=record))
    assert made.verdict == "diverged_at:retrieve"
    page = parsed(trace_page(answer, replay=made))
    assert "diverged_at:retrieve" in text_of(page.css_first(".verdict"))
    assert page.css("#replay .hit-differences tbody tr")
    recorded, again = page.css("#replay .side")
    assert text_of(recorded) == "As recorded Nine days. [1]"
    assert text_of(again) == f"Made again {' '.join((made.answer or '').split())}"
    assert recorded.css("del")
    assert again.css("ins")
    check_harmless(trace_page(answer, replay=made))


def test_a_replay_that_could_not_be_made_says_what_is_missing(pipeline: Pipeline) -> None:
    answer = kept(pipeline)
    made, _ = replay(answer, lambda _: Missing("index", "index version 1 is gone"), pipeline.lineage.deployment)
    text = text_of(parsed(trace_page(answer, replay=made)).css_first("#replay"))
    assert "not_replayable:index" in text
    assert "index version 1 is gone" in text


def test_two_answers_of_two_releases_stand_side_by_side(pipeline: Pipeline) -> None:
    a, b = kept(pipeline), kept(with_top_k(pipeline, 2))
    comparison = compare(a, b)
    page = compare_page(a, b, comparison)
    read = parsed(page)
    assert comparison.headline in text_of(read)
    assert len(read.css(".side")) == 2
    assert "retrieval.top_k" in text_of(read.css_first(".differences"))
    assert text_of(read.css_first("tr.first th")) == "retrieve"
    assert "only in A" in text_of(read.css_first(".hit-differences"))
    for answer in (a, b):
        assert f"/traces/{answer.record.answer_id}" in links(page)
        assert f"/releases/{answer.record.lineage.release.id}" in links(page)
    assert f"/traces/compare?a={b.record.answer_id}&b={a.record.answer_id}" in links(page)
    check_harmless(page)


@pytest.mark.parametrize(
    "change",
    [lambda pipeline: kept(pipeline), lambda pipeline: kept(pipeline, UNKNOWN), lambda pipeline: without_texts(kept(pipeline))],
    ids=["the same", "an abstention", "no texts"],
)
def test_any_two_answers_can_be_compared(pipeline: Pipeline, change: Callable[[Pipeline], Kept]) -> None:
    a, b = kept(pipeline), change(pipeline)
    for first, second in ((a, b), (b, a)):
        page = compare_page(first, second, compare(first, second))
        check_harmless(page)
        assert len(parsed(page).css(".side")) == 2


# --- the list


def test_the_list_shows_each_answer_with_what_it_is_found_by() -> None:
    listed = dataclasses.replace(row(3, status="abstained", abstain_reason="no_hits", repeats="ans_" + "9" * 32), rating="down")
    page = traces_page(Page((listed,), None), RecordQuery(), active_release="a" * 12)
    cells = text_of(parsed(page).css_first("tbody tr"))
    for shown in ("2026-09-21 14:13:20", HOLIDAYS, "abstained", "cached", "0.5123", "a" * 12, "12.3 ms", "rated down"):
        assert shown in cells
    assert {f"/traces/{listed.row.answer_id}", "/releases/" + "a" * 12, "/traces/ans_" + "9" * 32} <= links(page)
    check_harmless(page)


def test_filters_stand_in_the_form_as_they_were_given_and_in_the_link_to_older_ones() -> None:
    query = RecordQuery(
        since_ms=1_790_000_040_000, status="answered", release="a" * 12, score_below=0.4, text='"days" & more', rating="up", limit=20
    )
    page = traces_page(Page((row(),), 41), query)
    read = parsed(page)
    values = {field.attributes["name"]: field.attributes.get("value") for field in read.css("form.filters input")}
    assert values["text"] == '"days" & more'
    assert (values["release"], values["score_below"]) == ("a" * 12, "0.4")
    assert values["since"] == "2026-09-21T14:14"
    assert [text_of(option) for option in read.css("form.filters option[selected]")] == ["answered", "up"]
    older = read.css_first("a[rel=next]")
    assert older is not None
    assert html.unescape(older.attributes["href"] or "") == (
        f"/traces?since=2026-09-21T14%3A14&status=answered&release={'a' * 12}&score_below=0.4&rating=up&text=%22days%22+%26+more"
        "&before=41&limit=20"
    )


def test_a_page_of_the_list_is_bounded() -> None:
    page = traces_page(Page(tuple(row(number) for number in range(1000)), 5), RecordQuery())
    assert len(parsed(page).css("tbody tr")) == MOST_ROWS


def test_a_question_that_is_not_stored_still_leads_to_its_trace() -> None:
    page = traces_page(Page((row(question=None, answer=None),), None), RecordQuery())
    assert "not stored" in text_of(parsed(page).css_first("tbody tr"))
    assert f"/traces/ans_{1:032x}" in links(page)


@pytest.mark.parametrize(
    ("query", "said"),
    [(RecordQuery(), "Nothing has been asked yet."), (RecordQuery(text="x"), "No answer fits these filters.")],
)
def test_an_empty_list_says_why(query: RecordQuery, said: str) -> None:
    assert said in text_of(parsed(traces_page(Page((), None), query)))


# --- indexes and releases


def test_an_index_version_shows_its_parts_files_and_what_was_skipped() -> None:
    skipped = Skips(by_reason={"empty": 2}, listed=[SkippedInput(source="a.pdf", reason="empty", detail="no text")])
    found = manifest(skipped=skipped)
    facts = BuildFacts(built_at="2026-11-01T10:00:00Z", duration_s=3.25, source="/srv/private/handbook")
    page = version_page("handbook", ShelvedVersion(found.id, found, facts, None), ["1" * 12], "1" * 12)
    text = text_of(parsed(page))
    for shown in (found.id, "2026-11-01 10:00:00", "chunks.sqlite", "4.0 KiB", "2 empty", "a.pdf", "no text", "max_tokens 192", "3.11.7"):
        assert shown in text
    assert "handbook" in text
    assert "/srv" not in page
    assert "/releases/" + "1" * 12 in links(page)
    assert f'title="{DIGEST}"' in page
    check_harmless(page)


def test_what_is_damaged_is_listed_with_what_is_wrong_with_it(pipeline: Pipeline) -> None:
    release = pipeline.lineage.release
    page = indexes_page(
        "handbook",
        [ShelvedVersion("b" * 12, None, None, "its manifest is damaged")],
        [ShelvedRelease("a" * 12, None, "it is damaged"), ShelvedRelease(release.id, release, None)],
        release.id,
    )
    text = text_of(parsed(page))
    assert "its manifest is damaged" in text
    assert "it is damaged" in text
    assert text_of(parsed(page).css_first("tr.active th")) == f"{release.id} active"
    check_harmless(page)
    check_harmless(version_page("handbook", ShelvedVersion("b" * 12, None, None, "its manifest is damaged"), [], None))


def test_a_release_has_a_place_for_each_part_that_traces_lead_to(pipeline: Pipeline) -> None:
    release = pipeline.lineage.release
    page = release_page("handbook", release, release.id)
    read = parsed(page)
    for part in ("index", "chunker", "encoder", "retrieval", "prompt", "generator", "code"):
        assert read.css_first(f"#{part}") is not None
    assert release.digest in text_of(read)
    assert [pre.text() for pre in read.css("#prompt pre")] == [pipeline.template.system, pipeline.template.user]
    check_harmless(page)


def test_a_release_that_is_not_active_says_where_it_differs(pipeline: Pipeline) -> None:
    release, active = with_top_k(pipeline, 2).lineage.release, pipeline.lineage.release
    page = release_page("handbook", release, active.id, active_release=active, index_is_there=False)
    assert "retrieval.top_k" in text_of(parsed(page).css_first(".differences"))
    assert "deleted" in text_of(parsed(page).css_first("#index"))
    assert f"/indexes/versions/{release.index.version}" not in links(page)


def test_a_prompt_that_the_program_no_longer_has_is_not_shown_as_another(pipeline: Pipeline) -> None:
    release = pipeline.lineage.release
    changed = release.model_copy(update={"prompt": release.prompt.model_copy(update={"digest": DIGEST})})
    assert "has other bytes, or is gone" in text_of(parsed(release_page("handbook", changed, None)))


# --- asking, passages, errors


def test_the_page_to_ask_on_names_what_answers_and_keeps_what_was_typed(pipeline: Pipeline) -> None:
    page = ask_page(pipeline.lineage, form=Form(question="Why <b>?", top_k="3"))
    read = parsed(page)
    box = read.css_first("textarea#question")
    assert box is not None
    assert box.text() == "Why <b>?"
    assert read.css_first("details.options[open]") is not None
    assert pipeline.lineage.release.id in text_of(read)
    assert f"{pipeline.lineage.index.chunks} passages" in text_of(read)
    check_harmless(page)
    partly = ask_page(pipeline.lineage, whole=False)
    assert "passages," not in text_of(parsed(partly))


def test_an_answer_without_a_script_has_the_same_parts(pipeline: Pipeline) -> None:
    record = kept(pipeline).record
    page = ask_page(pipeline.lineage, form=Form(question=HOLIDAYS), record=record)
    read = parsed(page)
    assert record.answer is not None
    assert text_of(read.css_first("#answer")) == " ".join(record.answer.split())
    assert len(read.css("#sources li")) == len(record.hits)
    [citation, *_] = record.citations
    start, end = citation.quote_span
    assert f"/chunks/{citation.chunk.id}?index_version={record.lineage.index.version}&quote={start}-{end}#quote" in links(page)
    check_harmless(page)
    abstained = ask_page(pipeline.lineage, record=kept(pipeline, UNKNOWN).record)
    assert "No answer: it is not sure enough that the documents answer the question." in text_of(parsed(abstained))


def test_a_problem_is_said_in_words_with_the_trace_id(pipeline: Pipeline) -> None:
    page = parsed(ask_page(pipeline.lineage, problem=Problem("the queue is full", "c" * 32)))
    assert text_of(page.css_first("#problem")) == f"the queue is full Trace id {'c' * 32}"
    assert "Nothing can be asked yet" in text_of(parsed(ask_page(None)))


@pytest.mark.parametrize("quote", [None, (0, 5), (3, 10**8), (7, 7), (10**8, 10**9)])
def test_a_passage_is_shown_whole_with_the_quote_marked_if_it_lies_in_it(pipeline: Pipeline, quote: tuple[int, int] | None) -> None:
    chunk = pipeline.chunks.chunks([0])[0]
    page = chunk_page(chunk, "b" * 12, quote=quote)
    read = parsed(page)
    shown = read.css_first("pre.passage")
    assert shown is not None
    assert shown.text() == chunk.text
    marks = [mark.text() for mark in read.css("mark#quote")]
    assert marks == ([chunk.text[quote[0] : quote[1]]] if quote and chunk.text[quote[0] : quote[1]] else [])
    check_harmless(page)


def test_pages_offer_only_what_a_key_is_for() -> None:
    def offered(*scopes: str) -> list[str]:
        page = parsed(error_page(404, "nothing", "", "0" * 32, viewer=Viewer("frontend", frozenset(scopes))))
        return [text_of(link) for link in page.css("nav a")]

    assert offered("ask") == ["Ask"]
    assert offered("traces") == ["Traces", "Indexes", "Drift"]
    assert offered("admin") == ["Indexes", "Drift"]
    assert offered(*ANYBODY.scopes) == ["Ask", "Traces", "Indexes", "Drift"]


def test_the_name_of_a_key_is_text() -> None:
    page = error_page(404, "nothing", "", "0" * 32, viewer=Viewer("<script>alert(1)</script>", frozenset({"ask"})))
    assert text_of(parsed(page).css_first(".who span")) == "<script>alert(1)</script>"
    check_harmless(page)


def test_an_error_page_says_what_is_wrong_and_under_which_id_the_log_has_it() -> None:
    page = error_page(404, "there is no release <x>", "look again", "c" * 32)
    assert "there is no release <x>: look again" in text_of(parsed(page))
    assert "c" * 32 in page
    check_harmless(page)
    check_harmless(error_page(418, "teapot", "", "c" * 32))


def test_the_page_to_sign_in_on_has_nothing_but_a_form() -> None:
    page = sign_in_page(goes_to="/traces?text=%22", problem="this key is not valid")
    check_harmless(page)
    form = parsed(page).css_first("form")
    assert form is not None
    assert {field.attributes["name"]: field.attributes["type"] for field in form.css("input")} == {"next": "hidden", "key": "password"}


def test_what_pages_link_to_is_named_by_its_content() -> None:
    page = sign_in_page()
    for name in STATIC_FILES:
        assert f"/static/{name}?v={static_file(name).tag}" in page
    style = static_file("app.css").content.decode()
    assert not re.search(r"url\(|@import|expression", style), "a style sheet that loads nothing"
    script = static_file("app.js").content.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)
