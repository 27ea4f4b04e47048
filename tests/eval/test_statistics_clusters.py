"""Which questions hang together."""

import pytest

from eval.clusters import cluster_of
from eval.questions import EvalQuestion, GoldPlace
from rag_service.digests import digest_text, short_id


@pytest.mark.parametrize(
    ("question", "cluster"),
    [
        (EvalQuestion("q", "?"), "q"),
        (EvalQuestion("q", "?", group="g", relevant={"d": 1}), "g"),
        (EvalQuestion("q", "?", relevant={"page#2": 1, "other#1": 1}), "other"),  # relevant ones have no order: by name
        (EvalQuestion("q", "?", relevant={"#only": 1}), "#only"),
        (EvalQuestion("q", "?", places=((GoldPlace(document="z#1"),), (GoldPlace(document="a"),)), relevant={"b": 1}), "z"),
        (EvalQuestion("q", "?", gold_texts=("A paragraph.",), tags=("Article", "hard")), "Article"),
        (EvalQuestion("q", "?", places=((GoldPlace(text="A paragraph.", start=0, end=1),),), tags=("Article",)), "Article"),
        (EvalQuestion("q", "?", gold_texts=("A paragraph.",)), short_id(digest_text("A paragraph."))),
        (EvalQuestion("q", "?", tags=("hard",)), "q"),  # a tag without a paragraph is for slices
        (EvalQuestion("q", "?", places=((GoldPlace(quote="somewhere"),),)), "q"),
    ],
)
def test_a_question_belongs_to_what_its_answer_is_found_in(question: EvalQuestion, cluster: str) -> None:
    assert cluster_of(question) == cluster
