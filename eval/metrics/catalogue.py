"""Every metric by its name: what it says, what it takes, which way is better. The gate and all reports read it here.

A metric's `version` grows when the same answers would get another value; runs that were scored by different versions do not compare.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal, get_args

from eval.metrics.operations import PERCENTILES, STAGES, name_of
from rag_service.errors import NotFound

GroupName = Literal["retrieval", "passages", "answers", "grounding", "abstention", "operations"]
GROUPS: Final[tuple[GroupName, ...]] = get_args(GroupName)
"""In the order of a report: as a question goes through the service."""

Unit = Literal["share", "tokens", "ms", "points"]
"""A `share` lies in [0, 1]."""

Need = Literal[
    "documents",
    "places",
    "references",
    "facts",
    "gold and references",
    "references or unanswerable",
    "right answers",
    "answers",
    "answerable",
    "unanswerable",
    "hits",
    "misses",
    "confidence",
    "times",
]

Taken = Literal["mean", "median", "set"]
"""How many questions make one score. `set`: it is not known of one question."""

NOTHING: Mapping[Need, str] = {
    "documents": "no question names what is relevant to it",
    "places": "no question says where its answer stands",
    "references": "no answerable question has a reference answer",
    "facts": "no question lists the facts of its answer",
    "gold and references": "no question has both gold and a reference answer",
    "references or unanswerable": "no question has a reference answer or is known to be unanswerable",
    "right answers": "no question tells what a right answer to it is",
    "answers": "no question was asked",
    "answerable": "no question of the set is known to be answerable",
    "unanswerable": "no question of the set is known to be unanswerable",
    "hits": "at no question the prompt held all gold",
    "misses": "at no question gold was missing in the prompt",
    "confidence": "no answer with a confidence could be judged",
    "times": "no timing pass: run with --timing",
}
"""Why there is no value where no question has what a metric needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    group: GroupName
    needs: Need
    says: str
    """Of one question, in one line."""
    source: str
    """Whose definition it is."""
    higher_is_better: bool = True
    unit: Unit = "share"
    taken: Taken = "mean"
    version: int = 1

    @property
    def per_question(self) -> bool:
        """Whether rows hold it, so that two candidates can be compared at each question."""
        return self.taken != "set"


_Lines = Mapping[str, tuple[str, str]]
"""Name → what it says, and whose definition it is."""

_RETRIEVAL: _Lines = {
    "success@1": ("the first document is relevant", "trec_eval success"),
    "success@5": ("a relevant document is among the first 5", "trec_eval success"),
    "success@10": ("a relevant document is among the first 10", "trec_eval success"),
    "success@pool": ("a relevant document is in the pool", "trec_eval success"),
    "recall@5": ("relevant documents among the first 5 / relevant documents", "trec_eval recall"),
    "recall@10": ("relevant documents among the first 10 / relevant documents", "trec_eval recall"),
    "recall@pool": ("relevant documents in the pool / relevant documents", "trec_eval recall"),
    "ndcg@10": ("gain of the first 10, discounted by rank / that of the best order of all gold", "trec_eval ndcg_cut"),
    "rr@10": ("1 / rank of the first relevant document among the first 10", "trec_eval recip_rank"),
    "ap": ("mean over all relevant documents of the precision at their rank", "trec_eval map"),
    "rprec": ("precision at as many documents as are relevant", "trec_eval Rprec"),
    "p@5": ("relevant documents among the first 5 / 5", "trec_eval P"),
    "p@10": ("relevant documents among the first 10 / 10", "trec_eval P"),
    "allrecall@5": ("every relevant document is among the first 5", "KILT"),
    "allrecall@10": ("every relevant document is among the first 10", "KILT"),
    "allrecall@pool": ("every relevant document is in the pool", "KILT"),
    "judged@10": ("documents with a judgement among the first 10 / 10", "ir_measures Judged"),
}

_PLACES: _Lines = {
    "passage_success@1": ("the first passage covers half of a gold place", "trec_eval success, by passage"),
    "passage_success@5": ("one of the first 5 passages covers half of a gold place", "trec_eval success, by passage"),
    "passage_success@10": ("one of the first 10 passages covers half of a gold place", "trec_eval success, by passage"),
    "passage_recall@5": ("groups of gold found by the first 5 passages / groups", "trec_eval recall, by group as in KILT"),
    "passage_recall@10": ("groups of gold found by the first 10 passages / groups", "trec_eval recall, by group as in KILT"),
    "passage_recall@pool": ("groups of gold found in the pool / groups", "trec_eval recall, by group as in KILT"),
    "passage_rr@10": ("1 / rank of the first passage among the first 10 that finds a group", "trec_eval recip_rank, by passage"),
    "passage_ndcg@10": ("groups newly found by the first 10 passages, discounted by rank", "nDCG with subtopic gain"),
    "span_recall@5": ("gold characters in the first 5 passages / gold characters", "Chroma evaluating-chunking"),
    "span_precision@5": ("gold characters in the first 5 passages / their characters", "Chroma evaluating-chunking"),
    "span_iou@5": ("gold characters in the first 5 passages / characters of either", "Chroma evaluating-chunking"),
    "hits_recall": ("groups of gold found by the hits, after the reranker / groups", "KILT"),
    "prompt_recall": ("groups of gold found in the prompt / groups", "KILT"),
    "prompt_success": ("a group of gold is found in the prompt", "KILT"),
    "prompt_all": ("every group of gold is found in the prompt", "KILT"),
    "span_recall@prompt": ("gold characters in the prompt / gold characters", "Chroma evaluating-chunking"),
    "span_precision@prompt": ("gold characters in the prompt / characters of its passages", "Chroma evaluating-chunking"),
    "span_iou@prompt": ("gold characters in the prompt / characters of either", "Chroma evaluating-chunking"),
}

