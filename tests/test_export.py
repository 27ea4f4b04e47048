"""Records as files: what each form holds, and that hostile text stays text in all of them."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from eval.questions import read_questions
from rag_service.ask import Pipeline
from rag_service.export import as_json_line, as_question_line, write_parquet
from rag_service.kept import Content, Feedback, Kept, RecordQuery
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.question import Question
from rag_service.record import Receipt, Record
from rag_service.redaction import MASK
from rag_service.stored_record import entry_of, kept_from
from tests.conftest import Cli, fill
from tests.doubles import HOLIDAYS
from tests.recorded import abstained, answer_id, cited, entry, feedback, ledger_at, record

RECEIPT = Receipt(7, "sha256:" + "e" * 64)
EMAIL = "joe.doe@example.com"


def kept(made: Record, *said: Feedback, content: Content = "full", key_id: str | None = None) -> Kept:
    """As it comes back from a ledger."""
    one = entry_of(made, content=content, key_id=key_id)
    return kept_from(one.body, one.vector, one.lineage, RECEIPT, said)


def line(*given: Any, **named: Any) -> Any:
    return json.loads(as_json_line(kept(*given, **named)))


def question(*given: Any, **named: Any) -> Any:
    found = as_question_line(kept(*given, **named))
    return found if found is None else json.loads(found)


def parquet(path: Path, records: Iterable[Kept]) -> list[dict[str, Any]]:
    records = list(records)
    assert write_parquet(records, path) == len(records)
    return pyarrow.parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types


# JSON lines


def test_a_line_holds_what_went_out_and_what_made_it() -> None:
    made = record(3)
    found = line(made, feedback("down", comment="no", expected="30 days"), key_id="frontend")
    assert made.prompt is not None
    assert {name: found[name] for name in ("answer_id", "question", "query", "answer", "raw_answer", "key_id", "content", "redacted")} == {
        "answer_id": made.answer_id, "question": made.question, "query": made.query, "answer": made.answer, "raw_answer": made.raw_answer,
        "key_id": "frontend", "content": "full", "redacted": [],
    }  # fmt: skip
    assert found["prompt"] == {"system": made.prompt.system, "user": made.prompt.user}
    assert [hit["text"] for hit in found["hits"]] == [hit.chunk.text for hit in made.hits]
    assert found["trace"]["receipt"] == {"seq": 7, "digest": RECEIPT.digest}
    assert found["trace"]["release"]["digest"] == made.lineage.release.digest
    assert found["feedback"] == [{"rating": "down", "comment": "no", "expected": "30 days", "key_id": None, "at_ms": feedback().at_ms}]


def test_a_line_of_digests_alone_says_that_texts_are_not_there() -> None:
    found = line(record(3), content="digest")
    assert [found[name] for name in ("question", "query", "answer", "raw_answer", "prompt")] == [None] * 5
    assert [hit["text"] for hit in found["hits"]] == [None, None]
    assert found["question_digest"].startswith("sha256:")


@pytest.mark.parametrize("text", ['"},{"', "line\nbreak\r\n\u2028\u2029", "\x00\x1b[31m", "</script>", "=1+1", "half \ud83d", "é 𝕏"])
def test_a_line_is_one_line_whatever_the_text(text: str) -> None:
    written = as_json_line(kept(record(1, question=text, answer=text, citations=())))
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert json.loads(written)["question"] == text.encode("utf-8", "replace").decode()


# Parquet


def test_parquet_reads_back_with_its_types(tmp_path: Path) -> None:
    made, none = record(3), abstained(4)
    first, second = parquet(tmp_path / "records.parquet", [kept(made, feedback("up", comment="good"), key_id="k"), kept(none)])
    assert first["created_at"] == made.created_at.astimezone(UTC)
    assert (first["seq"], first["key_id"], first["rating"], first["comment"], first["top_score"]) == (7, "k", "up", "good", 0.75)
    assert first["query_vector"] == made.query_vector.tolist()
    assert first["chunk_ids"] == [hit.chunk.id for hit in made.hits]
    assert first["scores"] == [0.75, 0.5]
    assert first["cited_chunk_ids"] == [made.hits[0].chunk.id]
    assert [stage["name"] for stage in json.loads(first["stages"])] == ["embed", "retrieve"]
    assert json.loads(first["citations"])[0]["quote"] == made.citations[0].quote
    assert (second["status"], second["abstain_reason"], second["answer"], second["top_score"]) == ("abstained", "no_hits", None, None)
    assert (second["chunk_ids"], second["rating"]) == ([], None)


def test_parquet_of_digests_alone_has_no_texts_and_no_vectors(tmp_path: Path) -> None:
    [row] = parquet(tmp_path / "records.parquet", [kept(record(3), content="digest")])
    assert {name for name in row if row[name] is None} >= {"question", "query", "answer", "rendered_prompt", "query_vector"}


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1200])
def test_parquet_holds_every_record_in_order_however_many(tmp_path: Path, count: int) -> None:
    one = kept(record(1))
    numbered = (dataclasses.replace(one, receipt=Receipt(number, RECEIPT.digest)) for number in range(count))
    assert [row["seq"] for row in parquet(tmp_path / "records.parquet", numbered)] == list(range(count))


# Questions of an evaluation


def test_what_it_should_have_been_is_the_gold_and_the_last_word_counts() -> None:
    said = [feedback("up", expected="29 days"), feedback("down"), feedback(None, expected="30 days"), feedback(None, comment="so")]
    assert question(record(3), *said) == {
        "id": answer_id(3), "question": record(3).query, "answers": ["30 days"], "answerable": True,
        "tags": ["rated:down", f"release:{record(3).lineage.release.id}"],
    }  # fmt: skip


def test_an_answer_that_was_liked_is_its_own_gold_without_markers() -> None:
    made = record(3, answer="Employee 3 has 28 days [1], and trains [2].")
    made = dataclasses.replace(
        made,
        citations=tuple(
            dataclasses.replace(cited(hit, "", quote_span=(0, 3), marker=n), answer_span=(at, at + 3))
            for n, hit, at in ((1, made.hits[0], 23), (2, made.hits[1], 39))
        ),
    )
    found = question(made, feedback("up"))
    assert (found["answers"], found["relevant_ids"], found["answerable"]) == (
        ["Employee 3 has 28 days, and trains."], ["page1.md", "page2.md"], True,
    )  # fmt: skip


def test_an_abstention_that_was_liked_is_a_question_without_an_answer() -> None:
    found = question(abstained(3), feedback("up"))
    assert found["answerable"] is False
    assert "answers" not in found


@pytest.mark.parametrize("said", [[], [feedback("down")], [feedback(None, comment="hm")]])
def test_what_nobody_liked_has_no_gold(said: list[Feedback]) -> None:
    assert set(question(record(3), *said)) == {"id", "question", "tags"}


def test_a_question_that_was_not_stored_is_none() -> None:
    assert question(record(3), content="digest") is None
    assert question(record(3, question=f"Is {EMAIL} in?", query=f"is {EMAIL} in")) is None


def test_exported_questions_are_read_and_scored_by_the_harness(own_indexes: Path, pipeline: Pipeline, cli: Cli, tmp_path: Path) -> None:
    path = own_indexes / "ledger.sqlite"
    asked = [pipeline.ask(Question(text)) for text in (HOLIDAYS, "Who wears a yellow badge?", "What is the capital of Mongolia?")]
    with ledger_at(path) as ledger:
        for made in asked:
            ledger.add(entry_of(made, content="full", key_id=None)).result(timeout=10)
            ledger.rate(made.answer_id, feedback("up"))
    to = tmp_path / "rated.jsonl"
    assert cli("trace", "export", "--as", "questions", "--rating", "up", "--to", to, "--ledger", path).code == 0
    read = read_questions(to)
    assert [one.question for one in read.questions] == [made.query for made in asked]
    assert [one.answerable for one in read.questions] == [True, True, False]
    assert [len(one.relevant) for one in read.questions] == [1, 1, 0]
    scored = run_eval(to, own_indexes)
    assert scored.returncode == 0, scored.stderr
    assert "2 answerable, 1 unanswerable, 2 with gold documents" in scored.stdout
    assert re.search(r"em +1\.0000", scored.stdout), "its own answers are not the gold"


def run_eval(questions: Path, indexes: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "eval", "run", str(questions), "--name", "handbook", "--all", "--indexes", str(indexes)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=questions.parent, check=False)


# The command


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    with ledger_at(path) as ledger:
        for number in range(1, 6):
            ledger.add(entry(number, question=f"Where is {EMAIL}?" if number == 4 else "")).result(timeout=10)
        ledger.rate(answer_id(2), feedback("up"))
        ledger.rate(answer_id(3), feedback("down"))
    return path


@pytest.mark.parametrize(
    ("options", "numbers"),
    [([], [1, 2, 3, 4, 5]), (["--rating", "up"], [2]), (["--rating", "any"], [2, 3]), (["--release", "0" * 12], []),
     (["--id", answer_id(5), "--id", answer_id(1)], [5, 1])],
)  # fmt: skip
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_command_writes_what_is_asked_for(
    path: Path, cli: Cli, tmp_path: Path, options: list[str], numbers: list[int], form: str
) -> None:
    to = tmp_path / "out"
    written = cli("trace", "export", "--ledger", path, "--as", form, "--to", to, *options)
    assert (written.code, written.out) == (0, "")
    assert f"written {len(numbers)} records" in written.err
    rows = pyarrow.parquet.read_table(to).to_pylist() if form == "parquet" else [json.loads(row) for row in to.read_text().splitlines()]
    assert [row["answer_id"] for row in rows] == [answer_id(number) for number in numbers]


def test_what_was_masked_stays_masked(path: Path, cli: Cli, tmp_path: Path) -> None:
    for form in ("jsonl", "parquet", "questions"):
        to = tmp_path / form
        assert cli("trace", "export", "--ledger", path, "--as", form, "--to", to).code == 0
        assert EMAIL.encode() not in to.read_bytes()
    assert MASK * len(EMAIL) in (tmp_path / "jsonl").read_text()
    assert len((tmp_path / "questions").read_text().splitlines()) == 4  # without the one that was masked


def test_lines_go_to_standard_output_and_parquet_does_not(path: Path, command: Callable[..., Any]) -> None:
    written = command("trace", "export", "--ledger", path)
    assert len([json.loads(row) for row in written.out.splitlines()]) == 5
    refused = command("trace", "export", "--ledger", path, "--as", "parquet")
    assert refused.code == 1
    assert "--to" in refused.err


def test_a_file_that_cannot_be_written_is_an_error_in_words(path: Path, cli: Cli, tmp_path: Path) -> None:
    for form in ("jsonl", "parquet"):
        refused = cli("trace", "export", "--ledger", path, "--as", form, "--to", tmp_path / "no" / "such" / "folder")
        assert refused.code == 1
        assert "error could not write folder: No such file or directory" in refused.err


def test_a_full_disk_ends_an_export_in_words(path: Path, cli: Cli, small_disk: Path) -> None:
    fill(small_disk, leave_bytes=4096)
    for form in ("jsonl", "parquet"):
        refused = cli("trace", "export", "--ledger", path, "--as", form, "--to", small_disk / "out")
        assert refused.code == 1
        assert "error could not write out: No space left on device" in refused.err


def test_an_export_while_answers_are_erased_holds_what_is_left(path: Path) -> None:
    ledger = SqliteLedger(path)
    reading = ledger.records(RecordQuery())
    first = next(reading)
    ledger.erase_answers([answer_id(3)])
    rest = [one.record.answer_id for one in reading if isinstance(one, Kept)]
    ledger.close()
    assert isinstance(first, Kept)
    assert [first.record.answer_id, *rest] == [answer_id(number) for number in (1, 2, 4, 5)]
