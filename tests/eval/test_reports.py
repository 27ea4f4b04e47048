"""What people see of a run at a terminal, in a pull request and on a build server; and what is compared for it."""

import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console, RenderableType
from typer.testing import CliRunner, Result

from eval.behaviours.case import Verdict
from eval.cli.compare import compare
from eval.cli.report import report
from eval.cli.show import show
from eval.decision import Decision, write_decision
from eval.gate import decide, decide_between
from eval.policy import Policy
from eval.reports.charts import Axis, Dot, apart, from_zero, thinned, ticks
from eval.reports.comparison import compared
from eval.reports.comparison_json import comparison_json
from eval.reports.comparison_table import comparison_table, headline
from eval.reports.figures import change, figure, p_value
from eval.reports.gathered import gathered
from eval.reports.junit import behaviours_junit, decision_junit
from eval.reports.legible import legible, one_line
from eval.reports.markdown import decision_markdown, marker, run_markdown
from eval.reports.scatter import scatter_of
from eval.reports.sheet import sheet
from eval.reports.standings import standings_of
from eval.reports.table import candidate_table, table
from eval.results import Run
from eval.runs import write_run
from eval.scores import Undefined
from rag_service.errors import InvalidInput, Mismatch
from tests.eval.reported import (
    BROKEN,
    TEXTS,
    a_failed_row,
    a_question,
    a_told_row,
    base,
    candidate,
    chunk_id,
    rows_of,
    text_of,
    told,
    told_run,
)

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07 erased",
    "\u202eevil\u2066 turned",
    "<script>alert(1)</script></script>",
    "[link](javascript:alert(1)) ![pixel](http://attacker.example/x.png) @everyone #1 | cell | `code` **bold**",
    "two\nlines\rand\x00nul",
)
LONG = "pneumonoultramicroscopicsilicovolcanoconiosis" * 6


def drawn(what: RenderableType, *, width: int = 80) -> str:
    """As in a pipe: no colour, and the console of the commands."""
    written = io.StringIO()
    console = Console(file=written, width=10_000, soft_wrap=True, highlight=False)
    console.print(what, width=width)
    return written.getvalue()


def hostile_run() -> Run:
    """Ids, questions, answers, tags, failures, names and documents that try to be more than text."""
    rows = [
        a_told_row(
            number,
            right=number % 2 == 0,
            question=a_question(number, id=f"{text} {number}", question=f"{text} {LONG}?", tags=(text,)),
            answer=f"{text} {LONG} {1000 + 7 * number}",
            plain=f"{text} {LONG} {1000 + 7 * number}",
        )
        for number, text in enumerate(HOSTILE * 8)
    ]
    failed = [replace(a_failed_row(90, HOSTILE[0]), cluster=HOSTILE[1])]
    other = [
        replace(row, sample=replace(row.sample, plain="no", answer="no"), label="reader_miss", scores={"correct": 0.0}) for row in rows
    ]
    return told_run(
        told("first", [*rows, *failed], warnings=(HOSTILE[0] + LONG,)),
        told(HOSTILE[3], [*other, *failed], top_k=5, changed={"prompt": HOSTILE[1]}),
        texts={identifier: f"{text} {HOSTILE[0]}" for identifier, text in TEXTS.items()},
        questions=HOSTILE[2],
    )


def decided(run: Run, **policy: Any) -> Decision:
    return decide(run, run.candidates[0].name, run.candidates[1].name, Policy(**policy))


def test_two_candidates_are_compared_question_by_question() -> None:
    found = compared(base(), candidate())
    assert found.main is not None
    paired = found.main.paired
    assert (paired.n, paired.base, paired.candidate) == (40, 0.5, 0.7)
    assert (found.main.wins, paired.ties, found.main.losses) == (10, 28, 2)
    assert paired.mcnemar == pytest.approx(0.03857, abs=1e-5)  # the published golden value for 10 and 2
    assert found.main.says == "better"


