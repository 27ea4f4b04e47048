"""Bytes to validated rows, with errors that name the place."""

import json
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rag_service.errors import InvalidInput

_Row = TypeVar("_Row", bound=BaseModel)


class Incoming(BaseModel):
    """Base of what is read. Numbers are accepted as ids and answers; other keys are the writer's business."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True, extra="ignore")


def lines(text: str, name: str) -> Iterator[tuple[str, str]]:
    """(`file:line`, line) of every line that is not blank. Only line feeds end one: JSON may hold other line separators."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{name}:{number}", line


def json_object(line: str, place: str) -> dict[str, object]:
    """Raises `InvalidInput`."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{place}: not JSON: {error.msg} at column {error.colno}", hint="write one JSON object a line") from error
    except (RecursionError, ValueError) as error:  # nested or numbered beyond what Python reads
        raise InvalidInput(f"{place}: not usable JSON: {error}", hint="write one JSON object a line") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{place}: a JSON object was expected, not {type(value).__name__}", hint="write one JSON object a line")
    return value


def validated(model: type[_Row], value: object, place: str, *, hint: str) -> _Row:
    """`value` as a `model`. Raises `InvalidInput` naming the first field that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = problem["msg"].removeprefix("Value error, ")
        where = f"{place}: {field}" if field else place
        raise InvalidInput(f"{where}: {message}{more}", hint=hint) from error
