"""The commands of `rag-service trace` that are about the ledger as a whole: export, verify, replayable, erase, prune, backup, migrate."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer
from rich.markup import escape

from rag_service.cli.options import IndexesOption, JsonOption
from rag_service.console import BarProgress, err, errors_in_words, out
from rag_service.errors import InvalidInput, NotFound, StorageFailed
from rag_service.export import as_json_line, as_question_line, write_parquet
from rag_service.kept import Audit, Flaw, Kept, RecordQuery, Retention
from rag_service.ledger.backup import back_up
from rag_service.ledger.migration import migrate as migrate_ledger
from rag_service.ports import Ledger
from rag_service.records import Records
from rag_service.settings import load_settings
from rag_service.wiring.desks import records_of
from rag_service.wiring.releases import deployment_of
from rag_service.wiring.stores import ledger_path, ledger_url, open_catalog, open_ledger

LedgerOption = Annotated[
    str | None,
    typer.Option("--ledger", help="File of records; default RAG_LEDGER, or where the indexes are.", show_default=False),
]
_EXIT_FLAWED = 3
_MOST_SHOWN = 50


def opened_records(ledger_file: str | None, indexes: Path | None) -> Records:
    settings = load_settings(ledger=ledger_file, indexes=indexes)
    return records_of(settings, open_catalog(settings), open_ledger(settings), deployment=deployment_of(settings))


def newest_answer(records: Records) -> str:
    rows = records.page(RecordQuery(limit=1)).rows
    if not rows:
        raise NotFound("no answers are recorded yet", hint="ask something first")
    return rows[0].row.answer_id


def add_commands(app: typer.Typer) -> None:
    for command in (export, verify, replayable, erase, prune, backup, migrate):
        app.command()(command)


def export(
    to: Annotated[Path | None, typer.Option("--to", "-o", help="File; default standard output.", show_default=False)] = None,
    form: Annotated[
        Literal["jsonl", "parquet", "questions"], typer.Option("--as", help="questions is what `python -m eval` reads.")
    ] = "jsonl",
    only: Annotated[
        list[str] | None, typer.Option("--id", help="Only these answers; may be given more than once.", show_default=False)
    ] = None,
    rating: Annotated[Literal["up", "down", "any"] | None, typer.Option(help="Only answers rated so.", show_default=False)] = None,
    release: Annotated[str | None, typer.Option(help="Only answers of this release.", show_default=False)] = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Write records as JSON lines, Parquet, or questions for an evaluation. What cannot be read is named, and the rest is written.

    Example: rag-service trace export --as questions --rating any --to questions.jsonl
    """
    with errors_in_words():
        records = opened_records(ledger_file, indexes)
        found = records.selected(only) if only else records.records(RecordQuery(rating=rating, release=release))
        flaws: list[Flaw] = []
        count = _write(_intact(found, flaws), form, to)
    err.print(f"[green]written[/green] {count:,} {'questions' if form == 'questions' else 'records'}{f' to {to}' if to else ''}")
    _name(flaws)


