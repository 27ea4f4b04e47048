"""Questions that ask the same, found in one pass over all pairs that could. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from eval.metrics.answers import tokens
from eval.questions import EvalQuestion
from rag_service.expected import expected
from rag_service.terms import terms

NEAR = 0.8
"""Share of the words of both that they have in common."""

_NEGATIONS = frozenset(("not", "no", "never", "none", "without", "cannot", "nicht", "kein", "keine", "nie", "pas", "jamais", "нет", "не"))
_CONTRACTED = re.compile(r"n['’]t\b")


@dataclass(frozen=True, slots=True)
class Pair:
    first: int
    second: int
    """Positions in the set, ascending."""
    same: bool
    """Word for word, as far as case, accents and punctuation go; otherwise nearly."""


def duplicates(questions: Sequence[EvalQuestion], *, least: float = NEAR) -> list[Pair]:
    """Pairs in ascending order. Nearly the same are questions that share `least` of their words, unless what they do not share makes them
    others: numbers, names, negations, another kind of question word; or their answers are others.
    """
    listed = [words_of(question.question) for question in questions]
    pairs = similar([frozenset(words) for words in listed], least)
    found = [
        Pair(first, second, same)
        for first, second in pairs
        if (same := listed[first] == listed[second]) or _may_be_same(questions[first], questions[second], listed[first], listed[second])
    ]
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def similar(sets: Sequence[frozenset[str]], least: float) -> Iterator[tuple[int, int]]:
    """Positions (ascending) of every two sets whose Jaccard index |A ∩ B| / |A ∪ B| is at least `least`, 0 < least ≤ 1. Empty sets are like
    nothing.

    Two such sets share one of their rarest words: with words in one order, of a set of n only the first n - ⌈least · n⌉ + 1 need be looked
    at (prefix filtering, Chaudhuri, Ganti & Kaushik 2006).
    """
    often = Counter(word for one in sets for word in one)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for position, one in enumerate(sets):
        rarest_first = sorted(one, key=lambda word: (often[word], word))
        prefix = rarest_first[: len(one) - ceil(least * len(one) - 1e-9) + 1] if one else []
        for other in sorted({earlier for word in prefix for earlier in holders[word]}):
            shared = len(one & sets[other])
            if shared >= least * (len(one) + len(sets[other]) - shared) - 1e-9:
                yield other, position
        for word in prefix:
            holders[word].append(position)


def words_of(text: str) -> list[str]:
    """Without case, accents and punctuation; what is not so stays: `wasn't` is `was` and `not`."""
    return terms(_CONTRACTED.sub(" not", text), ())


def _may_be_same(one: EvalQuestion, other: EvalQuestion, words: Sequence[str], other_words: Sequence[str]) -> bool:
    if None not in (one.answerable, other.answerable) and one.answerable != other.answerable:
        return False
    if expected(one.question) != expected(other.question):
        return False
    if one.answers and other.answers and {tuple(tokens(text)) for text in one.answers}.isdisjoint(tuple(tokens(t)) for t in other.answers):
        return False
    different = set(words) ^ set(other_words)
    names = _names(one.question) | _names(other.question)
    return not any(word in _NEGATIONS or word in names or any(map(str.isdigit, word)) for word in different)


def _names(text: str) -> set[str]:
    """Words with a capital that do not begin the text."""
    return {term for word in text.split()[1:] if word[:1].isupper() for term in words_of(word)}