def test_questions_that_became_wrong_stand_before_those_that_became_right() -> None:
    found = compared(base(), candidate())
    assert [flip.base.id for flip in found.broken] == list(BROKEN)
    assert [flip.base.id for flip in found.flips] == [*BROKEN, *(f"q{number}" for number in range(20, 30))]


def test_where_lower_is_better_a_fall_is_a_win() -> None:
    """Of the eight unanswerable questions, the base answers 24, 29, 34, 39 and the candidate 19, 34, 39."""
    found = {one.metric: one for one in compared(base(), candidate()).contrasts}["false_answer_rate"]
    assert (found.paired.base, found.paired.candidate) == (0.5, 0.375)
    assert (found.wins, found.losses) == (2, 1)


def test_slices_with_fewer_than_thirty_questions_are_listed_and_not_tested() -> None:
    found = {one.tag: one for one in compared(base(), candidate()).slices}
    assert {tag: one.questions for tag, one in found.items()} == {"all": 40, "even": 20, "odd": 20}
    assert [tag for tag, one in found.items() if one.contrast is not None] == ["all"]


def test_p_values_of_slices_are_corrected_for_their_number() -> None:
    both = [replace(side, rows=tuple(replace(row, question=a_question(number, tags=("a", "b"))) for number, row in enumerate(side.rows)))
            for side in (base(), candidate())]  # fmt: skip
    found = compared(*both).slices
    assert [one.contrast.p_holm for one in found if one.contrast] == [pytest.approx(2 * 0.03857421875)] * 2
    assert [one.contrast.says for one in found if one.contrast] == ["nothing"] * 2


def test_slices_of_few_clusters_are_not_tested() -> None:
    sides = [replace(side, rows=tuple(replace(row, cluster=f"c{number % 9}") for number, row in enumerate(side.rows)))
             for side in (base(), candidate())]  # fmt: skip
    found = compared(*sides)
    assert [one.contrast for one in found.slices] == [None, None, None]
    assert "not tested, with fewer than 30 questions or 10 clusters: all 40, even 20, odd 20" in " ".join(
        drawn(comparison_table(found)).split()
    )


def test_tags_are_chosen_by_how_they_begin() -> None:
    tags = ("lang", "lang:en", "language:en", "other")
    rows = [a_told_row(number, right=True, question=a_question(number, tags=tags)) for number in range(3)]
    found = compared(told("a", rows), told("b", rows), by="lang").slices
    assert [one.tag for one in found] == ["lang", "lang:en"]


def test_nothing_is_claimed_where_questions_hang_together_in_few_clusters() -> None:
    sides = [replace(side, rows=tuple(replace(row, cluster=f"c{number % 9}") for number, row in enumerate(side.rows)))
             for side in (base(), candidate())]  # fmt: skip
    found = compared(*sides)
    assert found.main is not None
    assert found.main.paired.low > 0
    assert found.main.says == "nothing"
    assert "9 clusters, too few" in headline(found)


def test_questions_that_one_of_the_two_was_not_asked_are_left_out_and_counted() -> None:
    found = compared(base(), told("fewer", rows_of([], n=30)))
    assert found.unmatched == 10
    assert found.main is not None
    assert found.main.paired.n == 30


def test_candidates_that_were_asked_other_questions_do_not_compare() -> None:
    other = [a_told_row(0, right=True, question=a_question(0, question="Something else?"))]
    with pytest.raises(Mismatch, match="'q0' is not the same"):
        compared(base(), told("other", other))
    with pytest.raises(Mismatch, match="no question in common"):
        compared(base(), told("other", [a_told_row(70, right=True)]))


def test_a_metric_that_neither_has_cannot_decide() -> None:
    with pytest.raises(InvalidInput, match="'facts'"):
        compared(base(), candidate(), primary="facts")


def test_a_failure_counts_as_wrong_and_is_a_flip() -> None:
    failing = told("failing", [a_failed_row(0), *rows_of(range(20))[1:]])
    found = compared(base(), failing)
    assert [flip.base.id for flip in found.broken] == ["q0"]
    assert found.main is not None
    assert found.main.paired.candidate == 19 / 40


