"""Drift at the terminal, within 80 columns."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from rag_service.console import err, out
from rag_service.drift.reference import Reference
from rag_service.drift.report import Finding, Report, Side, Source, State, SystemState

_STATES: dict[State, str] = {
    "alarm": "[bold red]ALARM[/bold red]",
    "significant": "[yellow]small[/yellow]",
    "quiet": "[green]quiet[/green]",
    "undefined": "[dim]–[/dim]",
}
_SYSTEM: dict[SystemState, str] = {
    "same": "[green]same[/green]",
    "released": "[yellow]another release[/yellow]",
    "alarm": "[bold red]ALARM[/bold red]",
    "undefined": "[dim]not known[/dim]",
}
_SOURCES: dict[Source, str] = {"questions": "a file of questions", "evaluation": "an evaluation"}
_SIDE_CHARS = 18


def print_report(report: Report) -> None:
    different = report.different
    head = f"{len(different)} of {len(report.defined)} signals" if different else "no signal"
    style = "bold red" if report.alarms else "bold green" if report.defined and not different else "bold yellow"
    out.print(f"[{style}]{head} {'differ' if len(different) > 1 else 'differs'}[/] from reference {report.reference_id}")
    out.print(f"[dim]reference {_when(report.reference, report.source)}  {report.reference.questions:,} questions[/dim]")
    window = report.window
    out.print(f"[dim]window    {_when(window)}  {window.questions:,} questions of {window.records:,} records[/dim]")
    for about, title in (("questions", "traffic: what is asked"), ("answers", "traffic: what becomes of it")):
        out.print(f"\n[bold]{title}[/bold]")
        out.print(_table([finding for finding in report.findings if finding.about == about]))
    out.print("\n[bold]system: canary questions asked again[/bold]")
    _print_system(report)
    for finding in report.findings:
        if finding.state == "undefined":
            err.print(f"[dim]{escape(finding.title)}: undefined, {escape(finding.why)}[/dim]", soft_wrap=True)
    for note in report.notes:
        err.print(f"[yellow]note[/yellow] {escape(note)}", soft_wrap=True)
    out.print(
        f"\n[dim]alarm: p ≤ {report.alpha:g} after Holm, and an effect of at least the floor; {report.draws:,} permutations of whole "
        "conversations. Drift says that inputs differ, not that answers are wrong.[/dim]"
    )


def print_references(found: Sequence[Reference], active_encoder: str | None) -> None:
    table = Table("reference", "made (UTC)", "questions", "from", "encoder", box=None, pad_edge=False)
    for reference in found:
        side, encoder = reference.side, escape(reference.encoder.name)
        usable = reference.encoder.digest == active_encoder
        source = f"{side.since[:10]} – {side.until[:10]}" if side.since else _SOURCES[reference.source]
        source += ", searched anew" if reference.source == "searches" else ""
        shown = encoder if usable else f"[yellow]{encoder}, not the active one[/yellow]"
        table.add_row(reference.id, reference.made_at[:16].replace("T", " "), f"{side.questions:,}", source, shown)
    out.print(table)


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name, right in (("signal", False), ("was", True), ("is", True), ("effect", True), ("floor", True), ("p", True), ("", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for finding in findings:
        effect = "" if finding.effect is None else f"{finding.effect_name} {finding.effect:.2f}"
        p = "" if finding.p_adjusted is None else f"{finding.p_adjusted:.3f}"
        table.add_row(
            escape(finding.title), finding.reference, escape(finding.window[:_SIDE_CHARS]), effect, f"{finding.floor:.2f}", p,
            "[yellow]unlike[/yellow]" if finding.unlike else _STATES[finding.state],
        )  # fmt: skip
    return table


def _print_system(report: Report) -> None:
    system = report.system
    asked = f" {system.asked} asked of release {system.release}" if system.asked else ""
    out.print(f"{_SYSTEM[system.state]}{asked}{': ' if system.why else ''}{escape(system.why)}", soft_wrap=True)
    for changed in system.changed:
        out.print(f"  {escape(changed)}")


def _when(side: Side, source: Source = "records") -> str:
    if not side.since:
        return _SOURCES.get(source, "a file of questions")
    return f"{side.since[:16].replace('T', ' ')} – {side.until[:16].replace('T', ' ')}"
