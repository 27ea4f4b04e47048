"""What differs between two index versions, at the terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape

from rag_service.comparison import SetComparison
from rag_service.console import out
from rag_service.stores.table_difference import TableDifference
from rag_service.version_difference import VersionDifference


def print_difference(found: VersionDifference) -> None:
    a, b, content = found.a, found.b, found.content
    out.print(f"[bold]{a.version}[/bold] → [bold]{b.version}[/bold]: {summary(content)}")
    for field in found.settings:
        out.print(f"  [yellow]setting[/yellow] {escape(field.name)}: {escape(str(field.a))} → {escape(str(field.b))}", soft_wrap=True)
    _print_ids("[green]added[/green]", content.added_ids, content.added)
    _print_ids("[yellow]changed[/yellow]", content.changed_ids, content.changed)
    _print_ids("[red]removed[/red]", content.removed_ids, content.removed)


def summary(content: TableDifference) -> str:
    """One line."""
    if content.nothing:
        return "the same documents and chunks"
    documents = f"{content.added:,} added, {content.changed:,} changed, {content.removed:,} removed, {content.same:,} as they were"
    return f"documents {documents} · chunks {content.chunks_added:,} new, {content.chunks_removed:,} gone, {content.chunks_same:,} kept"


def described_difference(found: VersionDifference, asked: SetComparison | None, texts: Sequence[str]) -> dict[str, Any]:
    """For programs. Of the questions, `texts`, counts and those that changed."""
    described: dict[str, Any] = {
        "a": found.a.version,
        "b": found.b.version,
        "settings": [asdict(field) for field in found.settings],
        **asdict(found.content),
    }
    if asked is not None:
        described["questions"] = {"texts": list(texts), **asdict(asked)}
    return described


def _print_ids(label: str, ids: Sequence[str], total: int) -> None:
    for identifier in ids:
        out.print(f"  {label} {escape(identifier)}", soft_wrap=True)
    if total > len(ids):
        out.print(f"  {label} … and {total - len(ids):,} more; --json names them")
