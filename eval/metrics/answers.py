"""Answer texts against reference answers, as the SQuAD 2.0 evaluation script `evaluate-v2.0.py` defines it
(Rajpurkar, Jia & Liang 2018, https://rajpurkar.github.io/SQuAD-explorer/).

`answer` comes without citation markers (`without_citations`); not answering is the empty text. With several references the best counts.
References that normalise to nothing are dropped, and where none is left the reference is the empty text: "no answer" is then right.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from eval.scores import Undefined, Value

LONGEST_CONTAINED = 20
"""Tokens of a reference that an answer can be expected to hold word for word. In SQuAD 2.0, 99 of 100 have no more."""
TOO_LONG_TO_FIND = Undefined(f"every reference has more than {LONGEST_CONTAINED} tokens: a right answer says it in other words")
NOTHING_TO_FIND = Undefined("no reference answer has a token to find")

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
"""Kana, Chinese characters and Thai: written without spaces."""
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def tokens(text: str) -> list[str]:
    """The words that are compared: lower case, ASCII punctuation deleted, articles removed, split at white space."""
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def pieces(text: str) -> list[str]:
    """The tokens, those of a script without spaces cut into characters: what one text may hold of another."""
    return _PIECE.findall(" ".join(tokens(text)))


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

    What BERGEN calls `match` and FlashRAG `acc`, by whole tokens: there "1" is found in "2010". In a script without spaces, by
    characters. Undefined without a usable reference, and where every one is so long that a right answer would say it in other words.
    """
    wanted = [pieces(reference) for reference in usable(references)]
    if not wanted:
        return NOTHING_TO_FIND
    wanted = [part for part, reference in zip(wanted, usable(references), strict=True) if len(tokens(reference)) <= LONGEST_CONTAINED]
    if not wanted:
        return TOO_LONG_TO_FIND
    found = pieces(answer)
    return float(any(_holds(found, part) for part in wanted))


def fact_recall(answer: str, facts: Sequence[Sequence[str]]) -> Value:
    """Facts of which a wording stands in the answer, as in `containment`, / facts. Those without a usable wording are passed over."""
    values = [containment(answer, wordings) for wordings in facts]
    found = [value for value in values if isinstance(value, float)]
    return math.fsum(found) / len(found) if found else Undefined("no fact has a token to find")


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
"""Every one: higher is better, over answerable questions. More of the kind are in `wording` and `numbers`."""

SQUAD: Mapping[str, AnswerMetric] = {"squad_em": exact_match, "squad_f1": token_f1}
"""The script's `exact` and `f1`: over answerable and unanswerable questions together."""
