"""`rag-service trace`: the answers that were given, what made them, whether they can be made again, and where two of them part."""

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rag_service.cli import ledger
from rag_service.cli.compare import print_comparison, print_set
from rag_service.cli.ledger import LedgerOption, newest_answer, opened_records
from rag_service.cli.options import IndexesOption, JsonOption, NameOption
from rag_service.cli.questions import QuestionsOption, compared, read_texts
from rag_service.cli.record import print_record, print_replay
from rag_service.console import BarProgress, err, errors_in_words, out
from rag_service.errors import InvalidInput
from rag_service.export import as_json_line
from rag_service.kept import Feedback, Flaw, RecordQuery
from rag_service.redaction import redact
from rag_service.replay import Replay
from rag_service.settings import load_settings
from rag_service.wiring.releases import open_release
from rag_service.wiring.stores import open_catalog

app = typer.Typer(no_args_is_help=True, help="Look at the answers that were given, make them again, compare them.")
ledger.add_commands(app)

IdentifierArgument = Annotated[str | None, typer.Argument(help="Answer id or trace id; default the newest answer.", show_default=False)]
_EXIT_DIVERGED = 3
_ID_CHARS = 12
_Scope = Literal["answered", "abstained"]


@app.command("list")
def list_traces(
    since: Annotated[datetime | None, typer.Option(help="From then on, UTC.", show_default=False)] = None,
    until: Annotated[datetime | None, typer.Option(help="Before then, UTC.", show_default=False)] = None,
    status: Annotated[_Scope | None, typer.Option(help="answered or abstained.", show_default=False)] = None,
    release: Annotated[str | None, typer.Option(help="Release id.", show_default=False)] = None,
    index_version: Annotated[str | None, typer.Option(help="Index version id.", show_default=False)] = None,
    score_below: Annotated[float | None, typer.Option(help="Score of the best passage.", show_default=False)] = None,
    text: Annotated[str | None, typer.Option(help="In the question or the answer.", show_default=False)] = None,
    rating: Annotated[Literal["up", "down", "any"] | None, typer.Option(help="up, down or any.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=10_000, help="How many.")] = 20,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
    as_json: JsonOption = False,
) -> None:
    """The answers that were recorded, newest first. All conditions must hold.

    Example: rag-service trace list --status abstained --since 2026-11-01
    """
    with errors_in_words():
        records = opened_records(ledger_file, indexes)
        query = RecordQuery(
            since_ms=_milliseconds(since), until_ms=_milliseconds(until), status=status, release=release, index_version=index_version,
            score_below=score_below, text=text, rating=rating, limit=limit,
        )  # fmt: skip
        page = records.page(query)
    if as_json:
        rows = [
            {name: getattr(listed.row, name) for name in listed.row.__dataclass_fields__} | {"rating": listed.rating}
            for listed in page.rows
        ]
        out.print_json(json.dumps(rows, ensure_ascii=False))
        return
    if not page.rows:
        err.print("no answers are recorded that fit" if query != RecordQuery(limit=limit) else "no answers are recorded yet")
        return
    table = Table("time (UTC)", "answer", "", "score", "ms", "release", "question", box=None, pad_edge=False)
    for listed in page.rows:
        row = listed.row
        mark = {"answered": "[green]answered[/green]", "abstained": "[yellow]abstained[/yellow]"}[row.status]
        rated = {"up": " [green]+1[/green]", "down": " [red]-1[/red]", None: ""}[listed.rating]
        score = f"{row.top_score:.3f}" if row.top_score is not None else ""
        question = Text(" ".join((row.question or "(not stored)").split())[:200], no_wrap=True, overflow="ellipsis")
        moment = datetime.fromtimestamp(row.created_at_ms / 1000, UTC)
        table.add_row(f"{moment:%Y-%m-%d %H:%M:%S}", row.answer_id, mark + rated, score, f"{row.total_ms:.0f}", row.release, question)
    out.print(table)
    if page.next_before is not None:
        err.print(f"[dim]the newest {limit}; --limit shows more[/dim]")


@app.command()
def show(
    identifier: IdentifierArgument = None, ledger_file: LedgerOption = None, indexes: IndexesOption = None, as_json: JsonOption = False
) -> None:
    """One answer with everything that made it: versions, stages, candidates, prompt, citations.

    Example: rag-service trace show ans_01a20795904ca9a6a00f2f0366deb19c
    """
    with errors_in_words():
        records = opened_records(ledger_file, indexes)
        kept = records.show(identifier or newest_answer(records))
    if as_json:
        out.print_json(as_json_line(kept).decode())
    else:
        print_record(kept)


@app.command()
def replay(
    identifiers: Annotated[list[str] | None, typer.Argument(help="Answer ids; default the newest answer.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every recorded answer; prints a count of the verdicts.")] = False,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an answer again from the artefacts that its release names, and say where the two part.

    Verdicts: exact, same_context (same passages, other text), diverged_at:<stage>, not_replayable:<what is missing>. The exit code is 0
    when every verdict is exact, otherwise 3.

    Example: rag-service trace replay ans_01a20795904ca9a6a00f2f0366deb19c
    """
    counts: dict[str, int] = {}
    with errors_in_words():
        records = opened_records(ledger_file, indexes)
        wanted = list(identifiers or ())
        if everything:
            wanted = [found.record.answer_id for found in records.records(RecordQuery()) if not isinstance(found, Flaw)]
        with BarProgress() as progress:
            progress.stage("replay", len(wanted) or 1)
            for one in wanted or [newest_answer(records)]:
                _, made, _ = records.replay(one)
                counts[made.verdict] = counts.get(made.verdict, 0) + 1
                _say_replay(made, as_json=as_json, in_short=everything)
                progress.advance()
    if everything:
        out.print("  ".join(f"{verdict}: {count:,}" for verdict, count in sorted(counts.items())) or "no answers are recorded yet")
    if set(counts) - {"exact"}:
        raise typer.Exit(_EXIT_DIVERGED)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Answer id; or a release id, with --questions.")],
    b: Annotated[str, typer.Argument(help="The same, of what to compare it with.")],
    questions: QuestionsOption = None,
    name: NameOption = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Where two answers part: parts of the release, first stage, passages, prompt, text. Nothing is asked again.

    With --questions, where two releases part over a set of questions, which both are asked.

    Example: rag-service trace compare 5bb8a469f736 2da9a7a37b81 --questions questions.jsonl
    """
    with errors_in_words():
        if questions is None:
            if len(a) == len(b) == _ID_CHARS:
                raise InvalidInput(
                    "these are ids of releases", hint="add --questions FILE: two releases are compared over a set of questions"
                )
            _, _, comparison = opened_records(ledger_file, indexes).compare(a, b)
            print_comparison(comparison)
            return
        texts = read_texts(questions)
        settings = load_settings(name=name, indexes=indexes)
        catalog = open_catalog(settings)
        first, second = (open_release(settings, catalog, settings.name, catalog.release(settings.name, one)).pipeline for one in (a, b))
        print_set(compared(first, second, texts), texts)


@app.command()
def rate(
    identifier: Annotated[str, typer.Argument(help="Answer id.")],
    rating: Annotated[Literal["up", "down"] | None, typer.Argument(help="up or down.", show_default=False)] = None,
    comment: Annotated[str | None, typer.Option(help="Why.", show_default=False)] = None,
    expected: Annotated[str | None, typer.Option(help="The answer that should have come.", show_default=False)] = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Say what you think of an answer. `trace export --as questions` makes evaluation questions of rated answers."""
    with errors_in_words():
        if rating is None and not comment and not expected:
            raise InvalidInput("there is nothing to say", hint="give up or down, --comment or --expected")
        said = Feedback(
            rating, redact(comment) if comment else None, redact(expected) if expected else None, None, time.time_ns() // 1_000_000
        )
        receipt = opened_records(ledger_file, indexes).rate(identifier, said)
    out.print(f"[green]noted[/green] as entry {receipt.seq}")


def _say_replay(made: Replay, *, as_json: bool, in_short: bool) -> None:
    if as_json:
        fields = ("answer_id", "trace_id", "verdict", "headline", "recomputed", "taken", "differs_here", "duration_ms")
        out.print_json(json.dumps({name: getattr(made, name) for name in fields}))
    elif not in_short:
        print_replay(made)
    elif made.verdict != "exact":
        out.print(f"{made.answer_id}  [yellow]{escape(made.verdict)}[/yellow]  {escape(made.headline)}")


def _milliseconds(moment: datetime | None) -> int | None:
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000) if moment else None
