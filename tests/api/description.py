"""The OpenAPI document of the service, and the copy of it that is kept for review. Written by `make openapi`."""

import json
from pathlib import Path
from typing import Any

from rag_service.api.app import Doors, create_app
from rag_service.api.schemas import Limits
from rag_service.catalog import Catalog
from rag_service.keys import Keyring
from rag_service.settings import load_settings
from rag_service.wiring.desks import open_desk

SNAPSHOT = Path(__file__).parent / "openapi.json"
_NOWHERE = Path("nothing is opened")


def description() -> dict[str, Any]:
    """As a running service gives it at /openapi.json, whatever it serves."""
    limits = Limits(
        max_question_chars=4000,
        max_history_turns=50,
        max_body_bytes=2**20,
        max_top_k=50,
        max_batch=32,
        timeout_s=30.0,
        max_concurrent=2,
        max_queue=8,
    )
    desk = open_desk(load_settings({}, indexes=_NOWHERE), Catalog(_NOWHERE))
    return create_app(desk, Doors(limits, Keyring(_NOWHERE / "keys.json"))).asgi.openapi()


def as_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(as_text(description()), encoding="utf-8")