def test_a_comparison_is_json_without_rounding() -> None:
    found = json.loads(comparison_json(compared(base(), candidate())))
    main = found["metrics"][0]
    assert (main["name"], main["difference"], main["wins"], main["says"]) == ("correct", pytest.approx(0.2, abs=1e-15), 10, "better")
    assert [flip["id"] for flip in found["flips"] if flip["broken"]] == list(BROKEN)
    assert found["settings"][0]["fields"][0] == {"name": "retrieval.top_k", "a": 3, "b": 4, "only_in": None}


def test_candidates_stand_best_first_beside_the_first_of_the_run() -> None:
    worse = told("worse", rows_of(range(4)), top_k=5)
    found = standings_of([base(), candidate(), worse])
    assert [one.candidate.name for one in found.standings] == ["better", "base", "worse"]
    best, first, last = found.standings
    assert first.contrast is None
    assert best.contrast is not None
    assert last.contrast is not None
    assert best.contrast.paired.difference == pytest.approx(0.2)
    assert last.contrast.paired.difference == pytest.approx(-0.4)
    assert best.contrast.p_holm == best.contrast.paired.p_value  # the larger of the two is not multiplied
    assert last.contrast.p_holm == 2 * last.contrast.paired.p_value


def test_without_answers_candidates_are_ranked_by_their_retrieval() -> None:
    searched = [
        told(name, [replace(row, scores={"ndcg@10": value}) for row in rows_of([])]) for name, value in (("low", 0.25), ("high", 0.75))
    ]
    found = standings_of(searched)
    assert found.primary == "ndcg@10"
    assert [one.candidate.name for one in found.standings] == ["high", "low"]


def test_what_few_of_the_questions_give_ranks_nobody() -> None:
    """References of whole sentences are not looked for in an answer; a few short ones among them do not decide."""
    long = Undefined("every reference is too long")
    several = [
        told(name, [replace(row, scores={"correct": 0.0 if place < 2 else long, "f1": f1}) for place, row in enumerate(rows_of([]))])
        for name, f1 in (("low", 0.3), ("high", 0.4))
    ]
    found = standings_of(several)
    assert found.primary == "f1"
    assert [one.candidate.name for one in found.standings] == ["high", "low"]


@pytest.mark.parametrize("run", [told_run(), told_run(base()), hostile_run()], ids=["two", "one", "hostile"])
def test_tables_fit_eighty_columns_and_hold_nothing_that_a_terminal_obeys(run: Run) -> None:
    first = run.candidates[0]
    tables: list[RenderableType] = [table(run), candidate_table(run, first)]
    tables += [sheet(run, [(side, side.rows[place]) for side in run.candidates]) for place in range(5)]
    if len(run.candidates) > 1:
        tables += [comparison_table(compared(*run.candidates), all_flips=flips) for flips in (False, True)]
    for text in map(drawn, tables):
        assert max(map(len, text.split("\n"))) <= 80
        assert not [character for character in text if character in "\x1b\x07\x00\r\u202e\u2066"]


def test_a_table_of_one_candidate_gives_the_interval_of_means_alone() -> None:
    """One right of four: the mean 0.25 with s = 0.5, so 0.25 ± 3.182 · 0.5 / 2, cut at 0; of 15 to 18 ms the median is 16.5."""
    lines = drawn(candidate_table(told_run(base()), told("small", rows_of([0], n=4)))).splitlines()
    correct = next(line for line in lines if line.strip().startswith("correct "))
    assert correct.split() == ["correct", "0.2500", "0.000–1.000", "4", "0", "0", "4"]
    timed = next(line for line in lines if line.strip().startswith("p50_ms"))
    assert timed.split() == ["p50_ms", "16.5", "4", "0", "0", "4"]


