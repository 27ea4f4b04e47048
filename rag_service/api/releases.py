"""The routes that change what is served, for keys with the scope `admin`, and the history of such changes."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from rag_service.api.answering import Answering
from rag_service.api.errors import ERRORS, ERRORS_WITHOUT_A_BODY
from rag_service.api.forms import read_model, taken_as_json
from rag_service.api.gate import current_caller
from rag_service.api.pages import as_json, wants_page
from rag_service.desk import Switched, Switching
from rag_service.errors import Forbidden, NotFound
from rag_service.history import Transition
from rag_service.trace import Outgoing

ReleaseId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
_MAX_WHY_CHARS = 500


class SwitchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    why: Annotated[str, Field(max_length=_MAX_WHY_CHARS, description="For the history.")] = ""
    expected: Annotated[ReleaseId | None, Field(description="What must be served now; otherwise nothing is changed: 409.")] = None


class RollbackRequest(SwitchRequest):
    to: Annotated[ReleaseId | None, Field(description="Null goes back to the release served before.")] = None


class TransitionReply(Outgoing):
    seq: int
    at: str
    action: Literal["activate", "rollback", "unknown"] = Field(description="`unknown` where the pointer was set by hand.")
    release: str
    previous: str | None
    who: str
    why: str


class SwitchReply(Outgoing):
    release: str
    index_version: str
    changed: bool = Field(description="False where it was served already.")
    transition: TransitionReply | None
    differences: list[str] = Field(description="Parts that were other when the release was made; what answers is then another release.")


class HistoryReply(Outgoing):
    transitions: list[TransitionReply] = Field(description="Newest first; the first is what is served now.")
    damaged: int = Field(description="Lines of the history that could not be read.")


def release_routes(answering: Answering) -> APIRouter:
    router = APIRouter(tags=["indexes"])
    service = answering.desk.service

    @router.get("/releases/history", response_model=HistoryReply, responses=ERRORS_WITHOUT_A_BODY)
    async def history() -> HistoryReply:
        """What was served when, by whose doing, and why."""
        found = await run_in_threadpool(_switching(answering).history)
        return HistoryReply(transitions=[_transition(one) for one in reversed(found.transitions)], damaged=found.damaged)

    @router.post("/releases/rollback", response_model=SwitchReply, responses=ERRORS, openapi_extra=taken_as_json(RollbackRequest))
    async def rollback(request: Request) -> Response:
        """Serves the release that was served before. Once more goes back one further."""
        switching, who, wanted = _switching(answering), _admin(), await read_model(request, RollbackRequest)
        switched = await run_in_threadpool(switching.roll_back, wanted.to, who=who, why=wanted.why, expected=wanted.expected)
        return _switched(request, switched)

    @router.post(
        "/releases/{identifier}/activate", response_model=SwitchReply, responses=ERRORS, openapi_extra=taken_as_json(SwitchRequest)
    )
    async def activate(request: Request, identifier: Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]) -> Response:
        """Serves a release, once every check has passed. Questions go on being answered meanwhile."""
        switching, who, wanted = _switching(answering), _admin(), await read_model(request, SwitchRequest)
        switched = await run_in_threadpool(switching.activate, identifier, who=who, why=wanted.why, expected=wanted.expected)
        return _switched(request, switched)

    def _switched(request: Request, switched: Switched) -> Response:
        service.readiness()  # looks at the pointer now
        if wants_page(request):
            return RedirectResponse("/indexes", 303)
        return as_json(_reply(switched).model_dump_json())

    return router


def _admin() -> str:
    """Who it is, for the history. Raises `Forbidden`."""
    caller = current_caller()
    if "admin" not in caller.scopes:
        raise Forbidden("this key may not do this: it needs the scope admin")
    return f"key {caller.key_id} ({caller.name})" if caller.key_id else "somebody without a key"


def _switching(answering: Answering) -> Switching:
    if current_caller().filter is not None:
        raise Forbidden("this key sees a part of the documents, and a release serves them all", hint="use a key without a filter")
    if answering.desk.switching is None:
        raise NotFound("this service was not given a folder of indexes")
    return answering.desk.switching


def _reply(switched: Switched) -> SwitchReply:
    return SwitchReply(
        release=switched.release.id,
        index_version=switched.release.index.version,
        changed=switched.transition is not None,
        transition=_transition(switched.transition) if switched.transition else None,
        differences=list(switched.differences),
    )


def _transition(one: Transition) -> TransitionReply:
    return TransitionReply(**one.model_dump())
