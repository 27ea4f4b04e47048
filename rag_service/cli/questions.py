"""Questions from a file, asked of two releases."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rag_service.ask import Pipeline
from rag_service.compare import compare_sets
from rag_service.comparison import SetComparison
from rag_service.console import BarProgress
from rag_service.errors import InvalidInput, NotFound
from rag_service.question import Question

QuestionsOption = Annotated[
    Path | None,
    typer.Option("--questions", help="File of questions: one a line, or JSON lines with a key question.", show_default=False),
]
_FORM = 'write one a line, or {"question": "…"}'


def read_texts(path: Path) -> list[str]:
    """Raises `NotFound` or `InvalidInput`."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        texts = [json.loads(line)["question"] if line.startswith("{") else line for line in lines]
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}", hint="name a file of questions") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path.name} has a line that is no question", hint=_FORM) from error
    if not texts:
        raise InvalidInput(f"{path.name} holds no question", hint=_FORM)
    return texts


def compared(a: Pipeline, b: Pipeline, texts: Sequence[str]) -> SetComparison:
    """Asks both all of them."""
    with BarProgress() as progress:
        progress.stage("ask", len(texts))
        pairs = []
        for text in texts:
            pairs.append((a.ask(Question(text)), b.ask(Question(text))))
            progress.advance()
    return compare_sets(pairs)
