"""A running service is asked what was measured here."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

import pytest

from eval.candidate import Candidate
from eval.experiment import Experiment
from eval.live_release import Live
from eval.questions import read_questions
from eval.results import Measured
from eval.running import Running
from eval.stages.cache import StageCache
from eval.target import parity
from rag_service.catalog import Catalog
from rag_service.errors import NotReady
from tests.processes import ServerProcess

QUESTIONS = ("How many days of paid holiday does an employee have?", "Who wears a yellow badge?", "What is the capital of Mongolia?")


@pytest.fixture
def measure(served_indexes: Path, tmp_path: Path, progress: Any) -> Callable[..., Measured]:
    asked = tmp_path / "questions.jsonl"
    asked.write_text("".join(json.dumps({"id": f"q{number}", "question": text}) + "\n" for number, text in enumerate(QUESTIONS)), "utf-8")

    def run(**settings: object) -> Measured:
        candidate = Candidate("served", "a test", settings, served=True)
        experiment = Experiment(questions=asked, name="handbook", candidates=(candidate,))
        with StageCache.open(tmp_path / "home") as cache:
            found = Running(experiment, read_questions(asked), Catalog(served_indexes), cache, progress).run(command="a test")
        return found.candidates[0]

    return run


@pytest.fixture
def live(served_indexes: Path, tmp_path: Path) -> Iterator[Live]:
    command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--indexes", str(served_indexes)]
    environ = {**os.environ, "RAG_LEDGER": str(tmp_path / "ledger.sqlite")}
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path, env=environ) as process:
        server = ServerProcess(process)
        yield Live(f"http://127.0.0.1:{server.port}")
        process.terminate()


def test_a_service_of_the_measured_release_answers_everything_as_it_was_answered_here(
    measure: Callable[..., Measured], live: Live, progress: Any
) -> None:
    found = parity(live, measure(), progress)
    assert found.holds
    assert (found.asked, found.other_release, found.differing) == (len(QUESTIONS), None, ())


def test_a_service_of_another_release_is_told_and_so_is_what_it_answers_otherwise(
    measure: Callable[..., Measured], live: Live, progress: Any
) -> None:
    served, other = measure(), measure(top_k=1, min_confidence=1.0)
    found = parity(live, other, progress)
    assert not found.holds
    assert found.other_release == served.release.digest != other.release.digest
    assert ("q0", "passages") in found.differing


def test_nothing_that_listens_is_said_at_the_first_question(measure: Callable[..., Measured], progress: Any) -> None:
    with pytest.raises(NotReady, match="nothing answers at"):
        parity(Live("http://127.0.0.1:9"), measure(), progress)
