"""`python -m benchmarks.answers`: how good answers are, on the sets of ../shared/data, written into docs/quality.md; about half an hour on
two cores the first time, when the indexes are built. `python -m benchmarks.answers fit NAME` fits constants anew and prints them.
"""

import argparse
import contextlib
import io
import textwrap
from collections.abc import Callable, Mapping
from importlib.metadata import version

from benchmarks.answers import confidence, cost, groundedness, injection, reading, relevance
from benchmarks.answers.sets import names, pipeline_of
from benchmarks.inputs import DATA, PROJECT

_PAGE = PROJECT / "docs" / "quality.md"
_BEGIN, _END = "<!-- figures: make eval-quality writes what follows -->", "<!-- end of figures -->"


def main() -> None:
    fits: Mapping[str, Callable[[], None]] = {
        "relevance": relevance.fit,
        "reading": reading.fit,
        "confidence": lambda: confidence.fit(confidence.judged()),
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=["fit"])
    parser.add_argument("name", nargs="?", choices=[*fits])
    given = parser.parse_args()
    if not DATA.is_dir():
        print("skipped: there is no ../shared/data")
    elif given.verb:
        fits[given.name or "relevance"]()
    else:
        _write(_figures())


def _figures() -> list[str]:
    release = pipeline_of(names()[0]).lineage.release
    made_by = f"rag-service {release.code.version}, {release.encoder.name} int8, bm25s {version('bm25s')}, faiss-cpu {version('faiss-cpu')}"
    threshold = release.retrieval.min_confidence
    parts: list[tuple[str, Callable[[], list[str]]]] = [
        ("What is nDCG@10 of retrieval?", relevance.report),
        ("How often does the reply hold the answer?", reading.report),
        ("How well does confidence tell what the documents answer?", lambda: confidence.report(confidence.judged(), threshold)),
        ("What does a question cost?", cost.report),
        ("How well does the check of support work?", lambda: _printed(groundedness.run)),
        ("How are instructions in documents dealt with?", lambda: _printed(injection.run)),
    ]
    lines = [f"Made by {made_by}.", "", "Intervals are 95 %, from drawing whole documents (`benchmarks/answers/intervals.py`).", ""]
    for title, report in parts:
        print(f"== {title}", flush=True)
        found = report()
        print("\n".join(found), flush=True)
        lines += [f"### {title}", "", *found, ""]
    return lines


def _printed(run: Callable[[], None]) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        run()
    lines = [part for line in out.getvalue().rstrip().splitlines() for part in textwrap.wrap(line, 98, subsequent_indent="  ") or [""]]
    return ["```text", *lines, "```"]


def _write(lines: list[str]) -> None:
    before, _, rest = _PAGE.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text("\n".join([f"{before}{_BEGIN}", "", *lines, f"{_END}{after}"]), "utf-8")


main()
