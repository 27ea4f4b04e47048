"""A decision, and a choice among many, for people at a terminal: fits 80 columns, without colour where the output is no terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.choosing import Choice
from eval.decision import Decision, Party, Rule, Verdict
from eval.reports.figures import change, change_interval, figure, p_value
from eval.reports.layout import columns, facts
from eval.reports.legible import one_line

_STYLES: dict[Verdict, str] = {"PROMOTE": "bold green", "REJECT": "bold red", "INCONCLUSIVE": "bold yellow", "INVALID": "bold magenta"}
_STATES = {"passed": Text("ok", style="green"), "failed": Text("broken", style="red"), "unclear": Text("unclear", style="yellow")}
_COUNTED = {"new_failures": "newly wrong", "behaviours": "behaviours"}
_SHOWN_IDS = 5


def decision_table(decision: Decision) -> RenderableType:
    """The verdict, who was compared on what, every rule, why, and what to bear in mind."""
    parts: list[RenderableType] = [_head(decision), Text()]
    if decision.rules:
        parts.extend([_rules(decision), Text()])
    return Group(*parts, _said(decision))


def choice_table(choice: Choice) -> RenderableType:
    """Who is taken to the test part and why, and what became of the others."""
    made = columns("gain", "p", choice.cost, "", apart=2)
    for contender in choice.contenders:
        chosen = contender.name == choice.chosen
        state = "chosen" if chosen else "would do" if not contender.problem else "not better"
        made.add_row(
            Text(one_line(contender.name), style="bold green" if chosen else ""),
            Text(f"{contender.gain:+.4f}"),
            Text(p_value(contender.p)),
            Text(f"{contender.cost:,.1f}{' *' if contender.on_front else '  '}"),
            Text(state, style="green" if chosen else "dim"),
        )
    said = facts()
    said.add_row("chosen", Text(one_line(choice.chosen) if choice.chosen else "none", style="bold"))
    said.add_row("why", Text(one_line(choice.why)))
    for why in choice.left_out:
        said.add_row("left out", Text(one_line(why), style="yellow"))
    return Group(made, Text("* none is as good and cheaper", style="dim"), Text(), said)


def _head(decision: Decision) -> Table:
    grid = facts()
    grid.add_row("verdict", Text(decision.verdict, style=_STYLES[decision.verdict]))
    grid.add_row("candidate", _party(decision.candidate))
    grid.add_row("base", _party(decision.base))
    part = "" if decision.part == "all" else f" of the part {decision.part}"
    looked = f"; look {decision.looks} of {decision.policy.max_looks}" if decision.looks else ""
    grid.add_row("questions", Text(f"{one_line(decision.questions)}: {decision.n_questions:,}{part}{looked}"))
    return grid


def _party(party: Party) -> Text:
    return Text(f"{one_line(party.name)}, release {party.release}, run {party.run}")


def _rules(decision: Decision) -> Table:
    level = f"{100 * (1 - decision.policy.alpha):g} %"
    made = columns("base", "candidate", f"change, {level}", "asked", "")
    for rule in decision.rules:
        made.add_row(
            Text(_name(rule)), _number(rule, rule.base), _number(rule, rule.candidate), _change(rule), _asked(rule), _STATES[rule.state]
        )
    return made


def _name(rule: Rule) -> str:
    return _COUNTED.get(rule.kind, rule.metric)


def _number(rule: Rule, value: float | None) -> Text:
    if value is None:
        return Text("")
    return Text(f"{value:,.0f}" if rule.kind in _COUNTED else figure(rule.metric, value, decimals=3))


def _change(rule: Rule) -> Text:
    found = rule.difference
    return Text("") if found is None else Text(change_interval(rule.metric, found.low, found.high, decimals=3))


def _asked(rule: Rule) -> Text:
    """In signs; the sentences below have words."""
    if rule.threshold is None:
        return Text("")
    if rule.kind in _COUNTED:
        return Text(f"{'≤' if rule.kind == 'new_failures' else 'all'} {rule.threshold:,.0f}")
    if rule.difference is None:
        return Text(rule.asked.replace("at most", "≤").replace("at least", "≥").replace(" and ", " ").replace(" the base's", ""))
    wanted = rule.kind == "primary" and rule.asked.startswith("better")
    return Text(f"{'≥' if rule.higher_is_better else '≤'} {change(rule.metric, _signed(rule, wanted=wanted), decimals=3)}")


def _signed(rule: Rule, *, wanted: bool) -> float:
    threshold = rule.threshold or 0.0
    return threshold if wanted == rule.higher_is_better else -threshold


def _said(decision: Decision) -> Table:
    grid = facts()
    for reason in decision.reasons if decision.verdict != "PROMOTE" else ():
        grid.add_row("why", Text(one_line(reason)))
    if decision.broken:
        more = f", … {len(decision.broken) - _SHOWN_IDS:,} more" if len(decision.broken) > _SHOWN_IDS else ""
        grid.add_row("newly wrong", Text(", ".join(map(one_line, decision.broken[:_SHOWN_IDS])) + more))
    for note in decision.notes:
        grid.add_row("note", Text(one_line(note), style="yellow"))
    return grid
