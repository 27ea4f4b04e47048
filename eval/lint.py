"""The verb: a question set → what its author should know before anything is spent on it."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from eval.clusters import cluster_of
from eval.duplicates import NEAR, duplicates, similar, words_of
from eval.findings import Finding
from eval.gold_faults import gold_faults
from eval.metrics.answers import containment, tokens
from eval.questions import EvalQuestion, QuestionSet
from eval.questions.native import native_question
from eval.questions.question import check, repeated_id
from eval.questions.rows import lines
from eval.splits import splits_of
from rag_service.errors import InvalidInput
from rag_service.ports import ChunkTable

LEAST_IN_PROMPT = 4
"""Words of a question that must stand in a prompt together to say that the prompt knows it."""
TYPICAL_DISCORDANCE = 0.1
"""Share of the answers that become right or wrong from one candidate to the next."""
_SENTENCE = re.compile(r"[.!?\n]+")


def lint(
    questions: QuestionSet,
    *,
    chunks: ChunkTable | None = None,
    index: str = "",
    templates: Mapping[str, str] | None = None,
    test_share: float = 0.0,
    seed: int = 7,
) -> list[Finding]:
    """Errors first, then in the order of the set. `chunks` are those of index `index`, to look for the gold in; `templates` prompts by
    name, to look for the questions in. `test_share` and `seed` divide the set as a run does.
    """
    asked = questions.questions
    parts = splits_of(asked, test_share=test_share, seed=seed)
    divided = len(set(parts)) > 1 or test_share > 0
    found = [
        *_pairs(questions, parts),
        *(_divided_clusters(questions, parts) if divided else ()),
        *gold_faults(questions, chunks, index=index),
        *_leaks(questions),
        *_in_prompts(questions, templates or {}),
        *_sizes(
            questions, {part: [q for q, p in zip(asked, parts, strict=True) if p == part] for part in ("dev", "test")} if divided else {}
        ),
        *_groups(questions),
        *_kinds(questions),
    ]
    order = {question.id: number for number, question in enumerate(asked)}
    return sorted(found, key=lambda finding: (finding.severity != "error", order.get(finding.question or "", -1)))


def faults(text: str, path: Path) -> list[Finding]:
    """Of a JSONL file of our own form: every row that cannot be read, where reading it as a set stops at the first."""
    found: list[Finding] = []
    ids: dict[str, str] = {}
    for place, line in lines(text, path.name):
        try:
            question = native_question(line, place)
            check(place, question)
            if question.id in ids:
                raise repeated_id(place, question, ids[question.id])
            ids[question.id] = place
        except InvalidInput as error:
            found.append(Finding("error", "invalid_row", place, error.message.removeprefix(f"{place}: "), error.hint))
    return found


def _pairs(questions: QuestionSet, parts: Sequence[str]) -> Iterator[Finding]:
    asked = questions.questions
    for pair in duplicates(asked):
        one, other = asked[pair.first], asked[pair.second]
        across = parts[pair.first] != parts[pair.second]
        how = "the same as" if pair.same else "nearly the same as"
        where = f", which is in the {parts[pair.first]} part, and this in {parts[pair.second]}" if across else ""
        yield Finding(
            "error" if pair.same and across else "warning",
            "in_both_parts" if across else "same_question" if pair.same else "near_duplicate",
            questions.read_from.get(other.id, questions.name),
            f"question {other.id!r} is {how} {one.id!r}{where}",
            "give both one group, so that they stay in one part" if across else "delete one of them, or give both one group",
            other.id,
        )


def _divided_clusters(questions: QuestionSet, parts: Sequence[str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    told: set[str] = set()
    for question, part in zip(questions.questions, parts, strict=True):
        cluster = cluster_of(question)
        if seen.setdefault(cluster, part) != part and cluster not in told:
            told.add(cluster)
            yield Finding(
                "error", "in_both_parts", questions.read_from.get(question.id, questions.name),
                f"questions of the cluster {cluster!r} are in both parts: what is chosen on dev has seen the documents of test",
                "give all questions of one group or document the same split", question.id,
            )  # fmt: skip


def _leaks(questions: QuestionSet) -> Iterator[Finding]:
    for question in questions.questions:
        leaked = next((answer for answer in question.answers if containment(question.question, [answer]) == 1.0), None)
        if leaked is not None:
            yield Finding(
                "warning", "answer_in_question", questions.read_from.get(question.id, questions.name),
                f"question {question.id!r} holds its answer {_cut(leaked)!r}: whoever repeats it is right",
                "ask so that the answer must be found", question.id,
            )  # fmt: skip


def _in_prompts(questions: QuestionSet, templates: Mapping[str, str]) -> Iterator[Finding]:
    asked = questions.questions
    whole = {name: f" {' '.join(tokens(text))} " for name, text in templates.items()}
    sentences = [(name, frozenset(words_of(part))) for name, text in templates.items() for part in _SENTENCE.split(text) if part.strip()]
    words = [frozenset(words_of(question.question)) for question in asked]
    near: dict[int, str] = {}
    for first, second in similar([part for _, part in sentences] + words, NEAR) if sentences else ():
        if first < len(sentences) <= second and len(words[second - len(sentences)]) >= LEAST_IN_PROMPT:
            near.setdefault(second - len(sentences), sentences[first][0])
    for number, question in enumerate(asked):
        shown = tokens(question.question)
        known = next((name for name, text in whole.items() if len(shown) >= LEAST_IN_PROMPT and f" {' '.join(shown)} " in text), None)
        if known or number in near:
            yield Finding(
                "error" if known else "warning", "in_prompt", questions.read_from.get(question.id, questions.name),
                f"question {question.id!r} {'stands' if known else 'nearly stands'} in the prompt {known or near[number]}",
                "what a prompt gives as an example cannot measure it: ask something else", question.id,
            )  # fmt: skip


def _sizes(questions: QuestionSet, parts: Mapping[str, Sequence[EvalQuestion]]) -> Iterator[Finding]:
    """Of the parts, where there are several, and otherwise of the set."""
    from eval.statistics.grouped import FEWEST_CLUSTERS
    from eval.statistics.power import detectable, sd_of_discordance

    for name, asked in (parts or {"": questions.questions}).items():
        which = f"the {name} part" if name else "the set"
        clusters = Counter(map(cluster_of, asked))
        if not asked:
            yield Finding(
                "error", "too_small", questions.name, f"{which} holds no question", "give another share or seed, or mark questions"
            )
            continue
        if len(clusters) < FEWEST_CLUSTERS:
            yield Finding(
                "warning", "few_clusters", questions.name,
                f"{which} has {len(clusters)} clusters; with fewer than {FEWEST_CLUSTERS} nothing is decided",
                "ask about more documents: questions about one document are right or wrong together",
            )  # fmt: skip
        cluster, largest = clusters.most_common(1)[0]
        if len(clusters) > 1 and largest > len(asked) / 2:
            yield Finding(
                "warning", "large_cluster", questions.name,
                f"{largest:,} of {len(asked):,} questions of {which} are about {_cut(cluster)!r}: every figure is mostly about it",
                "ask about other documents as well",
            )  # fmt: skip
        smallest = detectable(sd_of_discordance(TYPICAL_DISCORDANCE), len(asked))
        if smallest > TYPICAL_DISCORDANCE:
            yield Finding(
                "warning", "too_small", questions.name,
                f"{which} has {len(asked):,} questions: where {TYPICAL_DISCORDANCE:.0%} of the answers change, they show a difference of "
                f"{smallest:.1%} and more, which there cannot be",
                "ask more questions; `python -m eval power` says how many",
            )  # fmt: skip


def _groups(questions: QuestionSet) -> Iterator[Finding]:
    """A group of one whose name is nearly that of another: it was meant."""
    sizes = Counter(question.group for question in questions.questions if question.group)
    for question in questions.questions:
        if sizes.get(question.group) != 1:
            continue
        others = [name for name, size in sizes.items() if size > 1]
        close = difflib.get_close_matches(question.group, others, n=1, cutoff=0.85)
        if close and not _numbered(question.group, close[0]):
            yield Finding(
                "warning", "lone_group", questions.read_from.get(question.id, questions.name),
                f"{question.id!r} is alone in the group {question.group!r}", f"did you mean {close[0]!r}?", question.id,
            )  # fmt: skip


def _numbered(one: str, other: str) -> bool:
    """Whether the two differ in numbers: then both are meant."""
    return re.findall(r"\d+", one) != re.findall(r"\d+", other)


def _kinds(questions: QuestionSet) -> Iterator[Finding]:
    asked = questions.questions
    if questions.left_out:
        yield Finding(
            "warning", "left_out", questions.name, f"{questions.left_out:,} queries have no judgement and are not asked",
            "`python -m eval import beir` keeps them as questions of which nothing is known",
        )  # fmt: skip
    if not any(question.answerable is False for question in asked):
        yield Finding(
            "warning", "no_unanswerable", questions.name, "no question is unanswerable: a service that never abstains looks perfect",
            'add questions that the documents do not answer, with "answerable": false; a third is a good share',
        )  # fmt: skip
    if all(question.answerable is False for question in asked):
        yield Finding(
            "warning", "no_answerable", questions.name, "no question is answerable: a service that always abstains looks perfect",
            "add questions that the documents answer",
        )  # fmt: skip
    for question in asked:
        if not _known(question):
            yield Finding(
                "warning", "nothing_known", questions.read_from.get(question.id, questions.name),
                f"nothing is known of {question.id!r}: it is asked, and scored by no metric of answers or retrieval",
                "add answers, facts or gold, or mark it unanswerable", question.id,
            )  # fmt: skip


def _known(question: EvalQuestion) -> Iterable[object]:
    known = question.answers or question.facts or question.relevant or question.gold_texts or question.places
    return known or ([False] if question.answerable is False else [])


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