def test_one_candidate_is_shown_in_full_and_many_as_a_leaderboard() -> None:
    assert "undefined:" in drawn(table(told_run(base())))
    board = drawn(table(told_run()))
    lines = [line.split() for line in board.splitlines()]
    assert ["better", "0.700", "0.552–0.848", "+0.200", "+0.050…+0.375", "0.039"] in lines
    assert ["better", "top_k", "4"] in lines


def test_a_warning_that_is_about_all_candidates_stands_once() -> None:
    sides = [replace(side, warnings=("the same",)) for side in (base(), candidate())]
    board = drawn(table(told_run(replace(sides[0], warnings=("the same", "mine")), sides[1])))
    assert board.count("the same") == 1
    assert "warning  base: mine" in board


def test_a_comparison_says_what_each_cause_wins_and_loses() -> None:
    text = drawn(comparison_table(compared(base(), candidate())))
    assert "better is better than base: correct 0.500 → 0.700." in text
    assert "right answers: 20 → 28" in text
    lines = [line.split()[:4] for line in text.splitlines()]
    assert ["should_have_abstained", "2", "1", "+1"] in lines
    assert ["context_truncated", "8", "0", "+8"] in lines
    assert ["false_abstain", "0", "1", "-1"] in lines
    assert "retrieval.top_k 3 → 4" in text


def test_flips_are_listed_in_part_unless_all_are_wanted() -> None:
    found = compared(base(), candidate())
    assert "and 5 more" in drawn(comparison_table(found))
    assert "q29" not in drawn(comparison_table(found))
    assert "q29" in drawn(comparison_table(found, all_flips=True))


def test_a_sheet_tells_everything_about_one_question() -> None:
    run = told_run()
    text = drawn(sheet(run, [(side, side.rows[18]) for side in run.candidates]))
    for part in ("What is the number of item 18?", "doc-18", "false_abstain", "low_confidence", "── base", "── better", "even"):
        assert part in text
    assert text.count(" ".join(text_of(18).split())) == 1  # in both prompts, and written once
    assert "[1]    1 ●c doc-18" in text
    assert "[4]    4 ●" in text  # the candidate found it, fourth
    assert chunk_id("doc-18") in text


def test_a_sheet_says_why_a_score_is_no_number() -> None:
    run = told_run(told("one", [a_failed_row(0)]))
    text = " ".join(drawn(sheet(run, [(run.candidates[0], run.candidates[0].rows[0])])).split())
    assert "deadline_exceeded in generate: the answer took longer than 30.0 s" in text
    assert "failed: deadline_exceeded" in text


def test_a_sheet_sets_the_place_of_the_answer_off() -> None:
    run = told_run(base())
    written = io.StringIO()
    Console(file=written, force_terminal=True, width=80, color_system="standard").print(sheet(run, [(base(), base().rows[3])]))
    assert "\x1b[1;7m1021\x1b[0m" in written.getvalue()


@given(st.text())
def test_legible_text_has_nothing_that_is_not_seen(text: str) -> None:
    shown = legible(text)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert not set(shown) & set("\x7f\x9b\u200f\u202e\u2066\u2028")
    assert legible(shown) == shown
    assert "\n" not in one_line(text)


@given(st.text(min_size=1), st.integers(2, 40))
def test_one_line_is_no_longer_than_it_may_be(text: str, most: int) -> None:
    assert len(one_line(text, most_chars=most)) <= most


def test_numbers_of_a_kind_have_the_same_digits() -> None:
    assert (figure("f1", 0.5), figure("f1", 0.5, decimals=3), figure("p95_ms", 1234.56), figure("answer_tokens", 9.0)) == (
        "0.5000", "0.500", "1,234.6", "9.0",
    )  # fmt: skip
    assert (change("f1", 0.05), change("f1", -0.00001), change("f1", 0.0), change("p95_ms", -2.0)) == (
        "+0.0500",
        "0.0000",
        "0.0000",
        "-2.0",
    )
    assert (p_value(0.0004), p_value(0.04), p_value(1.0)) == ("<0.001", "0.040", "1.000")


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_few_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 8
    slack = 1e-6 * max(1.0, abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in found)


