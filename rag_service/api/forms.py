"""Forms of pages, as browsers send them. A form that could change something is only taken from a page of this service: see `gate`."""

from urllib.parse import parse_qs

from fastapi import Request
from starlette.exceptions import HTTPException

FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20


async def read_form(request: Request) -> dict[str, str]:
    """The first value of each field; those that were left empty are not there. Raises `HTTPException`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415, f"send the form with the header content-type: {FORM}")
    try:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(400, "the form has too many fields") from error
    return {name: values[0].replace("\r\n", "\n") for name, values in fields.items()}
