"""nDCG@10 of retrieval on squad2 and scifact, int8 against fp32: what decides that int8 may be the default.

Uses the question sets in ../shared/data and says so where they are absent.
"""

import tempfile
from pathlib import Path

from benchmarks.inputs import DATA, default_settings, encoder_folder
from eval.candidate import Candidate
from eval.experiment import Experiment
from eval.questions import read_questions
from eval.running import Running
from eval.stages.cache import StageCache
from rag_service.catalog import Catalog

SETS = {"squad2": "squad2/dev-visible.json", "scifact": "scifact", "anthropic-docs": "anthropic-docs/questions.jsonl"}


def run() -> None:
    if not DATA.is_dir():
        print("skipped: there is no ../shared/data")
        return
    for name, questions in SETS.items():
        for precision in ("fp32", "int8"):
            print(f"{name:<15} {precision}  nDCG@10 {_ndcg(name, questions, precision)}", flush=True)


def _ndcg(name: str, questions: str, precision: str) -> str:
    settings = default_settings(precision=precision)
    encoder_folder(settings)
    experiment = Experiment(
        questions=DATA / questions,
        corpus=str(DATA / name / "corpus.jsonl"),
        name=f"bench-{name}",
        candidates=(Candidate(precision, "benchmarks", {"precision": precision}),),
        answers=False,
    )
    with tempfile.TemporaryDirectory() as home, StageCache.open(Path(home)) as cache:
        running = Running(experiment, read_questions(DATA / questions), Catalog(settings.indexes), cache, Silent())
        measured = running.run(command="benchmarks").candidates[0]
    score = measured.metrics["retrieval"]["ndcg@10"]
    return f"{score.value:.4f} over {score.n_scored} questions, {measured.index.chunks:,} chunks"


class Silent:
    """The `Progress` port for output that is piped."""

    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...
