"""Runs as files for other tools: what those tools compute from them is what the run says."""

import csv
import io
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from eval.cli.export import export
from eval.reports.ragas import as_ragas
from eval.reports.spreadsheet import as_csv, safe
from eval.reports.trec import field, qrels, shortened, strictly_decreasing, trec_run
from eval.results import Gold, Measured
from eval.runs import write_run
from eval.sample import Ranked
from eval.scores import Undefined
from tests.eval.reported import TEXTS, N, a_failed_row, a_question, a_told_row, base, candidate, rows_of, told, told_run

FORMULAS = ("=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "＠x", '=HYPERLINK("http://attacker.example")')


def by_trec_eval(one: Measured, measures: set[str]) -> dict[str, dict[str, float]]:
    """What trec_eval says of the files, per question."""
    run: dict[str, dict[str, float]] = {}
    for line in trec_run(one).splitlines():
        question, _, document, _, score, _ = line.split(" ")
        run.setdefault(question, {})[document] = float(score)
    judged: dict[str, dict[str, int]] = {}
    for line in qrels(one).splitlines():
        question, _, document, grade = line.split(" ")
        judged.setdefault(question, {})[document] = int(grade)
    found: dict[str, dict[str, float]] = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    return found


def with_ties() -> Measured:
    """Chunks of one document at several ranks, equal scores, and names whose order is against the ranks."""
    rows = []
    for number in range(6):
        row = a_told_row(number, right=True, question=a_question(number, answerable=True, answers=("1",), relevant={"b": 2, "d": 1}))
        documents = ["z", "b", "z", "a", "d", "b", "y"][number % 3 :]
        pool = tuple(Ranked(f"c{number}-{place}", document, 0, 10, 0.5 if place < 4 else 0.25) for place, document in enumerate(documents))
        rows.append(replace(row, gold=Gold({"b": 2, "d": 1}, 0), sample=replace(row.sample, pool=pool)))
    from eval.scoring import score

    return told("ties", [replace(row, scores=score(row.question, row.gold, row.sample, texts=TEXTS, answers=True)) for row in rows])


@pytest.mark.parametrize("one", [base(), candidate(), with_ties()], ids=["base", "candidate", "ties"])
def test_trec_eval_computes_from_the_files_what_the_run_says(one: Measured) -> None:
    names = {"ndcg_cut_10": "ndcg@10", "recip_rank": "rr@10", "map": "ap", "recall_5": "recall@5", "P_5": "p@5"}
    found = by_trec_eval(one, {"ndcg_cut.10", "recip_rank", "map", "recall.5", "P.5"})
    assert len(found) == sum(bool(row.gold.relevant) for row in one.rows)
    for row in one.rows:
        if row.gold.relevant:
            for theirs, ours in names.items():
                assert found[row.id][theirs] == pytest.approx(row.scores[ours], abs=1e-6), (row.id, ours)


def test_a_document_stands_once_where_its_best_chunk_stands() -> None:
    lines = [line.split(" ") for line in trec_run(with_ties()).splitlines() if line.startswith("q0 ")]
    assert [(document, rank) for _, _, document, rank, _, _ in lines] == [("z", "1"), ("b", "2"), ("a", "3"), ("d", "4"), ("y", "5")]
    assert {tag for *_, tag in lines} == {"ties"}


@given(st.lists(st.floats(-1e6, 1e6, width=32)))
def test_scores_decrease_strictly_also_in_32_bits(scores: Sequence[float]) -> None:
    ordered = sorted(scores, reverse=True)
    written = [float(np.float32(f"{score:.9g}")) for score in strictly_decreasing(ordered)]
    assert all(before > after for before, after in itertools.pairwise(written))
    assert all(math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-3) for one, other in zip(written, ordered, strict=True))


@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_become_one_field_and_different_ids_stay_different(one: str, other: str) -> None:
    assert len(field(one).split()) == 1
    assert (field(one) == field(other)) == (one == other)
    assert field("guide/a b.md") == "guide/a%20b.md"


def test_questions_that_are_not_scored_by_documents_have_no_judgements() -> None:
    rows = rows_of(range(6), n=6)
    rows[0] = replace(rows[0], gold=Gold({"doc-0": 1}, missing=1))
    judged = {line.split(" ")[0] for line in qrels(told("some", rows)).splitlines()}
    assert judged == {"q1", "q2", "q3", "q5"}  # not q4, which is unanswerable