_REFERENCES: _Lines = {
    "em": ("the answer is a reference answer", "SQuAD 2.0 HasAns_exact"),
    "f1": ("F1 of the words of answer and reference", "SQuAD 2.0 HasAns_f1"),
    "contains": ("a reference answer stands in the answer", "BERGEN match, by whole tokens"),
    "token_recall": ("words of the reference that the answer holds / words of the reference", "the recall of SQuAD's F1"),
    "rouge_l": ("F1 of the longest common subsequence of words", "ROUGE-L (Lin 2004), tokens of SQuAD"),
    "char3_recall": ("runs of 3 characters of the reference that the answer holds", "BERGEN Recall_char3gram"),
    "numbers_match": ("every number and date of a reference, with sign, % and currency", "this project"),
}

_CORRECT: _Lines = {"correct": ("right: it holds all facts or a reference, in 200 words; of the unanswerable, abstained", "this project")}

_FACTS: _Lines = {"facts": ("facts of which a wording stands in the answer / facts", "TREC nuggets, by wording")}

_KILT: _Lines = {
    "kilt_em": ("the em of an answer whose prompt held all gold, else 0", "KILT"),
    "kilt_f1": ("the f1 of an answer whose prompt held all gold, else 0", "KILT"),
}

_SQUAD: _Lines = {
    "squad_em": ("em of the answerable; of the unanswerable, abstained", "SQuAD 2.0 exact"),
    "squad_f1": ("f1 of the answerable; of the unanswerable, abstained", "SQuAD 2.0 f1"),
}

_SQUAD_HALVES: _Lines = {
    "squad_has_em": ("squad_em of the answerable alone", "SQuAD 2.0 HasAns_exact"),
    "squad_has_f1": ("squad_f1 of the answerable alone", "SQuAD 2.0 HasAns_f1"),
    "squad_no_em": ("squad_em of the unanswerable alone", "SQuAD 2.0 NoAns_exact"),
    "squad_no_f1": ("squad_f1 of the unanswerable alone", "SQuAD 2.0 NoAns_f1"),
}

_LENGTH: _Lines = {"answer_tokens": ("words of the answer, without articles", "this project")}

_WEAK_GOLD: _Lines = {"answer_in_prompt": ("a reference answer stands in a passage of the prompt", "CoFE-RAG, by whole tokens")}

_REDUNDANCY: _Lines = {"redundancy": ("characters of the prompt that another of its passages holds too / all", "this project")}

_GROUNDING: _Lines = {
    "citation_validity": ("citations that name a passage / all that were written", "ALCE"),
    "citation_coverage": ("claiming sentences that cite / claiming sentences", "ALCE"),
    "supported": ("support of the claiming sentences: supported 1, partly .5, unsupported 0", "TREC RAG 2024"),
    "verbatim": ("citations whose sentence stands in the passage word for word", "this project"),
}

_UNSUPPORTED: _Lines = {"unsupported_answers": ("a claiming sentence is supported by no passage", "TREC RAG 2024")}

_GOLD_CITATIONS: _Lines = {
    "gold_citation_precision": ("cited passages that find gold / cited passages", "this project"),
    "gold_citation_recall": ("groups of gold found by cited passages / groups", "this project"),
}

_ABSTENTION: _Lines = {
    "abstain_precision": ("unanswerable, of those abstained on", "SQuAD 2.0"),
    "abstain_f1": ("harmonic mean of abstain_precision and abstain_recall", "SQuAD 2.0"),
}
_ABSTAINED: _Lines = {"abstain_recall": ("abstained, of the unanswerable", "SQuAD 2.0 NoAns_exact")}
_FALSE_ANSWERS: _Lines = {"false_answer_rate": ("answered, of the unanswerable", "SQuAD 2.0")}
_FALSE_ABSTENTIONS: _Lines = {"false_abstain_rate": ("abstained, of the answerable", "SQuAD 2.0")}
_COVERAGE: _Lines = {"coverage": ("answered, of what is not known to be unanswerable", "selective prediction")}
_ON_MISS: _Lines = {"abstain_on_miss": ("abstained, where the prompt did not hold all gold", "this project")}
_ON_HIT: _Lines = {"answer_on_hit": ("answered, where the prompt held all gold", "this project")}