def test_ticks_are_multiples_of_one_two_or_five() -> None:
    assert ticks(0, 1) == (0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert ticks(-0.11, 0.11) == (-0.1, -0.05, 0, 0.05, 0.1)


def test_bars_begin_at_zero_and_nothing_leaves_its_axis() -> None:
    axis = from_zero([3.0, 12.0])
    assert (axis.at(0), axis.at(6), axis.at(12), axis.at(99), axis.at(-5)) == (0, 50, 100, 100, 0)
    upwards = Axis(0.0, 1.0, 200.0, 0.0)
    assert (upwards.at(0), upwards.at(1)) == (200, 0)


def test_names_of_dots_do_not_lie_on_each_other() -> None:
    dots = [Dot(name, 50.0, 100.0 + place, 0, 0, 100.0 + place) for place, name in enumerate("abc")]
    places = sorted(dot.label_y for dot in apart(dots, lowest=280))
    assert all(after - before >= 15 for before, after in itertools.pairwise(places))


def test_a_curve_that_is_thinned_keeps_its_ends() -> None:
    points = [(float(place), 0.0) for place in range(1000)]
    found = thinned(points, 10)
    assert (len(found), found[0], found[-1]) == (10, points[0], points[-1])
    assert thinned(points[:5], 10) == points[:5]


def test_what_no_other_beats_in_quality_and_cost_is_joined() -> None:
    sides = [told(name, [a_told_row(n, right=n < good, took_ms={"total": took}) for n in range(60)])
             for name, good, took in (("slow", 30, 90.0), ("fast", 20, 10.0), ("beaten", 10, 50.0))]  # fmt: skip
    found = scatter_of([*sides, base()], "correct")
    assert found is not None
    assert (found.cost, found.unbeaten) == ("p95_ms", ("fast", "slow"))
    assert found.not_drawn == ("base",)  # forty timed questions bound no 95th percentile


def test_one_candidate_alone_is_no_plot() -> None:
    assert scatter_of([base()], "correct") is None


def test_markdown_begins_with_a_marker_that_stays_the_same_from_run_to_run() -> None:
    first, again = told_run(), told_run(base(), told("other", rows_of(range(5))), created_at="2026-02-02T00:00:00Z")
    for text in (run_markdown(first), run_markdown(again), decision_markdown(decided(first))):
        assert text.splitlines()[0] == marker("questions.jsonl")
    assert marker("questions.jsonl") != marker("others.jsonl")


def test_markdown_has_the_verdict_few_rows_and_the_worst_first() -> None:
    run = told_run(base(), told("worse", rows_of(range(5)), top_k=5))
    text = run_markdown(run, decided(run))
    assert "## ❌ REJECT: `worse` against `base`" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) <= 12 + 2
    assert rows[2].startswith("| ❌ |")  # what failed stands before what passed
    assert "**15 questions newly wrong**, 0 newly right." in text
    regressions = [line for line in text.splitlines() if line.startswith("- `What is the number")]
    assert len(regressions) == 5
    assert "- and 10 more" in text


def test_questions_that_would_settle_it_are_asked_for_only_where_they_would() -> None:
    run = told_run()
    unclear = decided(run)
    assert unclear.needed is not None
    said = f"about {unclear.needed:,} questions would settle it"
    assert (said in run_markdown(run, unclear)) == (unclear.verdict == "INCONCLUSIVE")
    assert said not in run_markdown(run, replace(unclear, verdict="REJECT"))


def test_markdown_of_one_candidate_lists_its_scores() -> None:
    text = run_markdown(told_run(base()))
    assert "| `correct` | 0.500 | 0.338 to 0.662 | 40 of 40 |" in text


