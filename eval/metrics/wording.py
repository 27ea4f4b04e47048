"""How much of a reference's wording an answer holds, for long answers and for languages without spaces.

All compare the tokens of `answers.tokens`; with several references the best counts. Undefined without a usable reference.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

from eval.metrics.answers import NOTHING_TO_FIND, AnswerMetric, tokens, usable
from eval.scores import Value

_GRAM_CHARS: Final = 3


def token_recall(answer: str, references: Sequence[str]) -> Value:
    """Tokens of the reference that the answer holds, as multisets, / tokens of the reference: the R of `token_f1`, which a long answer
    does not lower.
    """
    return _best(answer, references, _recall)


def rouge_l(answer: str, references: Sequence[str]) -> Value:
    """2·LCS / (m + n), with the longest common subsequence of both texts' tokens and their lengths: ROUGE-L with β = 1 (Lin 2004), but
    with the tokens of SQuAD.
    """
    return _best(answer, references, lambda found, wanted: 2 * lcs_length(found, wanted) / (len(found) + len(wanted)))


def char3_recall(answer: str, references: Sequence[str]) -> Value:
    """Runs of three characters of the reference that the answer holds, as multisets, / runs of the reference (BERGEN's
    `Recall_char3gram`). Blanks count as one character; a shorter reference is one run.
    """

    def recall(found: Sequence[str], wanted: Sequence[str]) -> float:
        whole = " ".join(wanted)
        size = min(_GRAM_CHARS, len(whole))
        return _recall(_grams(" ".join(found), size), _grams(whole, size))

    return _best(answer, references, recall)


def lcs_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, with a row of the usual table as the bits of one number (Hyyrö 2004): a bit is 0 where
    the row's value grows.
    """
    places: dict[Hashable, int] = {}
    for at, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << at
    everything = (1 << len(first)) - 1
    row = everything
    for item in second:
        matched = row & places.get(item, 0)
        row = ((row + matched) | (row - matched)) & everything
    return len(first) - row.bit_count()


def _best(answer: str, references: Sequence[str], compare: Callable[[Sequence[str], Sequence[str]], float]) -> Value:
    found = tokens(answer)
    return max((compare(found, tokens(reference)) for reference in usable(references)), default=NOTHING_TO_FIND)


def _recall(found: Sequence[str], wanted: Sequence[str]) -> float:
    return (Counter(found) & Counter(wanted)).total() / len(wanted)


def _grams(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(len(text) - size + 1)]


WORDING: Mapping[str, AnswerMetric] = {"token_recall": token_recall, "rouge_l": rouge_l, "char3_recall": char3_recall}
"""Every one: higher is better, over answerable questions."""