def test_a_ranking_that_a_run_keeps_in_part_is_told() -> None:
    whole = base()
    assert shortened(whole) == 0
    cut = replace(whole, rows=tuple(replace(row, sample=replace(row.sample, pool=row.sample.pool[:1])) for row in whole.rows))
    assert shortened(cut) == 16  # the answerable questions whose gold stood at rank 4


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_csv_has_one_row_for_each_question_and_candidate() -> None:
    rows = read_csv(as_csv(told_run()))
    assert [(row["question_id"], row["candidate"]) for row in rows] == [
        *((f"q{number}", "base") for number in range(N)),
        *((f"q{number}", "better") for number in range(N)),
    ]
    first = rows[0]
    assert (first["correct"], first["status"], first["label"], first["answerable"]) == ("1", "answered", "right", "true")
    assert (first["documents_in_prompt"], first["references"], first["total_ms"]) == ("doc-0|doc-50|doc-51", "1000", "15")


def test_what_is_no_number_is_an_empty_cell_with_its_reason() -> None:
    rows = [replace(a_failed_row(0), scores={"f1": Undefined("nothing to compare"), **a_failed_row(0).scores})]
    rows[0] = replace(rows[0], scores={**rows[0].scores, "f1": Undefined("nothing to compare")})
    (row,) = read_csv(as_csv(told_run(told("one", rows))))
    assert row["correct"] == ""
    assert row["f1"] == ""
    assert "f1: undefined, nothing to compare" in row["not_scored"].split("|")
    assert "correct: failed, deadline_exceeded" in row["not_scored"].split("|")
    assert row["errors"] == "deadline_exceeded: the answer took longer than 30.0 s"


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_run_as_a_formula(text: str) -> None:
    row = a_told_row(1, right=True, question=a_question(1, id=text, question=text, answers=(text,), tags=(text,)), answer=text, plain=text)
    failing = replace(a_failed_row(2, text), evidence=text)
    rows = read_csv(as_csv(told_run(told(text, [row, failing]))))
    for cell in [cell for row in rows for cell in row.values()]:
        assert not cell.lstrip().startswith(("=", "+", "@", "＝", "＋", "－", "＠"))
        assert not cell.startswith("-") or float(cell)
    assert rows[0]["question"] == f"'{text}"


@given(st.text())
def test_a_cell_that_is_no_formula_stays_as_it_is(text: str) -> None:
    cell = safe(text)
    assert cell.removeprefix("'") == text.replace("\0", "") or cell == text.replace("\0", "")
    assert not cell[:1] or cell[0] not in "=+-@\t\r\n＝＋－＠"


def test_numbers_below_zero_are_no_formulas() -> None:
    """A wrong answer costs 1: `net_utility` is −1 at a question that is answered wrongly."""
    (row,) = read_csv(as_csv(told_run(told("one", [a_told_row(1, right=False)]))))
    assert row["net_utility"] == "-1"


def test_ragas_lines_hold_the_answer_and_the_contexts_of_its_prompt() -> None:
    run = told_run()
    lines = [json.loads(line) for line in as_ragas(run, run.candidates[1]).splitlines()]
    assert len(lines) == N
    first = lines[0]
    assert first["user_input"] == "What is the number of item 0?"
    assert first["response"] == "The number of item 0 is 1000."
    assert first["reference"] == "1000"
    assert (first["reference_context_ids"], first["retrieved_context_ids"]) == (["doc-0"], ["doc-0", "doc-50", "doc-51", "doc-52"])
    assert first["retrieved_contexts"][0].startswith("A sentence before. The number of item 0 is 1000.")
    assert lines[4]["response"] is None  # abstained, since nothing answers it
    assert lines[4]["reference"] is None


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_run(tmp_path / "home", told_run())
    return tmp_path / "home"


def run_export(home: Path, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(export)
    return CliRunner().invoke(app, [*arguments, "--home", str(home)])


def test_export_writes_to_a_file_or_to_stdout(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    assert run_export(home, "csv", "-o", str(file)).exit_code == 0
    printed = run_export(home, "csv")
    assert printed.stdout.replace("\r\n", "\n") == file.read_bytes().decode().replace("\r\n", "\n")
    assert run_export(home, "trec", "latest", "--candidate", "better").stdout == trec_run(candidate())
    assert run_export(home, "qrels", "--candidate", "base").stdout == qrels(base())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trec"], "name one with --candidate: base, better"),
        (["ragas", "--candidate", "bettr"], "there is no candidate 'bettr'"),
        (["csv", "-o", "no/such/folder/file.csv"], "does not exist"),
        (["csv", "beef"], "there is no run 'beef'"),
    ],
)
def test_export_says_what_is_wrong(home: Path, arguments: list[Any], said: str) -> None:
    result = run_export(home, *arguments)
    assert result.exit_code != 0
    assert said in result.stderr


def test_export_tells_where_a_run_keeps_less_than_it_scored(home: Path) -> None:
    whole = base()
    cut = replace(whole, rows=tuple(replace(row, sample=replace(row.sample, pool=row.sample.pool[:1])) for row in whole.rows))
    write_run(home, told_run(cut, id="d" * 12))
    assert "of 16 questions" in run_export(home, "trec", "dddd").stderr
