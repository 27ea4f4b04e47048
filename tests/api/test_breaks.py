"""A change of the OpenAPI document that breaks a client is found, and one that breaks none is not."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.breaks import accepted, breaks, document_at
from tests.api.description import SNAPSHOT, description

Change = Callable[[Any], object]


def document() -> Any:
    return json.loads(SNAPSHOT.read_text("utf-8"))


def changed(change: Change) -> list[str]:
    old, new = document(), copy.deepcopy(document())
    change(new)
    return breaks(old, new)


def schema(new: Any, name: str) -> Any:
    return new["components"]["schemas"][name]


def asked(new: Any) -> Any:
    """The schema of what is posted to /ask."""
    return schema(new, new["paths"]["/ask"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2])


def told(new: Any) -> Any:
    """The schema of its reply."""
    return schema(new, new["paths"]["/ask"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2])


def test_a_document_breaks_nobody_who_was_written_for_it() -> None:
    assert breaks(document(), document()) == []
    assert breaks(document(), description()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda new: new["paths"].pop("/ask"), "POST /ask: is gone"),
        (lambda new: asked(new)["properties"].pop("top_k"), "top_k: is gone"),
        (lambda new: asked(new).update(required=["top_k"]), "top_k: has to be given"),
        (lambda new: asked(new)["properties"].update(cache={"type": "boolean", "default": False}), "is False if left out, not True"),
        (lambda new: (told(new)["properties"].pop("answer"), told(new)["required"].remove("answer")), "answer: is not always there"),
        (lambda new: told(new)["required"].remove("trace"), "trace: is not always there"),
        (lambda new: told(new)["properties"].update(status={"enum": ["answered", "refused"]}), "may be 'refused', which it may not"),
        (lambda new: told(new)["properties"].update(trace_id={"type": "integer"}), "trace_id: may be integer, which it may not"),
        (lambda new: new["paths"]["/ask"]["post"].update(operationId="other"), "is called other in generated clients"),
        (lambda new: new["paths"]["/ask"]["post"]["responses"].pop("200"), "200: is gone"),
    ],
)  # fmt: skip
def test_what_breaks_a_client_is_said(change: Change, said: str) -> None:
    found = changed(change)
    assert any(said in reason for reason in found), found


@pytest.mark.parametrize(
    "change",
    [
        lambda new: new["paths"].update({"/new": {"get": {"operationId": "new", "responses": {"200": {"description": "new"}}}}}),
        lambda new: asked(new)["properties"].update(wish={"type": "string", "default": ""}),
        lambda new: told(new)["properties"].update(extra={"type": "string"}),
        lambda new: new["paths"]["/ask"]["post"]["responses"].update({"418": {"description": "an error of another kind"}}),
        lambda new: asked(new).update(description="said better"),
    ],
    ids=["a new path", "a new optional field", "a new key of a reply", "another error", "another description"],
)
def test_what_breaks_nobody_is_no_break(change: Change) -> None:
    assert changed(change) == []


def test_accepted_breaks_are_lines_with_their_reasons_beside_them() -> None:
    assert accepted("# it never worked\nGET /x: is gone\n\n") == {"GET /x: is gone"}


def test_a_commit_that_is_not_there_has_no_document() -> None:
    assert document_at("no-such-commit") is None
