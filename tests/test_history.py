"""What was served when: going back undoes, nothing is lost, and no damage passes for a transition."""

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.catalog import Catalog
from rag_service.errors import Conflict, Damaged
from rag_service.history import EMPTY, Action, History, Transition, pointer_in, pointer_to, read_transitions
from rag_service.release import Release
from tests.test_catalog import flipped, release

RELEASES = [release(top_k) for top_k in range(1, 5)]


def transition(seq: int, to: str, action: Action = "activate", previous: str | None = None) -> Transition:
    return Transition(seq=seq, at="2026-11-26T01:00:00Z", action=action, release=to, previous=previous, who="a@b", why="é — because")


A, B, C = (one.id for one in RELEASES[:3])


@pytest.mark.parametrize(
    ("steps", "back"),
    [
        ([], None),
        ([("activate", A)], None),
        ([("activate", A), ("activate", B)], A),
        ([("activate", A), ("activate", B), ("rollback", A)], None),
        ([("activate", A), ("activate", B), ("activate", C), ("rollback", B)], A),
        ([("activate", A), ("activate", B), ("activate", C), ("rollback", A)], None),
        ([("activate", A), ("activate", B), ("rollback", A), ("activate", C)], A),
        ([("activate", A), ("activate", B), ("activate", A), ("rollback", B)], A),
        ([("activate", A), ("rollback", C)], A),
        ([("activate", A), ("unknown", B)], A),
    ],
)
def test_going_back_leads_to_what_was_served_before_and_going_back_twice_goes_back_two(
    steps: list[tuple[Action, str]], back: str | None
) -> None:
    assert History(tuple(transition(seq, to, action) for seq, (action, to) in enumerate(steps, 1))).back() == back


def test_what_stays_within_reach_is_each_release_once_newest_first() -> None:
    history = History(tuple(transition(seq, to) for seq, to in enumerate((A, B, A, C), 1)))
    assert history.recent(0) == (C,)
    assert history.recent(2) == (C, A, B)
    assert history.recent(10) == (C, A, B)
    assert EMPTY.recent(3) == ()


@dataclass(frozen=True)
class State:
    """The model: what is served, and the state to which going back leads."""

    release: Release
    before: "State | None"


