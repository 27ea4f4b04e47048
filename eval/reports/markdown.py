"""A run, and what was decided on it, as Markdown for a pull request: a verdict, few rows, the worst first.

The first line is a comment that nobody sees. Whoever posts the text finds the earlier one by it and replaces it, so that a pull request
has one comment however often it is evaluated.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from eval.counting import counted
from eval.decision import Decision, Rule
from eval.reports.comparison import Comparison, Contrast, Flip, compared
from eval.reports.comparison_table import headline, settings
from eval.reports.figures import change, figure, p_value
from eval.reports.legible import one_line
from eval.reports.outcomes import KEY_METRICS, reach, score_of
from eval.reports.standings import standings_of
from eval.reports.verdict import rule_figure, rule_name
from eval.reports.view import chosen, decision_on
from eval.results import Measured, Run
from rag_service.digests import digest_text

MOST_ROWS = 12
MOST_REGRESSIONS = 5
_LISTED_CANDIDATES = 12
_METRICS = (
    "correct",
    "f1",
    "facts",
    "contains",
    "ndcg@10",
    "prompt_recall",
    "citation_validity",
    "supported",
    "coverage",
    "false_answer_rate",
    "false_abstain_rate",
    "answer_tokens",
)
"""As many as there are rows."""
_QUESTION_CHARS = 140

_SIGNS = {"PROMOTE": "✅", "REJECT": "❌", "INCONCLUSIVE": "❔", "INVALID": "⚠️"}
_STATES = {"passed": "✅", "failed": "❌", "unclear": "❔"}
_SAYS = {"better": "▲", "worse": "▼", "nothing": ""}


def marker(questions: str) -> str:
    """The hidden comment of the evaluations on one question set."""
    return f"<!-- rag-service eval {digest_text(questions)[7:19]} -->"


def run_markdown(run: Run, decision: Decision | None = None, *, base: str | None = None, candidate: str | None = None) -> str:
    """Of two candidates or more: the comparison that is named, or that was decided on, or the first with the best of the others. Of one:
    its scores. Raises `NotFound` for a name that is not in the run.
    """
    shown, beside = chosen(run, standings_of(run.candidates), decision, base, candidate)
    decision = decision_on(decision, shown, beside)
    lines = [marker(run.questions.name), *(_verdict(decision) if decision else ())]
    if beside is None:
        return _joined([*lines, f"### {_code(shown.name)} on {_code(run.questions.name)}", "", *_scores(shown), *_ends(run)])
    found = compared(beside, shown, only=_METRICS)
    if decision is None:
        return _joined([*lines, *_comparison(found), *_candidates(run), *_changed(found), *_ends(run)])
    rules = _rules(decision) if decision.rules else _contrasts(found)
    return _joined([*lines, _plain(headline(found)), "", *rules, *_regressions(found), *_candidates(run), *_changed(found), *_ends(run)])


def comparison_markdown(found: Comparison, questions: str) -> str:
    """`questions` is the name of the set."""
    return _joined([marker(questions), *_comparison(found), *_changed(found)])


def decision_markdown(decision: Decision) -> str:
    """What is known without the run: the verdict, its rules, and the ids of questions that are newly wrong."""
    lines = [marker(decision.questions), *_verdict(decision), *_rules(decision)]
    if decision.broken:
        lines += ["", f"**{counted(len(decision.broken), 'question')} newly wrong**, {len(decision.mended):,} newly right:", ""]
        lines += [f"- {_code(identifier)}" for identifier in decision.broken[:MOST_REGRESSIONS]]
        lines += _and_more(len(decision.broken))
    lines += [
        "",
        f"<sub>{counted(decision.n_questions, 'question')} of {_code(decision.questions)}; policy {decision.policy_digest[7:19]}</sub>",
    ]
    return _joined(lines)


def _comparison(found: Comparison) -> Iterator[str]:
    yield f"### {_code(found.candidate.name)} against {_code(found.base.name)}"
    yield ""
    yield _plain(headline(found))
    yield ""
    yield from _contrasts(found)
    yield from _regressions(found)


def _verdict(decision: Decision) -> Iterator[str]:
    yield f"## {_SIGNS[decision.verdict]} {decision.verdict}: {_code(decision.candidate.name)} against {_code(decision.base.name)}"
    yield ""
    yield from (f"- {_plain(reason)}" for reason in decision.reasons[:MOST_ROWS])
    if decision.verdict == "INCONCLUSIVE" and decision.needed is not None:
        yield f"- about {counted(decision.needed, 'question')} would settle it"
    yield ""


def _rules(decision: Decision) -> list[str]:
    rows = [_rule(rule) for rule in sorted(decision.rules, key=lambda rule: rule.state == "passed")]
    return _table(("", "rule", "asked", "base", "candidate", "difference"), rows)


def _rule(rule: Rule) -> Sequence[str]:
    found = rule.difference
    difference = ""
    if found is not None:
        low, high = (change(rule.metric, bound, decimals=3) for bound in (found.low, found.high))
        difference = f"{change(rule.metric, found.difference, decimals=3)} [{low}, {high}]"
    values = (rule_figure(rule, rule.base), rule_figure(rule, rule.candidate))
    return (_STATES[rule.state], _code(rule_name(rule)), _plain(rule.asked), *values, difference)


def _contrasts(found: Comparison) -> list[str]:
    shown = [one for one in found.contrasts if one.metric in _METRICS or one.metric == found.primary]
    return _table(("", "metric", "base", "candidate", "difference", "p"), [_contrast(one) for one in shown])


def _contrast(one: Contrast) -> Sequence[str]:
    paired = one.paired
    low, high = (change(one.metric, bound, decimals=3) for bound in (paired.low, paired.high))
    return (
        _SAYS[one.says],
        _code(one.metric),
        figure(one.metric, paired.base, decimals=3),
        figure(one.metric, paired.candidate, decimals=3),
        f"{change(one.metric, paired.difference, decimals=3)} [{low}, {high}]",
        p_value(one.p),
    )


def _scores(shown: Measured) -> list[str]:
    rows = []
    for metric in KEY_METRICS:
        score, interval = score_of(shown, metric), reach(shown, metric)
        if score is not None:
            between = "" if interval is None else " to ".join(figure(metric, bound, decimals=3) for bound in (interval.low, interval.high))
            numbers = f"{score.n_scored:,} of {score.n_applicable:,}"
            rows.append((_code(metric), figure(metric, score.value, decimals=3), between, numbers))
    return _table(("metric", "value", "95 % interval", "scored"), rows)


def _regressions(found: Comparison) -> Iterator[str]:
    yield ""
    yield f"**{counted(len(found.broken), 'question')} newly wrong**, {len(found.mended):,} newly right."
    if found.broken:
        yield ""
        yield from (_flip(flip) for flip in found.broken[:MOST_REGRESSIONS])
        yield from _and_more(len(found.broken))


def _flip(flip: Flip) -> str:
    labels = f"{flip.base.label} → {flip.candidate.label}".replace("_", " ")
    return f"- {_code(flip.base.question.question, most_chars=_QUESTION_CHARS)} {labels} ({_code(flip.base.id)})"


def _and_more(number: int) -> list[str]:
    return [f"- and {number - MOST_REGRESSIONS:,} more"] if number > MOST_REGRESSIONS else []


def _candidates(run: Run) -> Iterator[str]:
    """Of a run with more than two: the best."""
    if len(run.candidates) < 3:
        return
    found = standings_of(run.candidates)
    if found.primary is None:
        return
    yield ""
    yield f"<details><summary>{len(run.candidates)} candidates, by {found.primary}</summary>"
    yield ""
    rows = []
    for standing in found.standings[:_LISTED_CANDIDATES]:
        value = figure(found.primary, standing.estimate.mean, decimals=3) if standing.estimate else ""
        p = p_value(standing.contrast.p) if standing.contrast else ""
        difference = change(found.primary, standing.contrast.paired.difference, decimals=3) if standing.contrast else ""
        rows.append((_code(standing.candidate.name), value, difference, p))
    yield from _table(("candidate", found.primary, "difference", "p (Holm)"), rows)
    yield ""
    yield "</details>"


def _changed(found: Comparison) -> Iterator[str]:
    changes = list(settings(found))
    if changes:
        yield ""
        yield "<details><summary>What differs in settings</summary>"
        yield ""
        yield from (f"- {_code(change_)}" for change_ in changes[:MOST_ROWS])
        yield ""
        yield "</details>"


def _ends(run: Run) -> Iterator[str]:
    yield ""
    questions = f"{counted(run.questions.n_asked, 'question')} of {_code(run.questions.name)}"
    yield f"<sub>{questions}; `python -m eval report {run.id}`</sub>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *list(rows)[:MOST_ROWS])]


def _code(text: str, *, most_chars: int | None = None) -> str:
    """Any text as a span of code: nobody is mentioned, nothing is linked or loaded, and no table is broken in it."""
    text = one_line(text, most_chars=most_chars).replace("|", "\\|")
    if not text:
        return "``` ```"
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def _plain(text: str) -> str:
    """A sentence of ours in which names and ids of others stand: what Markdown or HTML would take for its own is escaped."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", one_line(text))
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
