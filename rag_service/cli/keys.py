"""`rag-service keys`: create, list, revoke."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from rag_service.cli.options import IndexesOption, JsonOption
from rag_service.console import err, errors_in_words, out
from rag_service.errors import InvalidInput
from rag_service.key_file import MAX_NAME_CHARS, MAX_RATE_PER_MINUTE, SCOPES, Key, Scope, create_key, parts_of, read_keys, revoke_key
from rag_service.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="API keys: who may call the service, for what, and about which documents.")

KeysOption = Annotated[
    Path | None, typer.Option("--keys", help="File of keys; default RAG_KEYS, or keys.json in the folder of indexes.", show_default=False)
]
_MAX_DAYS = 36_500
_COLOURS = {"valid": "green", "expired": "yellow", "revoked": "red"}


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", "-n", help=f"Who or what the key is for, up to {MAX_NAME_CHARS} characters.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="ask, traces or admin; may be given more than once. Default ask.", show_default=False)
    ] = None,
    documents: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help='Only documents with this: lang=en, or JSON such as \'{"year": {"gte": 2020}}\'. All of several must hold.',
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, max=MAX_RATE_PER_MINUTE, help="Requests a minute; default no limit.", show_default=False)
    ] = None,
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=_MAX_DAYS, help="Days until it ends; default never.", show_default=False)
    ] = None,
    keys: KeysOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Create a key, and print it: once, on stdout, alone. Only a hash of it is kept.

    From the first key on the service lets nobody in without one. Running servers follow within a second.

    Example: rag-service keys create --name frontend --filter lang=en --rate 120
    """
    with errors_in_words():
        settings = load_settings(keys=keys, indexes=indexes)
        path = _path(settings)
        first = not read_keys(path)
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=expires_days) if expires_days else None
        key, shown = create_key(
            path,
            name=name,
            scopes=_scopes(scope or ["ask"]),
            documents=_filter(documents) if documents else None,
            rate_per_minute=rate,
            expires_at=expires_at,
        )
        typer.echo(shown)
        _explain(key, settings, first=first)


@app.command("list")
def list_keys(keys: KeysOption = None, indexes: IndexesOption = None, as_json: JsonOption = False) -> None:
    """Every key, revoked and expired ones too. What is needed to use a key is not among it."""
    with errors_in_words():
        path, now = _path(load_settings(keys=keys, indexes=indexes)), datetime.now(UTC)
        found = read_keys(path)
        if as_json:
            shown = [{**key.model_dump(mode="json", exclude={"secret_sha256"}), "state": key.state(now)} for key in found]
            out.print_json(data={"keys": shown})
            return
        if not found:
            err.print(f"no keys in {path}: everybody is let in; create one with: rag-service keys create --name NAME", markup=False)
            return
        table = Table("id", "name", "scopes", "filter", "a minute", "created", "ends", "state", box=None, pad_edge=False)
        for key in found:
            table.add_row(*_row(key, now))
        out.print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `keys list` shows it.")],
    keys: KeysOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Revoke a key for good. Running servers follow within a second. Revoking the last one lets nobody in."""
    with errors_in_words():
        parts = parts_of(key)  # somebody who has found a lost key may paste all of it
        revoked = revoke_key(_path(load_settings(keys=keys, indexes=indexes)), parts[0] if parts else key)
        out.print(f"[green]revoked[/green] {revoked.id} {escape(revoked.name)}, at {revoked.revoked_at:%Y-%m-%dT%H:%M:%SZ}")


def _path(settings: Settings) -> Path:
    return settings.keys or settings.indexes / "keys.json"


def _scopes(given: list[str]) -> tuple[Scope, ...]:
    unknown = [scope for scope in given if scope not in SCOPES]
    if unknown:
        raise InvalidInput(f"there is no scope {unknown[0]!r}", hint=f"scopes are {', '.join(SCOPES)}", param="scope")
    return tuple(scope for scope in SCOPES if scope in given)


def _filter(given: list[str]) -> dict[str, Any]:
    """All of them as one filter. Raises `InvalidInput` where two are about the same key: one would be lost."""
    merged: dict[str, Any] = {}
    for one in given:
        for name, wanted in _conditions(one).items():
            if name in merged:
                raise InvalidInput(f"--filter names {name!r} twice", hint='put both into one: {"year": {"gte": 2020, "lt": 2030}}')
            merged[name] = wanted
    return merged


def _conditions(given: str) -> dict[str, Any]:
    if given.lstrip().startswith("{"):
        try:
            return dict(json.loads(given, object_pairs_hook=_without_twins))
        except ValueError as error:
            raise InvalidInput(f"--filter is not JSON: {error}", hint='write {"lang": "en"} in single quotes, or lang=en') from error
    name, equals, value = given.partition("=")
    if not equals or not name.strip():
        raise InvalidInput(f"--filter {given!r} has no value", hint="write key=value, or JSON")
    return {name.strip(): _plain(value.strip())}


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON may name a key twice, and readers take the last: here that would be a condition lost."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _plain(value: str) -> str | int | float | bool:
    """`2020` is a number and `true` a truth value, as in front matter; in double quotes everything is text."""
    try:
        parsed = json.loads(value)
    except ValueError:
        return value
    return parsed if isinstance(parsed, str | int | float) else value


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    state = key.state(now)
    return (
        key.id,
        escape(key.name),
        ", ".join(key.scopes),
        escape(json.dumps(key.filter, ensure_ascii=False)) if key.filter else "",
        f"{key.rate_per_minute:,}" if key.rate_per_minute else "",
        f"{key.created_at:%Y-%m-%d}",
        f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "",
        f"[{_COLOURS[state]}]{state}[/{_COLOURS[state]}]",
    )


def _explain(key: Key, settings: Settings, *, first: bool) -> None:
    err.print(f"[green]created[/green] key [bold]{key.id}[/bold] for {escape(key.name)}: scopes {', '.join(key.scopes)}")
    if key.filter:
        err.print(f"  only documents with {json.dumps(key.filter, ensure_ascii=False)}", markup=False)
    if key.expires_at:
        err.print(f"  it ends on {key.expires_at:%Y-%m-%d}")
    err.print("[yellow]it is not shown again[/yellow]: store it now")
    if first:
        err.print("this is the first key: from now on nobody is let in without one")
    path = "/ask" if "ask" in key.scopes else "/traces" if "traces" in key.scopes else "/metrics"
    question = """ -H 'content-type: application/json' -d '{"question": "…"}'""" if path == "/ask" else ""
    err.print("use it:")
    err.print(f'  curl -s http://127.0.0.1:{settings.port}{path} -H "Authorization: Bearer $RAG_KEY"{question}', markup=False)