Step = tuple[str, int]
steps = st.lists(st.tuples(st.sampled_from(["activate", "rollback", "cut short", "torn", "backup"]), st.integers(0, 3)), max_size=14)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_whatever_was_activated_rolled_back_or_cut_short_going_back_undoes_it(steps: list[Step]) -> None:
    """On real files. `cut short` is a switch that ended before the pointer was replaced, `torn` a line that was half written."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder))
        log = catalog.index_folder("demo") / "history.jsonl"
        state: State | None = None
        served: list[str] = []
        for step, number in steps:
            if step == "activate" and (state is None or state.release != RELEASES[number]):
                catalog.activate("demo", RELEASES[number], who="me")
                state = State(RELEASES[number], state)
                served.append(state.release.id)
            elif step == "rollback" and state is not None and state.before is not None:
                catalog.activate("demo", state.before.release, action="rollback")
                state = state.before
                served.append(state.release.id)
            elif step == "cut short" and state is not None:
                catalog._remember("demo", catalog.history("demo").transitions[-1])
            elif step == "torn" and log.exists() and log.read_bytes().endswith(b"\n"):
                log.write_bytes(log.read_bytes() + transition(99, A).line()[:40])
            elif step == "backup" and state is not None:  # a copy of the pointer is put back: what it says is as true as before
                catalog.active_path("demo").write_bytes(bytes(catalog.active_path("demo").read_bytes()))
            history = catalog.history("demo")
            assert [one.release for one in history.transitions] == served
            assert history.damaged == 0
            assert history.back() == (state.before.release.id if state is not None and state.before is not None else None)
            ancestors: list[str] = []
            at = state
            while at is not None:
                ancestors.append(at.release.id)
                at = at.before
            assert history.recent(100) == tuple(dict.fromkeys(ancestors))


def test_a_transition_says_who_when_why_from_and_to(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.activate("demo", RELEASES[0], who="ann@host", why="first")
    made = catalog.activate("demo", RELEASES[1], who="bob@host", why="better", action="activate")
    assert made is not None
    assert (made.seq, made.who, made.why, made.previous, made.release) == (2, "bob@host", "better", A, B)
    assert made.at.endswith("Z")
    assert catalog.history("demo").transitions[-1] == made
    assert catalog.activate("demo", RELEASES[1], who="again") is None
    assert len(catalog.history("demo").transitions) == 2


def test_no_flipped_bit_of_a_line_passes_for_a_transition(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    first, second = transition(1, A).line(), transition(2, B, previous=A).line()
    for damaged in itertools.islice(flipped(first), 0, None, 7):  # every byte, and every bit in turn
        path.write_bytes(damaged + second)
        read, bad = read_transitions(path)
        assert bad >= 1
        assert [one.seq for one in read] in ([2], [])  # none where the flipped bit made the newline another byte


def test_damaged_lines_are_counted_and_the_others_told(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    for one in RELEASES:
        catalog.activate("demo", one)
    log = catalog.index_folder("demo") / "history.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + b"\xff\x00 nonsense\n" + lines[2])
    history = catalog.history("demo")
    assert history.damaged == 1
    assert [one.seq for one in history.transitions] == [1, 3, 4]
    catalog.activate("demo", RELEASES[0])
    assert [one.seq for one in catalog.history("demo").transitions] == [1, 3, 4, 5]


def test_a_pointer_is_two_lines_of_which_the_first_is_the_id() -> None:
    made = transition(7, B, previous=A)
    content = pointer_to(made)
    assert content.splitlines()[0].decode() == B
    assert pointer_in(content) == (B, made)
    assert pointer_in(f"{B}\n".encode()) == (B, None)
    assert pointer_in(f"{A}\n".encode() + made.line()) is None, "the two lines contradict each other"


def test_a_pointer_that_was_set_by_hand_is_followed_and_told_as_such(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.activate("demo", RELEASES[0])
    catalog.activate("demo", RELEASES[1])
    catalog.add_release("demo", RELEASES[2])
    catalog.active_path("demo").write_text(f"{C}\n")
    by_hand = catalog.history("demo").transitions[-1]
    assert (by_hand.action, by_hand.release, by_hand.previous) == ("unknown", C, A)
    catalog.activate("demo", RELEASES[3])
    assert catalog.history("demo").back() == C


def test_a_pointer_that_was_put_back_from_a_backup_is_what_is_served_and_can_be_left_again(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.activate("demo", RELEASES[0])
    old = catalog.active_path("demo").read_bytes()
    catalog.activate("demo", RELEASES[1])
    catalog.activate("demo", RELEASES[2])
    catalog.active_path("demo").write_bytes(old)
    assert catalog.active_id("demo") == A
    assert catalog.history("demo").transitions[-1].release == A
    assert catalog.activate("demo", RELEASES[1]) is not None, "the history still names it, and it is not served"
    assert catalog.active_id("demo") == B
    history = catalog.history("demo")
    assert [one.release for one in history.transitions] == [A, B, A, B]
    assert history.back() == A


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff" * 40])
def test_a_damaged_pointer_is_an_error_that_an_activation_ends(tmp_path: Path, content: bytes) -> None:
    catalog = Catalog(tmp_path)
    catalog.activate("demo", RELEASES[0])
    catalog.activate("demo", RELEASES[1])
    catalog.active_path("demo").write_bytes(content)
    with pytest.raises(Damaged):
        catalog.history("demo")
    assert catalog.activate("demo", RELEASES[2], who="me") is not None
    assert catalog.active_id("demo") == C
    assert [one.release for one in catalog.history("demo").transitions] == [A, C]


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path)
    catalog.activate("demo", RELEASES[0])
    yield catalog
    assert catalog.active_id("demo") == A


def test_of_two_who_change_what_is_served_at_once_one_is_told_of_the_other(busy: Catalog) -> None:
    with busy.activating("demo"), pytest.raises(Conflict, match="already changing what 'demo' serves"):
        busy.activate("demo", RELEASES[1])


@pytest.mark.parametrize("expected", [B, None])
def test_a_change_that_expects_another_release_to_be_served_is_refused(busy: Catalog, expected: str | None) -> None:
    with pytest.raises(Conflict, match=f"serves release {A} by now"):
        busy.activate("demo", RELEASES[2], expected=expected)
