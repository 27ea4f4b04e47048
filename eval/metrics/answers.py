"""Answer texts against reference answers, as the SQuAD 2.0 evaluation script `evaluate-v2.0.py` defines it
(Rajpurkar, Jia & Liang 2018, https://rajpurkar.github.io/SQuAD-explorer/).

`answer` comes without citation markers (`without_citations`); not answering is the empty text. With several references the best counts.
References that normalise to nothing are dropped, and where none is left the reference is the empty text: "no answer" is then right.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from eval.metrics.scores import Undefined, Value

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def tokens(text: str) -> list[str]:
    """The words that are compared: lower case, ASCII punctuation deleted, articles removed, split at white space."""
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def usable(references: Iterable[str]) -> list[str]:
    """References that have a token to compare."""
    return [reference for reference in references if tokens(reference)]


def exact_match(answer: str, references: Sequence[str]) -> Value:
    """1 if answer and a reference have the same tokens in the same order, else 0."""
    found = tokens(answer)
    return float(any(found == tokens(reference) for reference in usable(references) or [""]))


def token_f1(answer: str, references: Sequence[str]) -> Value:
    """2PR / (P + R) over tokens as multisets, the best over the references. Nothing against nothing is 1, against something 0."""
    found = tokens(answer)
    return max(_f1(found, tokens(reference)) for reference in usable(references) or [""])


def containment(answer: str, references: Sequence[str]) -> Value:
    """1 if a reference's tokens stand in the answer's, together and in order, else 0.

    What BERGEN calls `match` and FlashRAG `acc`, by whole tokens: there "1" is found in "2010". Undefined without a usable reference.
    """
    wanted = [tokens(reference) for reference in usable(references)]
    if not wanted:
        return Undefined("no reference answer has a token to find")
    found = tokens(answer)
    return float(any(_holds(found, part) for part in wanted))


def without_citations(answer: str, spans: Iterable[tuple[int, int]]) -> str:
    """`answer` without the characters of `spans` (start, end; end exclusive) and the spaces before them."""
    parts: list[str] = []
    position = 0
    for start, end in sorted(set(spans)):
        parts.append(answer[position:start].rstrip(" "))
        position = max(position, end)
    return ("".join(parts) + answer[position:]).strip()


def _f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    shared = (Counter(found) & Counter(wanted)).total()
    return 2 * shared / (len(found) + len(wanted))


def _holds(found: Sequence[str], part: Sequence[str]) -> bool:
    return any(found[start : start + len(part)] == part for start in range(len(found) - len(part) + 1))


AnswerMetric = Callable[[str, Sequence[str]], Value]

ANSWERS: Mapping[str, AnswerMetric] = {"em": exact_match, "f1": token_f1, "contains": containment}
"""Every one: higher is better, over answerable questions."""

SQUAD: Mapping[str, AnswerMetric] = {"squad_em": exact_match, "squad_f1": token_f1}
"""The script's `exact` and `f1`: over answerable and unanswerable questions together."""
