"""Whether an answer stands on what was shown: its citations, and the support of its sentences as the service itself judged it.

All are of questions that were answered. An abstention is never scored here: a service that answers nothing would seem perfectly grounded.
"""

from collections.abc import Sequence
from typing import Final

from eval.metrics.passages import found_ranks, recall
from eval.results import Gold
from eval.sample import Cited, Judged, Ranked
from eval.scores import Undefined, Value

NO_ANSWER = Undefined("no answer")
CITES_NOTHING = Undefined("the answer cites nothing")
CLAIMS_NOTHING = Undefined("the answer claims nothing that could be checked")

_SUPPORT: Final = {"supported": 1.0, "partly": 0.5, "unsupported": 0.0}


def citation_validity(cited: Sequence[Cited], dropped: int) -> Value:
    """Citations that name a passage / all that the generator wrote. `dropped` named none, and the service removed them."""
    written = len(cited) + dropped
    return len(cited) / written if written else CITES_NOTHING


def citation_coverage(sentences: Sequence[Judged]) -> Value:
    """Sentences that claim something and cite / those that claim something (as in ALCE, Gao et al. 2023)."""
    claiming = [sentence for sentence in sentences if sentence.claims]
    return sum(sentence.cited for sentence in claiming) / len(claiming) if claiming else CLAIMS_NOTHING


def gold_citation_precision(passages: Sequence[Ranked], gold: Gold) -> Value:
    """Cited passages that find a group of gold / cited passages, each counted once."""
    if not passages:
        return CITES_NOTHING
    return sum(any(rank is not None for rank in found_ranks([passage], gold)) for passage in passages) / len(passages)


def gold_citation_recall(passages: Sequence[Ranked], gold: Gold) -> Value:
    """Groups of gold that a cited passage finds / groups. 0 where nothing is cited."""
    return recall(found_ranks(passages, gold))


def supported(sentences: Sequence[Judged]) -> Value:
    """Support of the sentences that claim something, on average: supported 1, partly .5, unsupported 0 (the levels of TREC RAG 2024)."""
    levels = [_SUPPORT[sentence.level] for sentence in sentences if sentence.claims]
    return sum(levels) / len(levels) if levels else CLAIMS_NOTHING


def unsupported(sentences: Sequence[Judged]) -> Value:
    """1 if a sentence that claims something is unsupported, else 0. Lower is better."""
    levels = [sentence.level for sentence in sentences if sentence.claims]
    return float("unsupported" in levels) if levels else CLAIMS_NOTHING


def verbatim(cited: Sequence[Cited]) -> Value:
    """Citations whose sentence stands in the passage word for word / citations."""
    return sum(citation.verbatim for citation in cited) / len(cited) if cited else CITES_NOTHING


def cited_passages(cited: Sequence[Cited], hits: Sequence[Ranked]) -> tuple[Ranked, ...]:
    """Each once, in the order of the hits."""
    named = {citation.chunk_id for citation in cited}
    return tuple(hit for hit in hits if hit.chunk_id in named)
