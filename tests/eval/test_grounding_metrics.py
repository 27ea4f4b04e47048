"""Citations and support, worked by hand."""

import pytest

from eval.metrics.grounding import (
    CITES_NOTHING,
    CLAIMS_NOTHING,
    citation_coverage,
    citation_validity,
    cited_passages,
    gold_citation_precision,
    gold_citation_recall,
    supported,
    unsupported,
    verbatim,
)
from eval.results import Gold, GoldSpan
from eval.sample import Cited, Judged, Ranked

HITS = tuple(Ranked(name, "doc", start, start + 100, 0.5) for name, start in (("one", 0), ("two", 100), ("three", 200)))


def citing(*markers: int, verbatim: bool = True) -> tuple[Cited, ...]:
    return tuple(Cited(marker, HITS[marker - 1].chunk_id, "doc", 0, 10, verbatim) for marker in markers)


SENTENCES = [
    Judged("supported", cited=True, claims=True),
    Judged("partly", cited=True, claims=True),
    Judged("supported", cited=False, claims=True),
    Judged("unsupported", cited=False, claims=False),  # "Yes."
]


def test_what_names_no_passage_counts_against_the_citations() -> None:
    assert citation_validity(citing(1, 2, 2), dropped=1) == 0.75
    assert citation_validity((), dropped=2) == 0.0
    assert citation_validity((), dropped=0) == CITES_NOTHING


def test_sentences_that_claim_nothing_need_no_citation_and_no_support() -> None:
    assert citation_coverage(SENTENCES) == pytest.approx(2 / 3)
    assert supported(SENTENCES) == pytest.approx(2.5 / 3)
    assert unsupported(SENTENCES) == 0.0
    assert unsupported([*SENTENCES, Judged("unsupported", cited=True, claims=True)]) == 1.0
    assert {measure(SENTENCES[3:]) for measure in (citation_coverage, supported, unsupported)} == {CLAIMS_NOTHING}


def test_words_that_stand_there_are_verbatim() -> None:
    assert verbatim((*citing(1), *citing(2, 3, verbatim=False))) == pytest.approx(1 / 3)
    assert verbatim(()) == CITES_NOTHING


def test_cited_passages_are_counted_once() -> None:
    gold = Gold({"doc": 1}, 0, ((GoldSpan("doc", 110, 150),), (GoldSpan("doc", 210, 250),)))
    cited = cited_passages(citing(2, 1, 2), HITS)
    assert [passage.chunk_id for passage in cited] == ["one", "two"]
    assert gold_citation_precision(cited, gold) == 0.5
    assert gold_citation_recall(cited, gold) == 0.5


def test_who_cites_nothing_finds_no_gold() -> None:
    gold = Gold({"doc": 1}, 0)
    assert gold_citation_recall((), gold) == 0.0
    assert gold_citation_precision((), gold) == CITES_NOTHING


def test_where_documents_are_gold_any_of_their_passages_is() -> None:
    assert gold_citation_precision(HITS[:1], Gold({"doc": 1, "other": 1}, 0)) == 1.0
    assert gold_citation_precision(HITS[:1], Gold({"other": 1}, 0)) == 0.0
