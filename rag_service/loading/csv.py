"""Tables in CSV and TSV: one document a row, under a header that names the columns."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag_service.loading.decoding import binary, decode
from rag_service.loading.documents import row_document, scalars
from rag_service.loading.limits import DEFAULT_LIMITS, LoadLimits
from rag_service.normalise import one_line
from rag_service.types import Document, Skipped

_TEXT_COLUMNS = ("text", "content", "body")
_TITLE_COLUMNS = ("title", "name")
_ID_COLUMNS = ("id", "_id")
_DELIMITERS = ",;\t|"
_LARGEST_FIELD_CHARS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Header:
    """`text`, `title` and `id` are column numbers, None where there is no such column."""

    names: tuple[str, ...]
    text: int | None
    title: int | None
    id: int | None


def load_csv(data: bytes, source: str, *, limits: LoadLimits = DEFAULT_LIMITS) -> Iterator[Document | Skipped]:
    """A row's text is its `text`, `content` or `body` column, with the other columns as metadata; or else `column: value` lines.

    Rows that do not fit the header are reported by the line they begin on.
    """
    raw = decode(data)
    if raw is None:
        yield binary(source)
        return
    # The field limit belongs to the process; the default (128 KiB) is below ours, which `load` checks on the whole row.
    csv.field_size_limit(max(csv.field_size_limit(), min(limits.max_file_bytes, _LARGEST_FIELD_CHARS)))
    delimiter = "\t" if source.lower().endswith(".tsv") else _delimiter(raw)
    header: _Header | None = None
    number = 0
    for line, row in _rows(raw, delimiter):
        if isinstance(row, str):
            yield Skipped(f"{source}#L{line}", "invalid_row", f"line {line}: {row}")
        elif header is None:
            header = _header(row)
        else:
            number += 1
            yield _document(header, row, source, line=line, number=number)
    if not number:
        yield Skipped(source, "empty", "no rows below the header" if header else "no header row")


def _rows(raw: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """First line and fields of every row that is not blank, or what is wrong with it. Strict, because a lenient reader takes a
    quotation mark that is never closed for one long field and loses the rest of the file without a word.
    """
    reader = csv.reader(io.StringIO(raw, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, str(error)
            continue
        if row:
            yield line, row


def _delimiter(raw: str) -> str:
    """The likely delimiter that the header has most of; a comma if it has none."""
    header = raw.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=header.count)


def _header(row: Sequence[str]) -> _Header:
    names = tuple(one_line(name) or f"column {number}" for number, name in enumerate(row, start=1))
    lowered = [name.lower() for name in names]

    def column(candidates: Sequence[str]) -> int | None:
        return next((lowered.index(name) for name in candidates if name in lowered), None)

    return _Header(names, text=column(_TEXT_COLUMNS), title=column(_TITLE_COLUMNS), id=column(_ID_COLUMNS))


def _document(header: _Header, row: Sequence[str], source: str, *, line: int, number: int) -> Document | Skipped:
    place = f"{source}#L{line}"
    if len(row) != len(header.names):
        detail = f"line {line}: the header has {len(header.names)} fields, this row has {len(row)}"
        return Skipped(place, "invalid_row", detail)
    named = list(zip(header.names, row, strict=True))
    special = {header.text, header.title, header.id}
    if header.text is None:
        text = "\n".join(f"{name}: {value.strip()}" for name, value in named if value.strip())
        metadata = {}
    else:
        text = row[header.text]
        metadata = scalars({name: value for column, (name, value) in enumerate(named) if column not in special})
    title = row[header.title] if header.title is not None else ""
    name = one_line(row[header.id]) if header.id is not None else ""
    row_id, row_source = (name, f"{source}#{name}") if name else (f"{source}#{number}", f"{source}#{number}")
    return row_document(row_id, row_source, title=title, text=text or title, metadata=metadata)