def test_markdown_of_hostile_texts_links_mentions_and_loads_nothing() -> None:
    run = hostile_run()
    for text in (run_markdown(run), run_markdown(run, decided(run)), decision_markdown(decided(run))):
        assert not set(text) & set("\x1b\x07\x00\u202e\u2066")
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        inside = [child for token in tokens for child in (token.children or ())]
        assert {child.type for child in inside} <= {"text", "code_inline", "softbreak", "strong_open", "strong_close", "html_inline"}
        assert {child.content for child in inside if child.type == "html_inline"} <= {"<sub>", "</sub>"}
        blocks = [line for token in tokens if token.type == "html_block" for line in token.content.splitlines()]
        assert all(line.startswith(("<!-- rag-service eval ", "<details><summary>", "</details>", "<sub>")) for line in blocks)
        plain = " ".join(child.content for child in inside if child.type == "text")
        assert "@everyone" not in plain
        assert "http://" not in plain


def test_a_cell_of_a_table_cannot_open_another() -> None:
    lines = [line.replace("\\|", "") for line in run_markdown(hostile_run()).splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in lines} == {7}


def test_markdown_of_a_decision_alone_names_what_is_newly_wrong() -> None:
    text = decision_markdown(decided(told_run()))
    assert "**2 questions newly wrong**, 10 newly right:" in text
    assert "- `q18`" in text


def _cases(xml: str) -> dict[str, tuple[ElementTree.Element, ElementTree.Element]]:
    """Name of the suite → the suite and its first case."""
    root = ElementTree.fromstring(xml)
    suites = root.findall("testsuite")
    assert sum(int(suite.get("tests", "")) for suite in suites) == int(root.get("tests", ""))
    return {suite.get("name", ""): (suite, suite[0]) for suite in suites}


def test_a_decision_is_a_suite_for_each_rule_and_what_fails_is_a_failure() -> None:
    run = told_run(base(), told("worse", rows_of(range(5)), top_k=5))
    cases = _cases(decision_junit(decided(run)))
    suite, case = cases["primary: correct"]
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("1", "0", "0")
    failure = case.find("failure")
    assert failure is not None
    assert "correct" in failure.get("message", "")


def test_what_so_few_questions_cannot_say_is_skipped() -> None:
    """Eight unanswerable questions say nothing about a margin of 0.05."""
    cases = _cases(decision_junit(decided(told_run())))
    suite, case = cases["guardrail: false_answer_rate"]
    assert suite.get("skipped") == "1"
    assert case.find("skipped") is not None


def test_what_cannot_be_compared_is_an_error() -> None:
    run = told_run()
    invalid = decide_between(run, "base", run, "base", Policy())
    assert invalid.verdict == "INVALID"
    suite, case = _cases(decision_junit(invalid))["comparable"]
    assert suite.get("errors") == "1"
    error = case.find("error")
    assert error is not None
    assert "the candidate is the base" in error.get("message", "")


def test_hostile_names_leave_xml_well_formed() -> None:
    run = hostile_run()
    root = ElementTree.fromstring(decision_junit(decided(run)))
    assert root.tag == "testsuites"


