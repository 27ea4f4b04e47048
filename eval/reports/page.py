"""A run as one HTML file: it loads nothing, sends nothing, and works from a disk."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from eval.counting import counted
from eval.metrics.catalogue import METRICS
from eval.reports import figures
from eval.reports.charts import Axis, around_zero, from_zero
from eval.reports.comparison import SMALLEST_SLICE
from eval.reports.embedded import Embedded, embedded
from eval.reports.fall import fall_of, label_lines
from eval.reports.leaderboard import BESIDE
from eval.reports.legible import one_line
from eval.reports.manifest import manifest_of, stage_lines
from eval.reports.outcomes import KEY_METRICS, score_of
from eval.reports.risk import risks_of
from eval.reports.scatter import HEIGHT_PX
from eval.reports.table import TITLES
from eval.reports.verdict import HEADROOM, RULE_SIGNS, RULE_TONES, lead, margin_of, rule_figure, rule_name, rule_says, seen
from eval.reports.view import View, is_share
from eval.scores import Score, Undefined
from eval.statistics.grouped import FEWEST_CLUSTERS

_DECIMALS = 3
_MOST_SLICES = 40

_SECTIONS = {
    "verdict": "Verdict",
    "primary": "Difference",
    "guardrails": "Rules",
    "candidates": "Candidates",
    "cost": "Cost",
    "headroom": "Headroom",
    "attribution": "Causes",
    "coverage": "Risk",
    "slices": "Tags",
    "scores": "Scores",
    "flips": "Flips",
    "questions": "Questions",
    "problems": "Errors",
    "timing": "Time",
    "manifest": "Manifest",
}


def page(view: View) -> str:
    """The whole file, UTF-8."""
    data = embedded(view.run, view.sides, view.primary)
    style, script = _asset("report.css"), _asset("report.js")
    sections = _sections(view)
    return (
        _environment()
        .get_template("report.html")
        .render(
            view=view,
            run=view.run,
            title=title(view),
            lead=lead(view),
            sections=[(anchor, name) for anchor, name in _SECTIONS.items() if anchor in sections],
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            data=Markup(data.json),
            left_out=_left_out(view, data),
            **_values(view),
        )
    )


def title(view: View) -> str:
    shown = one_line(view.candidate.name)
    return shown if view.base is None else f"{shown} against {one_line(view.base.name)}"


def _values(view: View) -> dict[str, Any]:
    """What single sections draw."""
    lines = {line.metric: line for group in view.lines.values() for line in group}
    labels = label_lines(view.sides)
    slices = view.comparison.slices if view.comparison else ()
    return {
        "verdict": seen(view.decision) if view.decision else None,
        "rule_tones": RULE_TONES,
        "rule_signs": RULE_SIGNS,
        "rule_name": rule_name,
        "rule_figure": rule_figure,
        "rule_says": rule_says,
        "margin_of": lambda rule: margin_of(rule, view.decision),
        "says": lambda metric: METRICS[metric].says[:1].upper() + METRICS[metric].says[1:] if metric in METRICS else metric,
        "beside": [entry for entry in BESIDE if any(score_of(one, entry[0]) for one in view.run.candidates)],
        "plot_height": HEIGHT_PX,
        "chosen": {view.candidate.name},
        "headroom_words": HEADROOM,
        "judged": any(label.name != "not_judged" for label in labels),
        "labels": labels,
        "fall": fall_of(view.comparison) if view.comparison else None,
        "risks": risks_of(view.sides),
        "curve_key": [(f"curve {'a' if view.base is side else 'b'}", side.name) for side in view.sides],
        "tested": [one for one in slices if one.contrast],
        "untested": [one for one in slices if not one.contrast],
        "smallest_slice": SMALLEST_SLICE,
        "fewest_clusters": FEWEST_CLUSTERS,
        "most_slices": _MOST_SLICES,
        "key_lines": [lines[metric] for metric in KEY_METRICS if metric in lines],
        "titles": TITLES,
        "warnings": list(dict.fromkeys(f"{side.name}: {warning}" for side in view.sides for warning in side.warnings)),
        "stages": stage_lines(view.sides),
        "manifest": manifest_of(view.sides),
        **_axes(view),
    }


def _axes(view: View) -> dict[str, Axis]:
    """One for everything that is compared by the eye."""
    main = [view.main] if view.main else []
    standings = [standing.contrast for standing in view.standings.standings if standing.contrast]
    slices = [one.contrast for one in view.comparison.slices if one.contrast] if view.comparison else []
    headroom = [score.value for side in view.sides for score in side.headroom.values() if not isinstance(score.value, Undefined)]
    return {
        "primary_axis": around_zero([bound for one in main for bound in (one.paired.low, one.paired.high, one.paired.detectable)]),
        "rules_axis": _rules_axis(view),
        "standings_axis": around_zero([bound for one in standings for bound in (one.paired.low, one.paired.high)]),
        "slices_axis": around_zero([bound for one in slices for bound in (one.paired.low, one.paired.high)]),
        "headroom_axis": from_zero(headroom, at_least=0.1),
        "label_axis": from_zero([label.counts[0] for label in label_lines(view.sides)]),
    }


def _rules_axis(view: View) -> Axis:
    rules = [rule for rule in view.decision.rules if rule.difference] if view.decision else []
    bounds = [bound for rule in rules if rule.difference for bound in (rule.difference.low, rule.difference.high, rule.threshold or 0.0)]
    return around_zero([bound for bound in bounds if abs(bound) <= 1])


def _sections(view: View) -> set[str]:
    """Those that the page has; the others have nothing to show."""
    there = {
        "verdict": view.decision is not None,
        "primary": view.main is not None,
        "guardrails": view.decision is not None and bool(view.decision.rules),
        "candidates": len(view.run.candidates) > 2,
        "cost": view.scatter is not None,
        "headroom": bool(view.candidate.headroom),
        "attribution": any(row.label != "not_judged" for row in view.candidate.rows),
        "coverage": risks_of(view.sides) is not None,
        "slices": view.comparison is not None and bool(view.comparison.slices),
        "flips": view.comparison is not None and bool(view.comparison.flips),
    }
    return {anchor for anchor in _SECTIONS if there.get(anchor, True)}


def _left_out(view: View, data: Embedded) -> str:
    said = []
    if data.listed < data.asked:
        said.append(f"{data.asked - data.listed:,} questions of {data.asked:,} are not on this page, which would be too large.")
    if data.passages_left_out:
        said.append(f"The text of {counted(data.passages_left_out, 'passage')} is left out, to keep the page small.")
    return f"{' '.join(said)} `python -m eval show {view.runs[0]} ID` shows everything about a question." if said else ""


def _policy(style: str, script: str) -> str:
    """Nothing is loaded, and nothing runs but the script and the style of this page."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _asset(name: str) -> str:
    return (files("eval.reports") / "templates" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("eval.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        figure=lambda value, metric: _typographic(figures.figure(metric, value, decimals=_DECIMALS)),
        change=lambda value, metric: _typographic(figures.change(metric, value, decimals=_DECIMALS)),
        score=_score,
        value=lambda candidate, metric: _score(score_of(candidate, metric), metric),
        shared=is_share,
        tick=lambda value: _typographic(f"{value:,.10g}"),
        tick_change=lambda value: _typographic(f"{value:+.10g}" if value else "0"),
        share=lambda value: f"{100 * value:.10g} %",
        signed=lambda value: _typographic(f"{value:+,}" if value else "0"),
        cut=lambda text, most: one_line(text, most_chars=most),
        count=lambda value: f"{value:,}",
        p=figures.p_value,
        words=lambda label: label.replace("_", " "),
        seconds=figures.seconds,
    )
    return environment


def _score(score: Score | None, metric: str) -> str:
    return "" if score is None else _typographic(figures.figure(metric, score.value, decimals=_DECIMALS))


def _typographic(shown: str) -> str:
    return shown.replace("-", "−")