_SELECTIVE: _Lines = {"selective_accuracy": ("right, of those answered", "selective prediction")}

_FALSE_DECISIONS: _Lines = {
    "false_abstain_rate": ("abstained, of the answerable", "SQuAD 2.0"),
    "false_answer_rate": ("answered, of the unanswerable", "SQuAD 2.0"),
}

_UTILITY: _Lines = {
    "net_utility": ("1 if right, -1 if answered wrongly, else 0", "effective reliability (Whitehead et al. 2022)"),
    "net_utility_3": ("1 if right, -3 if answered wrongly, else 0", "effective reliability (Whitehead et al. 2022)"),
}

_RISKS: _Lines = {
    "aurc": ("area under the risk-coverage curve of the answers, by confidence", "Geifman et al. 2019"),
    "e_aurc": ("aurc less that of the best order of the same answers", "Geifman et al. 2019"),
    "ece": ("mean distance of the confidence that there is an answer from the share that have one, 10 bins", "Guo et al. 2017"),
}

_SURE: _Lines = {
    "accuracy@80": ("right, of the surest 80 % of the answers", "selective prediction"),
    "accuracy@90": ("right, of the surest 90 % of the answers", "selective prediction"),
}

_TOKENS: _Lines = {
    "prompt_tokens": ("tokens of the prompt, as the generator counts", "this project"),
    "completion_tokens": ("tokens that were generated, as the generator counts", "this project"),
}

_TRUNCATED: _Lines = {"context_truncated": ("passages did not fit into the prompt", "this project")}


def _all(
    lines: _Lines,
    group: GroupName,
    needs: Need,
    *,
    higher_is_better: bool = True,
    unit: Unit = "share",
    taken: Taken = "mean",
) -> Iterable[Metric]:
    for name, (says, source) in lines.items():
        yield Metric(
            name=name, group=group, needs=needs, says=says, source=source, higher_is_better=higher_is_better, unit=unit, taken=taken
        )


def _times() -> Iterable[Metric]:
    for stage in STAGES:
        for percentile in PERCENTILES:
            words = "longest time" if percentile == "max" else f"{percentile.removeprefix('p')}th percentile of the time"
            whole = "of an answer" if stage == "total" else f"of the stage {stage}"
            lines = {name_of(stage, percentile): (f"{words} {whole}, in milliseconds", "Hyndman & Fan 1996, type 7")}
            yield from _all(lines, "operations", "times", higher_is_better=False, unit="ms", taken="set")


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *_all(_RETRIEVAL, "retrieval", "documents"),
        *_all(_PLACES, "passages", "places"),
        *_all(_WEAK_GOLD, "passages", "references"),
        *_all(_REDUNDANCY, "passages", "answers", higher_is_better=False),
        *_all(_CORRECT, "answers", "right answers"),
        *_all(_REFERENCES, "answers", "references"),
        *_all(_FACTS, "answers", "facts"),
        *_all(_KILT, "answers", "gold and references"),
        *_all(_SQUAD, "answers", "references or unanswerable"),
        *_all(_SQUAD_HALVES, "answers", "references or unanswerable", taken="set"),
        *_all(_LENGTH, "answers", "answers", higher_is_better=False, unit="tokens", taken="median"),
        *_all(_GROUNDING, "grounding", "answers"),
        *_all(_UNSUPPORTED, "grounding", "answers", higher_is_better=False),
        *_all(_GOLD_CITATIONS, "grounding", "documents"),
        *_all(_COVERAGE, "abstention", "answerable"),
        *_all(_FALSE_ABSTENTIONS, "abstention", "answerable", higher_is_better=False),
        *_all(_FALSE_ANSWERS, "abstention", "unanswerable", higher_is_better=False),
        *_all(_ABSTAINED, "abstention", "unanswerable"),
        *_all(_ABSTENTION, "abstention", "unanswerable", taken="set"),
        *_all(_ON_MISS, "abstention", "misses"),
        *_all(_ON_HIT, "abstention", "hits"),
        *_all(_SELECTIVE, "abstention", "right answers"),
        *_all(_UTILITY, "abstention", "right answers", unit="points"),
        *_all(_RISKS, "abstention", "confidence", higher_is_better=False, taken="set"),
        *_all(_SURE, "abstention", "confidence", taken="set"),
        *_times(),
        *_all(_TOKENS, "operations", "answers", higher_is_better=False, unit="tokens"),
        *_all(_TRUNCATED, "operations", "answers", higher_is_better=False),
    )
}
"""In the order of a report: by group."""


def metric(name: str) -> Metric:
    """Raises `NotFound` with what may have been meant."""
    if name not in METRICS:
        near = get_close_matches(name, METRICS, n=3, cutoff=0.5)
        raise NotFound(
            f"there is no metric {name!r}", hint=f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(METRICS)}"
        )
    return METRICS[name]


def metric_versions() -> Mapping[str, int]:
    """Name → version, of every metric."""
    return {name: declared.version for name, declared in METRICS.items()}
