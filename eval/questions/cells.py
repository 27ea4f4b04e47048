"""Tables of questions, whoever made them: CSV, TSV, JSON lines, or a JSON list, as rows of named cells."""

import ast
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from eval.questions.rows import json_object, lines
from eval.text_file import read_text
from rag_service.errors import InvalidInput

Cells = Mapping[str, object]
"""Column → cell. From CSV and TSV all cells are text."""

_DELIMITERS = ",;\t|"
_LARGEST_CELL_CHARS = 2**31 - 1


def rows(path: Path) -> Iterator[tuple[str, Cells]]:
    """(`file:line`, cells) of every row that is not blank. By the ending of the name: `.csv`, `.tsv`, `.json` (a list of objects, also
    under `data`, `samples` or `questions`), else JSON lines.

    Raises `NotFound`, or `InvalidInput` naming the place.
    """
    text = read_text(path)
    match path.suffix.lower():
        case ".csv" | ".tsv":
            yield from _table(text, path)
        case ".json":
            yield from _listed(text, path)
        case _:
            for place, line in lines(text, path.name):
                yield place, json_object(line, place)


def cell(cells: Cells, column: str) -> object:
    """`a.b` is also the field `b` of the object `a`. None where there is none."""
    if column in cells:
        return cells[column]
    first, dot, rest = column.partition(".")
    inner = cells.get(first)
    return cell(inner, rest) if dot and isinstance(inner, dict) else None


def items(value: object) -> list[object]:
    """Of a list, or of text that holds one as JSON or Python writes it; any other value that is not blank is a list of one."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _parsed(value)
    return value if isinstance(value, list) else [] if value is None or value == "" else [value]


def texts(value: object) -> list[str]:
    """The items that are not blank, as text."""
    return [text for item in items(value) if (text := _text(item)).strip()]


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _parsed(text: str) -> object:
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    return text


def _table(text: str, path: Path) -> Iterator[tuple[str, Cells]]:
    header: list[str] | None = None
    for line, fields in _records(text, path):
        if not any(field.strip() for field in fields):
            continue
        if header is None:
            header = [name.strip() for name in fields]
            _check_header(header, f"{path.name}:{line}")
        elif len(fields) > len(header):
            raise InvalidInput(
                f"{path.name}:{line}: {len(fields)} cells under {len(header)} column names", hint="put cells that hold a comma in quotes"
            )
        else:
            yield f"{path.name}:{line}", dict(zip(header, fields, strict=False))


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line that each begins on, and its fields."""
    csv.field_size_limit(_LARGEST_CELL_CHARS)  # it belongs to the process; the default is 128 KiB
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInput(f"{path.name}:{line}: not a row of a table: {error}", hint="double the quotation marks inside a cell") from error


def _check_header(names: list[str], place: str) -> None:
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise InvalidInput(f"{place}: two columns are called {repeated!r}", hint="give every column its own name")


def _listed(text: str, path: Path) -> Iterator[tuple[str, Cells]]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"{path.name}:{error.lineno}: not JSON: {error.msg} at column {error.colno}", hint="JSON lines end in .jsonl"
        ) from error
    except (RecursionError, ValueError) as error:  # nested or numbered beyond what Python reads
        raise InvalidInput(f"{path.name}: not usable JSON: {error}", hint="write a list of objects") from error
    if isinstance(value, dict):
        value = next((value[name] for name in ("data", "samples", "questions") if isinstance(value.get(name), list)), value)
    for number, item in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(item, dict):
            raise InvalidInput(
                f"{path.name}: [{number}]: an object was expected, not {type(item).__name__}", hint="write a list of objects"
            )
        yield f"{path.name}: [{number}]", item