def test_behaviours_are_a_suite_for_each_kind_and_a_hard_case_is_no_failure() -> None:
    def verdict(case: str, level: Any, *problems: str) -> Verdict:
        return Verdict(case=case, kind="typo", level=level, passed=not problems, asked="a?", said="b", problems=problems, reason="c")

    xml = behaviours_junit([verdict("one", "must"), verdict("two", "must", "x \x1b", "y"), verdict("three", "should", "z")])
    suite, _ = _cases(xml)["typo"]
    assert [suite.get(name) for name in ("tests", "failures", "skipped", "errors")] == ["3", "1", "1", "0"]
    failure = suite.findall("testcase")[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "x \\x1b; y"


def test_runs_over_the_same_questions_are_shown_as_one() -> None:
    first, second = told_run(base(), id="a" * 12), told_run(told("base", rows_of(range(5))), candidate(), id="b" * 12)
    found = gathered([first, second])
    assert [one.name for one in found.candidates] == [f"base@{'a' * 12}", f"base@{'b' * 12}", "better"]
    assert gathered([first]) is first


def test_runs_over_other_questions_do_not_compare() -> None:
    with pytest.raises(Mismatch, match="their questions differ"):
        gathered([told_run(base()), told_run(base(), questions="others.jsonl")])


# The commands


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_run(tmp_path / "home", told_run())
    return tmp_path / "home"


def run_command(command: Any, home: Path, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [*arguments, "--home", str(home)])


def test_report_shows_the_latest_run(home: Path) -> None:
    result = run_command(report, home)
    assert result.exit_code == 0
    assert "2 candidates" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_report_writes_html_markdown_and_junit_of_what_was_decided(home: Path, tmp_path: Path) -> None:
    run = told_run()
    write_decision(home / "runs" / run.id, decided(run))
    files = [tmp_path / name for name in ("r.html", "r.md", "r.xml")]
    result = run_command(report, home, run.id[:6], "--html", str(files[0]), "--md", str(files[1]), "--junit", str(files[2]))
    assert result.exit_code == 0, result.output
    assert decided(run).verdict in files[0].read_text("utf-8")
    assert decided(run).verdict in files[1].read_text("utf-8")
    assert "primary: correct" in _cases(files[2].read_text("utf-8"))


def test_report_finds_the_base_of_a_decision_between_runs(home: Path) -> None:
    first, other = told_run(), told_run(told("third", rows_of(range(35)), top_k=7), id="c" * 12)
    write_decision(write_run(home, other), decide_between(first, "base", other, "third", Policy()))
    result = run_command(report, home, "cccc", "--md", "-")
    assert result.exit_code == 0, result.output
    assert "`third` against `base`" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["beef"], "there is no run"),
        (["--junit", "-"], "nothing was decided"),
        (["--html", "no/such/folder/r.html"], "does not exist"),
        (["--candidate", "bettr"], "there is no candidate 'bettr'"),
    ],
)
def test_report_says_what_is_wrong(home: Path, arguments: Sequence[str], said: str) -> None:
    result = run_command(report, home, *arguments)
    assert result.exit_code != 0
    assert said in result.stderr


def test_compare_shows_two_candidates_of_the_latest_run(home: Path) -> None:
    result = run_command(compare, home, "base", "better")
    assert result.exit_code == 0, result.output
    assert "better is better than base" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_compare_reads_candidates_of_several_runs(home: Path) -> None:
    write_run(home, told_run(told("third", rows_of(range(35)), top_k=7), id="c" * 12))
    result = run_command(compare, home, f"base@{told_run().id[:8]}", "third@cccc", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["metrics"][0]["difference"] == pytest.approx(15 / 40)


def test_compare_refuses_runs_over_other_questions(home: Path) -> None:
    write_run(home, told_run(told("third", rows_of(range(5)), top_k=7), id="c" * 12, questions="others.jsonl"))
    result = run_command(compare, home, f"base@{told_run().id}", "third")
    assert result.exit_code == 1
    assert "questions.digest" in result.stderr


def test_compare_wants_two_names(home: Path) -> None:
    result = run_command(compare, home, "base")
    assert result.exit_code == 2
    assert "give BASE and CANDIDATE" in result.stderr


def test_show_finds_a_question_by_the_beginning_of_its_id(home: Path) -> None:
    result = run_command(show, home, "q18", "--candidate", "better")
    assert result.exit_code == 0, result.output
    assert "── better" in result.stdout
    assert "── base" not in result.stdout
    assert run_command(show, home, told_run().id, "q3…").exit_code == 0  # an id of its own, though others begin so


@pytest.mark.parametrize(("wanted", "said"), [("nobody", "there is no question 'nobody'"), ("q", "40 questions begin with 'q'")])
def test_show_says_which_question_it_cannot_find(home: Path, wanted: str, said: str) -> None:
    result = run_command(show, home, wanted)
    assert result.exit_code == 1
    assert said in result.stderr
