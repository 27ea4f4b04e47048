"""What clients and metrics see of answers whose records cannot be written."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rag_service.api import answering
from tests.api.conftest import Client, Serve, desk_on
from tests.conftest import fill
from tests.doubles import HOLIDAYS


def test_a_full_disk_is_marked_counted_and_got_over(small_disk: Path, own_indexes: Path, serve: Serve) -> None:
    client = serve(desk_on(own_indexes, ledger=small_disk / "ledger.sqlite"))
    assert _ask(client)["trace"]["recorded"] is True
    filler = fill(small_disk)
    replies = [_ask(client) for _ in range(5)]
    assert [reply["trace"]["recorded"] for reply in replies] == [False] * 5
    assert [reply["trace"]["receipt"] for reply in replies] == [None] * 5
    assert {reply["trace"]["unknown"]["receipt"] for reply in replies} == {"the ledger could not be written (storage_failed)"}
    assert all("28 days" in reply["answer"] for reply in replies)
    assert _failures(client) == 5
    batch = client.batch({"questions": [{"question": HOLIDAYS}, {"question": "Who wears a yellow badge?"}]}).json["results"]
    assert [result["trace"]["recorded"] for result in batch] == [False, False]
    assert _failures(client) == 7
    filler.unlink()
    assert _ask(client)["trace"]["recorded"] is True
    assert _failures(client) == 7
    assert len(client.get("/traces").json["traces"]) == 2


def test_a_strict_service_refuses_on_a_full_disk_and_answers_when_there_is_room(small_disk: Path, own_indexes: Path, serve: Serve) -> None:
    client = serve(desk_on(own_indexes, ledger=small_disk / "ledger.sqlite", ledger_strict=True))
    release = _ask(client)["trace"]["release"]
    filler = fill(small_disk)
    refused = client.ask({"question": HOLIDAYS, "cache": False})
    assert refused.status == 503
    assert refused.headers["retry-after"] == "1"
    error = refused.json["error"]
    assert (error["code"], error["retryable"]) == ("not_recorded", True)
    assert refused.json["trace"]["release"] == release
    assert "28 days" not in refused.body.decode()
    batch = client.batch({"questions": [{"question": HOLIDAYS}, {"question": "Who wears a yellow badge?"}]})
    assert [result["error"]["code"] for result in batch.json["results"]] == ["not_recorded"] * 2
    assert "28 days" not in batch.body.decode()
    assert _failures(client) == 3
    filler.unlink()
    assert _ask(client)["trace"]["recorded"] is True


def test_a_stream_of_a_strict_service_ends_with_an_error_on_a_full_disk(small_disk: Path, own_indexes: Path, serve: Serve) -> None:
    client = serve(desk_on(own_indexes, ledger=small_disk / "ledger.sqlite", ledger_strict=True))
    _ask(client)
    fill(small_disk)
    last = client.ask({"question": HOLIDAYS, "cache": False, "stream": True}).body.decode().strip().split("\n\n")[-1]
    assert last.startswith("event: error")
    assert '"not_recorded"' in last


def _ask(client: Client) -> Any:
    reply = client.ask({"question": HOLIDAYS, "cache": False})
    assert reply.status == 200, reply.body
    return reply.json


def _failures(client: Client) -> float:
    lines = client.get("/metrics").body.decode().splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith("rag_ledger_failures_total ")]
    return float(value)


@pytest.mark.parametrize("strict", [False, True])
def test_a_ledger_that_somebody_holds_on_to_holds_up_no_answer_for_ever(
    own_indexes: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    monkeypatch.setattr(answering, "_WRITE_WITHIN_S", 0.2)
    client = serve(desk_on(own_indexes, ledger_strict=strict))
    with closing(sqlite3.connect(own_indexes / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began_s = time.monotonic()
        reply = client.ask({"question": HOLIDAYS, "cache": False})
        assert 0.2 < time.monotonic() - began_s < 3
        assert reply.status == (503 if strict else 200)
        assert strict or reply.json["trace"]["recorded"] is False
        assert _failures(client) == 1
        other.execute("COMMIT")
    assert _ask(client)["trace"]["recorded"] is True


def test_a_service_that_keeps_nothing_makes_no_file(own_indexes: Path, serve: Serve) -> None:
    client = serve(desk_on(own_indexes, records="off"))
    reply = _ask(client)
    assert reply["trace"]["recorded"] is False
    assert _failures(client) == 0
    assert list(own_indexes.glob("ledger*")) == []
