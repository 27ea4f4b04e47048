"""Runs on disk: what was written is read again, and one is found by its name."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from eval.questions import EvalQuestion
from eval.results import Gold, GoldSpan, Run
from eval.runs import RUN_FILE, from_json, read_run, run_folder, to_json, write_run
from eval.sample import Cited, Failure, Judged, Ranked, Sample
from eval.scores import Failed, Score, Undefined
from rag_service.errors import Conflict, InvalidInput, NotFound
from rag_service.types import Notice
from tests.eval.built import a_candidate, a_row, a_run


def whole_run() -> Run:
    """With something in every field of a row."""
    question = EvalQuestion("é", "Wo steht 🗼?", ("Paris",), {"tower": 2}, True, tags=("a",), facts=(("Paris", "in Paris"),), split="dev")
    ranked = (Ranked("c1", "tower", 0, 10, 0.123456789012345678), Ranked("c2", "tower", 10, 20, -1e-300))
    sample = Sample(
        status="answered",
        answer="In Paris [1].\u2028",
        plain="In Paris.",
        confidence=0.1 + 0.2,
        pool=ranked,
        hits=ranked,
        shown=1,
        cited=(Cited(1, "c1", "tower", 0, 9, True),),
        sentences=(Judged("partly", True, False),),
        notices=(Notice("answer_truncated", "why"),),
        prompt_digest="sha256:0",
        prompt_tokens=7,
        completion_tokens=None,
        took_ms={"total": 1.5, "embed": 0.0},
    )
    failed = Sample(status="error", failures=(Failure("ask", "generator_failed", "gone", None),))
    gold = Gold({"tower": 2}, 1, ((GoldSpan("tower", 0, 5), GoldSpan("tower", 7, 9)),))
    scores = {"right": 1.0, "less": 1 / 3, "none": Undefined("nothing is known"), "broken": Failed("generator_failed")}
    rows = [
        a_row(question, sample, scores, gold=gold, oracle=sample, closed_book=failed, label="reader_miss", evidence="why"),
        a_row(EvalQuestion("q2", "What?"), failed, {"broken": Failed("generator_failed")}),
    ]
    metrics = {"retrieval": {"right": Score(0.5, 2, 1, 0, 1), "none": Score(Undefined("nothing"), 2, 0, 2)}}
    candidate = a_candidate("base", rows, metrics=metrics, headroom={"reader": Score(0.25, 2, 2)}, warnings=("few questions",))
    return a_run(candidate, texts={"c1": "In Paris\n"}, metric_versions={"right": 2})


def named(identifier: str) -> Run:
    return replace(whole_run(), id=identifier)


def test_a_run_that_is_read_equals_the_one_that_was_written(tmp_path: Path) -> None:
    run = whole_run()
    folder = write_run(tmp_path, run)
    assert folder == tmp_path / "runs" / run.id
    assert read_run(folder) == run
    assert from_json(to_json(run)) == run
    assert to_json(read_run(folder)) == to_json(run)


def test_a_run_is_one_line_of_json_that_names_its_schema() -> None:
    text = to_json(whole_run())
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert '"schema":"rag.eval/v2"' in text
    assert '"none":{"undefined":"nothing is known"}' in text
    assert '"broken":{"failed":"generator_failed"}' in text


def test_a_run_of_the_same_content_is_written_over_and_what_was_decided_stays(tmp_path: Path) -> None:
    folder = write_run(tmp_path, named("abcdef123456"))
    (folder / "decision.json").write_text("decided")
    later = replace(named("abcdef123456"), created_at="2027-01-01T00:00:00Z")
    assert write_run(tmp_path, later) == folder
    assert read_run(folder) == later
    assert (folder / "decision.json").read_text() == "decided"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three runs; the one whose name comes first is the newest."""
    for age, identifier in enumerate(["aaaa11111111", "aaaa22222222", "bbbb33333333"]):
        file = write_run(tmp_path, named(identifier)) / RUN_FILE
        os.utime(file, (2_000_000_000 - age, 2_000_000_000 - age))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("bbbb33333333", "bbbb33333333"),
        ("bbbb", "bbbb33333333"),
        ("aaaa2", "aaaa22222222"),
        ("latest", "aaaa11111111"),
    ],
)
def test_a_run_is_found_by_its_id_the_beginning_of_one_or_as_the_latest(home: Path, name: str, found: str) -> None:
    assert run_folder(home, name) == home / "runs" / found


def test_a_run_is_found_by_its_folder_or_file_wherever_that_is(home: Path, tmp_path: Path) -> None:
    folder = home / "runs" / "bbbb33333333"
    assert run_folder(tmp_path / "elsewhere", str(folder)) == folder
    assert run_folder(tmp_path / "elsewhere", str(folder / RUN_FILE)) == folder


def test_a_beginning_of_several_ids_is_a_conflict_that_names_them(home: Path) -> None:
    with pytest.raises(Conflict, match="2 runs begin with aaaa") as raised:
        run_folder(home, "aaaa")
    assert sorted(raised.value.hint.split(", ")) == ["aaaa11111111", "aaaa22222222"]


@pytest.mark.parametrize("name", ["cccc", "aaa", "", "*", "bbbb33333333x", "../runs/bbbb33333333", "Latest"])
def test_what_names_no_run_is_not_found_and_the_newest_are_said(home: Path, name: str) -> None:
    with pytest.raises(NotFound) as raised:
        run_folder(home, name)
    assert raised.value.hint == "newest first: aaaa11111111, aaaa22222222, bbbb33333333"


@pytest.mark.parametrize("name", ["latest", "aaaa"])
def test_where_nothing_was_run_it_is_said_how_to(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound) as raised:
        run_folder(tmp_path, name)
    assert "python -m eval run" in raised.value.hint


def test_a_folder_without_a_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no run in"):
        read_run(tmp_path)


def test_wherever_a_byte_of_a_run_is_altered_it_is_damaged_and_never_another_run(tmp_path: Path) -> None:
    run = whole_run()
    file = write_run(tmp_path, run) / RUN_FILE
    whole = file.read_bytes()
    places = range(0, len(whole), 3)
    damaged = 0
    for place in places:
        altered = bytearray(whole)
        altered[place] ^= 0x10
        file.write_bytes(altered)
        try:
            assert read_run(file.parent) == run  # some bits say nothing
        except InvalidInput:
            damaged += 1
    assert damaged > 0.9 * len(places)


@pytest.mark.parametrize("keep", [0, 1, 100])
def test_a_run_that_was_cut_off_is_damaged(tmp_path: Path, keep: int) -> None:
    file = write_run(tmp_path, whole_run()) / RUN_FILE
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InvalidInput, match="is damaged"):
        read_run(file.parent)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"{", "the file"),
        (b"\xff\xfe", "the file"),
        (b"[]", "the file"),
        (b"{}", "id"),
        (to_json(whole_run()).replace("rag.eval/v2", "rag.eval/v1").encode(), "schema"),
        (to_json(whole_run()).replace('"shown":1', '"shown":"many"', 1).encode(), r"candidates\.0\.rows\.0\.sample\.shown"),
    ],
)
def test_what_is_no_run_of_this_schema_is_said_with_the_place(tmp_path: Path, text: bytes, place: str) -> None:
    file = write_run(tmp_path, whole_run()) / RUN_FILE
    file.write_bytes(zstandard.compress(text))
    with pytest.raises(InvalidInput, match=f"schema rag.eval/v2: {place}: "):
        read_run(file.parent)
