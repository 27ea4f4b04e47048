"""Development and test: which question is asked where. Candidates are chosen on `dev`; what was chosen is looked at once on `test`."""

from collections.abc import Sequence
from typing import Literal

from eval.clusters import cluster_of
from eval.questions import EvalQuestion, Split
from rag_service.digests import digest_json

Part = Literal["all", "dev", "test"]

_HEX = 13
"""52 bits: a fraction of that many is exact."""


def part(questions: Sequence[EvalQuestion], which: Part, *, test_share: float, seed: int) -> tuple[EvalQuestion, ...]:
    """The questions of one part, in order; none where it is empty. As `splits_of` divides them."""
    if which == "all":
        return tuple(questions)
    found = splits_of(questions, test_share=test_share, seed=seed)
    return tuple(question for question, split in zip(questions, found, strict=True) if split == which)


def splits_of(questions: Sequence[EvalQuestion], *, test_share: float, seed: int) -> list[Split]:
    """One a question, in order. A question's own `split` holds. Others go where those of their cluster that have one are, to `dev` where
    these disagree; and clusters without any by their name alone, about `test_share` (0 … 1) of them to `test`.

    So no cluster is in both parts, unless its questions say so; and a question that is added moves no other, unless it says where its
    cluster belongs. The share is that of clusters: with few, or one large, that of the questions may be far from it.
    """
    clusters = [cluster_of(question) for question in questions]
    told: dict[str, set[Split]] = {}
    for question, cluster in zip(questions, clusters, strict=True):
        if question.split is not None:
            told.setdefault(cluster, set()).add(question.split)
    drawn: dict[str, Split] = {cluster: _drawn(cluster, told.get(cluster, set()), test_share, seed) for cluster in dict.fromkeys(clusters)}
    return [question.split or drawn[cluster] for question, cluster in zip(questions, clusters, strict=True)]


def _drawn(cluster: str, told: set[Split], test_share: float, seed: int) -> Split:
    if told:
        return "test" if told == {"test"} else "dev"
    digits = digest_json([seed, cluster]).removeprefix("sha256:")[:_HEX]
    return "test" if int(digits, 16) / 16**_HEX < test_share else "dev"