def verify(
    expect: Annotated[
        str | None, typer.Option(help="A receipt, <seq>:<digest>: the entry must be there, unchanged.", show_default=False)
    ] = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at every entry of the ledger: nothing changed, inserted, or missing without a word. Exit code 3 if something is not right.

    Cut-off newest entries leave no gap: the head that is printed, or the receipt in any reply, shows them when given to --expect.
    """
    with errors_in_words():
        store = open_ledger(load_settings(ledger=ledger_file, indexes=indexes))
        with BarProgress() as progress:
            progress.stage("verify", None)
            audit = store.audit(progress.advance)
        flaws = [*audit.flaws, *([] if expect is None else _unexpected(store, expect, audit.pruned_through))]
    if as_json:
        head = {"seq": audit.head.seq, "digest": audit.head.digest} if audit.head else None
        counts = {name: getattr(audit, name) for name in ("entries", "answers", "erased", "pruned_through")}
        out.print_json(data={**counts, "head": head, "flaws": [{"seq": flaw.seq, "what": flaw.what} for flaw in flaws]})
    else:
        state = "[bold red]not intact[/bold red]" if flaws else "[green]intact[/green]"
        out.print(f"{state} {_held(audit)}")
        if audit.head:
            out.print(f"head {audit.head.seq}:{audit.head.digest}")
    _name(flaws)


def replayable(ledger_file: LedgerOption = None, indexes: IndexesOption = None, as_json: JsonOption = False) -> None:
    """The share of stored records that could be made again, and why the rest cannot. Looks, and makes nothing again."""
    with errors_in_words():
        report = opened_records(ledger_file, indexes).replayable()
    if as_json:
        reasons = [{"missing": what, "detail": detail, "records": count} for what, detail, count in report.reasons]
        out.print_json(data={"records": report.records, "replayable": report.replayable, "share": report.share, "reasons": reasons})
        return
    if report.share is None:
        err.print("no answers are recorded yet")
        return
    out.print(f"{report.replayable:,} of {report.records:,} records can be made again ({report.share:.1%})")
    for what, detail, count in report.reasons[:_MOST_SHOWN]:
        out.print(f"  {count:>7,}  [yellow]{escape(what)}[/yellow]  {escape(detail)}")


def erase(
    answers: Annotated[list[str] | None, typer.Argument(help="Answer ids.", show_default=False)] = None,
    key: Annotated[str | None, typer.Option("--key", help="Id of an API key: everything that it asked.", show_default=False)] = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Erase what is stored of answers, for good. That there was an answer stays, so that the ledger can still be verified."""
    with errors_in_words():
        if bool(answers) == (key is not None):
            raise InvalidInput("name answers, or a key with --key", hint="`rag-service trace list` shows answers, `keys list` keys")
        store = open_ledger(load_settings(ledger=ledger_file, indexes=indexes))
        erased = store.erase_key(key) if key is not None else store.erase_answers(answers or [])
        store.close()
        if not erased:
            raise NotFound("no such answers are recorded", hint="`rag-service trace list` shows them")
    out.print(f"[green]erased[/green] {erased:,} answers")


def prune(
    days: Annotated[float | None, typer.Option(min=0, help="Drop what is older; default RAG_LEDGER_MAX_DAYS.", show_default=False)] = None,
    mib: Annotated[
        int | None, typer.Option(min=1, help="Drop the oldest beyond this size; default RAG_LEDGER_MAX_MIB.", show_default=False)
    ] = None,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Drop the oldest entries now. A server does that by itself, every ten minutes."""
    with errors_in_words():
        settings = load_settings(ledger=ledger_file, indexes=indexes)
        max_days, max_mib = settings.ledger_max_days if days is None else days, mib or settings.ledger_max_mib
        store = open_ledger(settings)
        store.rows(RecordQuery(limit=1))  # raises `NotFound` where there is none
        retention = Retention(None if max_days is None else max_days * 86_400, None if max_mib is None else max_mib * 2**20)
        dropped = store.prune(retention)
        store.close()
    out.print(f"[green]dropped[/green] {dropped:,} entries")


def backup(
    to: Annotated[Path, typer.Argument(help="New file for the copy.", show_default=False)],
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Copy the ledger to a new file and look through the copy. Servers may go on writing. Exit code 3 if the ledger is not intact.

    Example: rag-service trace backup backup/ledger.sqlite
    """
    with errors_in_words():
        path = _file(ledger_file, indexes, "records in a database are copied by pg_dump: see docs/postgres.md")
        with BarProgress() as progress:
            progress.stage("backup", None)
            audit = back_up(path, to, progress.advance)
    out.print(f"[green]written[/green] {escape(str(to))}: {_held(audit)}", soft_wrap=True)
    if audit.head:
        out.print(f"head {audit.head.seq}:{audit.head.digest}")
    _name(list(audit.flaws))


def migrate(ledger_file: LedgerOption = None, indexes: IndexesOption = None) -> None:
    """Bring a ledger that an earlier version wrote to the form that this one writes. A copy stays as it was."""
    with errors_in_words():
        copy = migrate_ledger(_file(ledger_file, indexes, "records in a database have had one form only"))
    out.print(f"[green]migrated[/green]; as it was: {copy.name}" if copy else "[green]up to date[/green]")


def _file(ledger_file: str | None, indexes: Path | None, otherwise: str) -> Path:
    """Of records. Raises `InvalidInput` that says `otherwise` where they are in a database."""
    settings = load_settings(ledger=ledger_file, indexes=indexes)
    if ledger_url(settings) is not None:
        raise InvalidInput(otherwise, hint="name a file with --ledger")
    return ledger_path(settings)


def _intact(found: Iterable[Kept | Flaw], flaws: list[Flaw]) -> Iterator[Kept]:
    for one in found:
        if isinstance(one, Flaw):
            flaws.append(one)
        else:
            yield one


def _write(records: Iterable[Kept], form: str, to: Path | None) -> int:
    if to is None:
        if form == "parquet":
            raise InvalidInput("Parquet goes to a file", hint="name it with --to")
        return _write_lines(records, form, sys.stdout.buffer)
    try:
        if form == "parquet":
            return write_parquet(records, to)
        with to.open("wb") as file:
            return _write_lines(records, form, file)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageFailed(f"could not write {to.name}: {reason}", hint="name another file with --to") from error


def _write_lines(records: Iterable[Kept], form: str, file: BinaryIO) -> int:
    count = 0
    for kept in records:
        line = as_question_line(kept) if form == "questions" else as_json_line(kept)
        if line is not None:
            file.write(line)
            count += 1
    file.flush()
    return count


def _unexpected(store: Ledger, expect: str, pruned_through: int) -> list[Flaw]:
    seq, _, digest = expect.partition(":")
    if not seq.isdigit() or not digest:
        raise InvalidInput(f"--expect {expect!r} is no receipt", hint="write it as <seq>:sha256:<64 hex digits>")
    found = store.digest_at(int(seq))
    if found == digest:
        return []
    if found is not None:
        return [Flaw(int(seq), "is not the entry of the receipt")]
    dropped = int(seq) <= pruned_through
    return [Flaw(int(seq), "was dropped by retention" if dropped else "is missing, though there is a receipt for it")]


def _held(audit: Audit) -> str:
    gone = f", {audit.erased:,} erased" if audit.erased else ""
    dropped = f", entries up to {audit.pruned_through:,} dropped by retention" if audit.pruned_through else ""
    return f"{audit.entries:,} entries, {audit.answers:,} answers{gone}{dropped}"


def _name(flaws: list[Flaw]) -> None:
    for flaw in flaws[:_MOST_SHOWN]:
        err.print(f"  [red]{'ledger' if flaw.seq is None else f'entry {flaw.seq:,}'}[/red] {escape(flaw.what)}")
    if len(flaws) > _MOST_SHOWN:
        err.print(f"  and {len(flaws) - _MOST_SHOWN:,} more")
    if flaws:
        raise typer.Exit(_EXIT_FLAWED)
