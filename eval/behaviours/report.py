"""Verdicts for people, and for programs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eval.behaviours.case import Verdict

SCHEMA: Literal["rag.behaviours/v1"] = "rag.behaviours/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaved:
    """A whole run of the suite."""

    schema_: Annotated[Literal["rag.behaviours/v1"], Field(alias="schema")] = SCHEMA
    of: str
    """Who was asked, for people: a release, a file of settings, an address."""
    passed: bool
    """Every case did that must."""
    verdicts: tuple[Verdict, ...]


_ADAPTER = TypeAdapter(Behaved)


def behaved(of: str, verdicts: Sequence[Verdict]) -> Behaved:
    return Behaved(of=of, passed=not failed_musts(verdicts), verdicts=tuple(verdicts))


def failed_musts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.must and not verdict.passed]


def to_json(found: Behaved) -> str:
    return _ADAPTER.dump_json(found, by_alias=True, indent=1).decode() + "\n"


def table(found: Behaved) -> RenderableType:
    """A row for each kind of case, then every case that failed, with what was said and what was expected."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("behaviour")
    for header in ("must", "should"):
        grid.add_column(header, justify="right")
    for kind, verdicts in _by_kind(found.verdicts):
        grid.add_row(kind, *(_passed(verdicts, must=must) for must in (True, False)))
    grid.add_row("[bold]all[/bold]", *(_passed(found.verdicts, must=must) for must in (True, False)))
    failed = [verdict for verdict in found.verdicts if not verdict.passed]
    return Group(Text(found.of, style="bold"), grid, *(part for verdict in failed for part in _shown(verdict)), _said(found))


def _by_kind(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, list[Verdict]]]:
    for kind, some in groupby(sorted(verdicts, key=lambda verdict: verdict.kind), key=lambda verdict: verdict.kind):
        yield kind, list(some)


def _passed(verdicts: Sequence[Verdict], *, must: bool) -> str:
    counted = Counter(verdict.passed for verdict in verdicts if verdict.must is must)
    if not counted:
        return "–"
    shown = f"{counted[True]} of {counted.total()}"
    return shown if not counted[False] else f"[{'bold red' if must else 'yellow'}]{shown}[/]"


def _shown(verdict: Verdict) -> Iterator[RenderableType]:
    colour = "bold red" if verdict.must else "yellow"
    yield Text.from_markup(f"\n[{colour}]{verdict.level}[/] {escape(verdict.name)}")
    yield Text(f"  asked     {verdict.asked}")
    yield Text(f"  said      {verdict.said}")
    for problem in verdict.problems:
        yield Text(f"  but       {problem}")


def _said(found: Behaved) -> RenderableType:
    failed = failed_musts(found.verdicts)
    if not failed:
        return Text.from_markup("\n[green]every case passed that must[/green]")
    return Text.from_markup(f"\n[bold red]{len(failed)} of the cases that must pass did not[/bold red]")
