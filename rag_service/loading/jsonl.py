"""JSON lines: one document a line, as in BEIR's `corpus.jsonl`."""

import io
import json
from collections.abc import Iterator

from rag_service.loading.decoding import binary, decode
from rag_service.loading.documents import row_document, scalars
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits
from rag_service.normalise import one_line
from rag_service.types import Document, MetadataValue, Skipped

_ID_FIELDS = ("id", "_id")
_TEXT_FIELDS = ("text", "contents", "content")
_RESERVED = frozenset({*_ID_FIELDS, *_TEXT_FIELDS, "title", "metadata"})


def load_jsonl(data: bytes, source: str, *, limits: LoadLimits = DEFAULT_LIMITS) -> Iterator[Document | Skipped]:
    """Reads line by line; a row's length is checked by `load`. A row without text has its title as its text."""
    del limits  # one signature for all formats
    lines = _lines(data)
    if lines is None:
        yield binary(source)
        return
    rows = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows += 1
            yield _row(line, source, number)
    if not rows:
        yield Skipped(source, "empty", "no rows")


def _lines(data: bytes) -> io.BytesIO | None:
    """UTF-8 lines without a byte order mark; the usual file is neither decoded nor copied whole."""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        text = decode(data)
        return None if text is None else io.BytesIO(text.encode("utf-8", "replace"))
    return None if b"\x00" in data else io.BytesIO(data)


def _row(line: bytes, source: str, number: int) -> Document | Skipped:
    place = f"{source}#L{number}"
    try:
        fields = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        return Skipped(place, "invalid_row", f"not JSON: {error.msg} at column {error.colno}")
    except UnicodeDecodeError:
        return Skipped(place, "invalid_row", "not UTF-8")
    except (RecursionError, ValueError):  # nested or numbered beyond what Python reads
        return Skipped(place, "invalid_row", "JSON nested too deeply, or with a number of too many digits")
    if not isinstance(fields, dict):
        return Skipped(place, "invalid_row", f"a JSON object was expected, not {type(fields).__name__}")
    return _document(fields, source, number)


def _document(fields: dict[str, object], source: str, number: int) -> Document | Skipped:
    place = f"{source}#L{number}"
    title = _text(fields, ("title",))
    text = _text(fields, _TEXT_FIELDS) or title
    if not text:
        return Skipped(place, "invalid_row", f"no text in any of: {', '.join((*_TEXT_FIELDS, 'title'))}")
    given = next((fields[name] for name in _ID_FIELDS if fields.get(name) not in (None, "")), None)
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        return Skipped(place, "invalid_row", f"the id is neither text nor an integer but {type(given).__name__}")
    name = "" if given is None else one_line(str(given))
    row_id, row_source = (name, f"{source}#{name}") if name else (f"{source}#{number}", f"{source}#{number}")
    return row_document(row_id, row_source, title=title, text=text, metadata=_metadata(fields))


def _text(fields: dict[str, object], names: tuple[str, ...]) -> str:
    """The first of these fields that holds visible text, or an empty string."""
    candidates = (fields.get(name) for name in names)
    return next((value for value in candidates if isinstance(value, str) and value.strip()), "")


def _metadata(fields: dict[str, object]) -> dict[str, MetadataValue]:
    """A row's own fields win over those of its `metadata` object."""
    nested = fields.get("metadata")
    others = {name: value for name, value in fields.items() if name not in _RESERVED}
    return scalars((nested if isinstance(nested, dict) else {}) | others)
