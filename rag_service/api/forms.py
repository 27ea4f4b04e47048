"""Forms of pages, as browsers send them. A form that could change something is only taken from a page of this service: see `gate`."""

from typing import Any, TypeVar
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_service.api.browsers import accepts_page

FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20
_Model = TypeVar("_Model", bound=BaseModel)


def taken_as_json(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its body with `read_model`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


async def read_model(request: Request, model: type[_Model]) -> _Model:
    """The body: JSON, or the form of a page. Raises `RequestValidationError` or `HTTPException`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if media_type == "application/json" or media_type.endswith("+json"):
            return model.model_validate_json(await request.body())
        if media_type == FORM:
            return model.model_validate(await read_form(request))
    except ValidationError as error:
        raise RequestValidationError([{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]) from error
    raise HTTPException(415, "send JSON, with the header content-type: application/json")


class EmptyFields:
    """Takes out of the address what a browser puts there for the fields of a form that were left empty."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and accepts_page(scope):
            filled = [pair for pair in scope["query_string"].split(b"&") if not pair.endswith(b"=")]
            scope["query_string"] = b"&".join(filled)  # in place: who logs the request looks for its route in this very scope
        await self._app(scope, receive, send)


async def read_form(request: Request) -> dict[str, str]:
    """The first value of each field; those that were left empty are not there. Raises `HTTPException`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415, f"send the form with the header content-type: {FORM}")
    try:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(400, "the form has too many fields") from error
    return {name: values[0].replace("\r\n", "\n") for name, values in fields.items()}
