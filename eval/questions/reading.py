"""Which format it is: a folder is BEIR; a file is SQuAD if it has paragraphs, else native JSON lines."""

from pathlib import Path

from eval.questions.beir import read_beir
from eval.questions.native import read_native
from eval.questions.question import QuestionSet
from eval.questions.squad import read_squad
from eval.text_file import read_text
from rag_service.errors import InvalidInput


def read_questions(path: Path, *, split: str | None = None) -> QuestionSet:
    """`split` chooses among the judgements of a BEIR folder; with one split there, none need be named.

    Raises `NotFound` where something is missing, and `InvalidInput` naming the place and what to do.
    """
    if path.is_dir():
        return read_beir(path, split)
    text = read_text(path)
    if split is not None:
        raise InvalidInput(f"{path.name} has no splits", hint="leave --split out: only a BEIR folder has them", param="split")
    return read_squad(text, path) if _is_squad(text, path) else read_native(text, path)


def _is_squad(text: str, path: Path) -> bool:
    """By what is in it: a quote inside a JSON string is escaped, so `"paragraphs"` is a key. Else by the name, so that the error fits."""
    if path.suffix == ".jsonl":
        return False
    return '"paragraphs"' in text or (path.suffix == ".json" and '"question"' not in text)
