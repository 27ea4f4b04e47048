"""Evaluating and promoting where indexes are in PostgreSQL: as with files, and from any machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval.adopt import adopt
from eval.cli.app import app
from eval.results import Measured
from eval.runs import read_run, run_folder
from rag_service.catalog import Catalog
from rag_service.database import Database
from rag_service.errors import Conflict, Damaged, NotFound
from rag_service.manifest import read_manifest
from rag_service.settings import load_settings
from rag_service.wiring.activating import activate
from rag_service.wiring.building import build
from rag_service.wiring.releases import make_release
from rag_service.wiring.stores import open_ledger, verify_vectors
from tests.conftest import Outcome, SilentProgress
from tests.doubles import HOLIDAYS
from tests.eval.test_eval_cli import QUESTIONS
from tests.postgres.machine import Machine
from tests.recorded import feedback

GRID = (
    "questions: questions.jsonl\ncorpus: handbook\nname: handbook\nbounds: [exact_index]\n"
    "candidates: {served: served}\ngrid: {axes: {chunk_tokens: [64], top_k: [3, 5]}}\n"
)
Cli = Callable[..., Outcome]


@pytest.fixture
def eval_on(tmp_path: Path, handbook: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Cli]:
    """`eval_on(machine.environ)("run", "-c", "eval.yaml")`; runs go to evaluations/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text(QUESTIONS, "utf-8")
    (tmp_path / "eval.yaml").write_text(GRID, "utf-8")
    (tmp_path / "handbook").symlink_to(handbook)

    def on(environ: dict[str, str]) -> Cli:
        def run(*arguments: object) -> Outcome:
            result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"RAG_STORE": None, **environ})
            assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
            return Outcome(result.exit_code, result.stdout, result.stderr)

        return run

    return on


def measured() -> tuple[Measured, ...]:
    return read_run(run_folder(Path("evaluations"), "latest")).candidates


def said(candidates: tuple[Measured, ...]) -> Any:
    """What does not depend on where vectors lie."""
    return [(one.name, [(row.id, row.sample.status, row.sample.answer) for row in one.rows], one.metrics) for one in candidates]


def test_a_run_over_a_shared_index_says_what_one_over_files_says(
    builder: Machine,
    build_there: Callable[[], str],
    own_indexes: Path,
    eval_on: Callable[[dict[str, str]], Cli],
    tmp_path: Path,
    url: str,
) -> None:
    builder.activate(build_there())
    replica = Machine(tmp_path / "two", url)  # whose folder is empty
    assert eval_on(replica.environ)("run", "-c", "eval.yaml").code == 0
    shared = measured()
    assert {one.index.name for one in shared} == {"handbook", "handbook-eval"}
    assert builder.catalog.versions("handbook-eval") == sorted({one.index.version for one in shared if one.index.name == "handbook-eval"})
    assert eval_on({"RAG_INDEXES": str(own_indexes)})("run", "-c", "eval.yaml").code == 0
    assert said(shared) == said(measured())


def a_candidate(builder: Machine, handbook: Path) -> Any:
    """A release of the same documents in smaller chunks, built beside the served one as an evaluation does it."""
    settings = load_settings({}, indexes=builder.settings.indexes, store=builder.settings.store, name="handbook", chunk_tokens=64)
    built = build(settings, builder.catalog, "handbook-eval", str(handbook), SilentProgress())
    return make_release(settings, builder.catalog, "handbook-eval", built.manifest.version)


def test_what_was_evaluated_is_taken_over_and_served_everywhere(
    builder: Machine, build_there: Callable[[], str], handbook: Path, tmp_path: Path, url: str
) -> None:
    builder.activate(build_there())
    candidate = a_candidate(builder, handbook)
    decider, replica = Machine(tmp_path / "two", url), Machine(tmp_path / "three", url)
    assert adopt(decider.catalog, "handbook", candidate.index, "handbook-eval")
    assert not adopt(decider.catalog, "handbook", candidate.index, "handbook-eval")
    activate(decider.settings, decider.catalog, "handbook", candidate, who="test")
    assert replica.catalog.active_id("handbook") == candidate.id
    assert replica.ask().lineage.index.version == candidate.index.version
    folder = replica.catalog.version_folder("handbook", candidate.index.version)
    verify_vectors(replica.settings, replica.catalog, "handbook", read_manifest(folder))
    assert "28" in replica.ask().answer


def test_what_is_not_there_or_not_whole_is_not_taken_over(
    builder: Machine, build_there: Callable[[], str], handbook: Path, tmp_path: Path, url: str
) -> None:
    builder.activate(build_there())
    candidate = a_candidate(builder, handbook)
    decider = Machine(tmp_path / "two", url)
    with pytest.raises(NotFound, match="is neither in 'handbook' nor in 'elsewhere'"):
        adopt(decider.catalog, "handbook", candidate.index, "elsewhere")
    with builder.catalog.building("handbook"), pytest.raises(Conflict, match="already building"):
        adopt(decider.catalog, "handbook", candidate.index, "handbook-eval")
    with Database(url).writing("write to") as connection:
        connection.execute("UPDATE rag.files SET body = set_byte(body, 5, get_byte(body, 5) # 1) WHERE path = 'chunks.sqlite' AND part = 0")
    with pytest.raises(Damaged, match=r"chunks\.sqlite"):
        adopt(decider.catalog, "handbook", candidate.index, "handbook-eval")
    assert builder.catalog.versions("handbook") != [candidate.index.version]


def test_rated_answers_of_all_machines_become_questions(
    builder: Machine, build_there: Callable[[], str], eval_on: Callable[[dict[str, str]], Cli], cli: Callable[..., Outcome]
) -> None:
    builder.activate(build_there())
    asked = cli("ask", HOLIDAYS, "--json", **builder.environ)
    ledger = open_ledger(builder.settings)
    ledger.rate(json.loads(asked.out)["answer_id"], feedback("up"))
    ledger.close()
    imported = eval_on(builder.environ)("import", "records", "-o", "rated.jsonl")
    assert imported.code == 0, imported
    assert [json.loads(line)["question"] for line in Path("rated.jsonl").read_text().splitlines()] == [HOLIDAYS]


def test_status_and_rollback_are_about_the_database(
    builder: Machine, build_there: Callable[[], str], eval_on: Callable[[dict[str, str]], Cli], tmp_path: Path, url: str
) -> None:
    version = build_there()
    first, second = builder.activate(version), builder.activate(version, top_k=3)
    replica = Machine(tmp_path / "two", url)
    run = eval_on(replica.environ)
    assert second in run("status").out
    assert run("rollback").code == 0
    assert builder.catalog.active_id("handbook") == first
    assert not Catalog(replica.settings.indexes).active_path("handbook").exists()
