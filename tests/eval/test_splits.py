"""Development and test: what is in which part, and what moves."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.clusters import cluster_of
from eval.questions import EvalQuestion, Split
from eval.splits import part, splits_of

GROUPS = st.sampled_from([f"g{number}" for number in range(12)])
SPLITS = st.sampled_from([None, None, None, "dev", "test"])
ROWS = st.lists(st.tuples(GROUPS, SPLITS), max_size=30)


def _set(rows: Sequence[tuple[str, Split | None]]) -> list[EvalQuestion]:
    return [EvalQuestion(str(number), f"Question {number}?", group=group, split=split) for number, (group, split) in enumerate(rows)]


def test_a_part_is_drawn_by_the_name_of_the_cluster_and_the_seed() -> None:
    """The first 13 hex digits of the SHA-256 of `[7,"d"]`, `[7,"e"]` …, as a fraction: a .96, b .72, c .64, d .03, e .36, f .81."""
    questions = _set([(name, None) for name in "abcdef"])
    assert [q.group for q in part(questions, "test", test_share=0.1, seed=7)] == ["d"]
    assert [q.group for q in part(questions, "test", test_share=0.5, seed=7)] == ["d", "e"]
    assert [q.group for q in part(questions, "dev", test_share=0.5, seed=7)] == ["a", "b", "c", "f"]
    assert [q.group for q in part(questions, "test", test_share=0.5, seed=0)] == ["a", "b", "c", "e"]
    assert part(questions, "all", test_share=0.5, seed=7) == tuple(questions)


@given(ROWS, st.floats(0, 1), st.integers(0, 5))
def test_every_question_is_in_one_part_and_keeps_a_split_of_its_own(rows: list[tuple[str, Split | None]], share: float, seed: int) -> None:
    questions = _set(rows)
    dev, test = (part(questions, which, test_share=share, seed=seed) for which in ("dev", "test"))
    assert sorted([*dev, *test], key=lambda question: int(question.id)) == questions
    assert all(question.split != "test" for question in dev)
    assert all(question.split != "dev" for question in test)


@given(ROWS, st.floats(0, 1), st.integers(0, 5))
def test_no_cluster_is_in_both_parts_unless_its_questions_say_so(rows: list[tuple[str, Split | None]], share: float, seed: int) -> None:
    questions = _set(rows)
    dev, test = ({q.group for q in part(questions, which, test_share=share, seed=seed)} for which in ("dev", "test"))
    said = [{group for group, split in rows if split == which} for which in ("dev", "test")]
    assert dev & test <= said[0] & said[1]


@given(ROWS, GROUPS, st.integers(0, 30), st.floats(0, 1))
def test_a_question_that_is_added_moves_no_other(rows: list[tuple[str, Split | None]], group: str, place: int, share: float) -> None:
    questions = _set(rows)
    before = splits_of(questions, test_share=share, seed=7)
    place = min(place, len(questions))
    more = [*questions[:place], EvalQuestion("new", "New?", group=group), *questions[place:]]
    after = splits_of(more, test_share=share, seed=7)
    assert [split for question, split in zip(more, after, strict=True) if question.id != "new"] == before


def test_questions_follow_those_of_their_cluster_that_have_a_split() -> None:
    questions = _set([("a", None), ("a", "test"), ("b", "dev"), ("b", None), ("c", "dev"), ("c", "test"), ("c", None)])
    assert splits_of(questions, test_share=0.0, seed=7) == ["test", "test", "dev", "dev", "dev", "test", "dev"]
    assert splits_of(questions, test_share=1.0, seed=7) == ["test", "test", "dev", "dev", "dev", "test", "dev"]


def test_questions_about_one_document_stay_together() -> None:
    questions = [EvalQuestion(str(number), "q", relevant={f"page-{number % 40}.md": 1}) for number in range(200)]
    test = {cluster_of(question) for question in part(questions, "test", test_share=0.3, seed=7)}
    dev = {cluster_of(question) for question in part(questions, "dev", test_share=0.3, seed=7)}
    assert len(test) + len(dev) == 40


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_shares_of_many_clusters_are_close_to_what_was_asked(share: float) -> None:
    """Within four standard deviations of a binomial share."""
    questions = _set([(f"group {number}", None) for number in range(2000)])
    found = len(part(questions, "test", test_share=share, seed=7)) / 2000
    assert abs(found - share) <= 4 * (share * (1 - share) / 2000) ** 0.5
