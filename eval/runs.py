"""Where runs live: one folder each, named by content, below `evaluations/runs/`.

run.json.zst    the whole run as data (schema `rag.eval/v2`), compressed
decision.json   what a gate decided on it, if one did
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import zstandard
from pydantic import TypeAdapter, ValidationError

from eval.results import SCHEMA, Measured, Run
from rag_service.durable import write_atomically
from rag_service.errors import Conflict, InvalidInput, NotFound

RUN_FILE = "run.json.zst"
DECISION_FILE = "decision.json"
DEFAULT_HOME = Path("evaluations")
"""What the harness keeps, below the working directory: runs/, cache.sqlite, looks.jsonl."""

_ADAPTER = TypeAdapter(Run)
_CANDIDATE = TypeAdapter(Measured)
_ID = re.compile(r"[0-9a-f]{4,12}")


def to_json(run: Run) -> str:
    """Schema `rag.eval/v2`, on one line. A value is a number, `{"undefined": why}` or, of one question, `{"failed": code}`."""
    return b"".join(_pieces(run)).decode()


def _pieces(run: Run) -> Iterator[bytes]:
    """One candidate at a time: that of a large grid is hundreds of megabytes of JSON."""
    before, none, after = _ADAPTER.dump_json(replace(run, candidates=()), by_alias=True).partition(b'"candidates":[]')
    yield before + none[:-1]  # a quotation mark within a text is escaped: what was found is the key
    for number, candidate in enumerate(run.candidates):
        yield (b"," if number else b"") + _CANDIDATE.dump_json(candidate, by_alias=True)
    yield b"]" + after + b"\n"


def from_json(text: str | bytes) -> Run:
    """Raises `InvalidInput` where `text` is not a run of this schema."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise InvalidInput(
            f"this is not a run of the schema {SCHEMA}: {place}: {problem['msg']}", hint="give a run that `python -m eval run` wrote"
        ) from error


def write_run(home: Path, run: Run) -> Path:
    """Its folder. What was decided on a run of the same content stays."""
    folder = home / "runs" / run.id
    folder.mkdir(parents=True, exist_ok=True)
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    packed = [compressor.compress(piece) for piece in _pieces(run)]
    write_atomically(folder / RUN_FILE, b"".join([*packed, compressor.flush()]))
    return folder


def run_folder(home: Path, named: str) -> Path:
    """Of a run that is named by its id, the beginning of one, `latest`, or the path of its folder.

    Raises `NotFound`, or `Conflict` where several ids begin so.
    """
    path = Path(named)
    if (path / RUN_FILE).is_file():
        return path
    if path.name == RUN_FILE and path.is_file():
        return path.parent
    folders = sorted((home / "runs").glob(f"*/{RUN_FILE}"), key=lambda file: file.stat().st_mtime_ns)
    found = folders[-1:] if named == "latest" else [file for file in folders if _ID.fullmatch(named) and file.parent.name.startswith(named)]
    if not found:
        known = ", ".join(file.parent.name for file in reversed(folders[-5:]))
        raise NotFound(
            f"there is no run {named!r} in {home / 'runs'}", hint=f"newest first: {known}" if known else "`python -m eval run` makes one"
        )
    if len(found) > 1:
        raise Conflict(f"{len(found)} runs begin with {named}", hint=", ".join(file.parent.name for file in found))
    return found[0].parent


def read_run(folder: Path) -> Run:
    """Raises `NotFound` or `InvalidInput`."""
    file = folder / RUN_FILE
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        text = decompressor.decompress(file.read_bytes())
        if not decompressor.eof:
            raise zstandard.ZstdError("its end is missing")
    except FileNotFoundError as error:
        raise NotFound(f"there is no run in {folder}", hint="`python -m eval run` makes one") from error
    except zstandard.ZstdError as error:
        raise InvalidInput(f"{file} is damaged: {error}", hint="run the evaluation again: what is remembered is not made anew") from error
    return from_json(text)
