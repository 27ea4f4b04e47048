"""nDCG@10 of retrieval on squad2 and scifact, int8 against fp32: what decides that int8 may be the default.

Uses the question sets in ../shared/data and says so where they are absent.
"""

from benchmarks.inputs import DATA, default_settings, encoder_folder
from eval.questions import read_questions
from eval.run import evaluate
from rag_service.catalog import Catalog
from rag_service.wiring.building import build
from rag_service.wiring.releases import make_release, open_release

SETS = {"squad2": "squad2/dev-visible.json", "scifact": "scifact", "anthropic-docs": "anthropic-docs/questions.jsonl"}


def run() -> None:
    if not DATA.is_dir():
        print("skipped: there is no ../shared/data")
        return
    for name, questions in SETS.items():
        for precision in ("fp32", "int8"):
            print(f"{name:<15} {precision}  nDCG@10 {_ndcg(name, questions, precision)}", flush=True)


def _ndcg(name: str, questions: str, precision: str) -> str:
    settings = default_settings(name=f"bench-{name}-{precision}", precision=precision)
    encoder_folder(settings)
    catalog = Catalog(settings.indexes)
    silent = Silent()
    built = build(settings, catalog, settings.name, str(DATA / name / "corpus.jsonl"), silent)
    release = make_release(settings, catalog, settings.name, built.manifest.version)
    pipeline = open_release(settings, catalog, settings.name, release).pipeline
    report = evaluate(pipeline, read_questions(DATA / questions), answers=False, progress=silent)
    score = report.metrics["retrieval"]["ndcg@10"]
    return f"{score.value:.4f} over {score.n_scored} questions, {built.manifest.counts.chunks:,} chunks"


class Silent:
    """The `Progress` port for output that is piped."""

    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...
