"""A clock that jumps while a server runs: answers stay in order, nothing takes negative time, and nothing is dropped that is young."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from rag_service.kept import Kept, RecordQuery, Retention
from rag_service.ledger.sqlite import SqliteLedger
from tests.api.conftest import Client
from tests.doubles import HOLIDAYS
from tests.processes import ServerProcess

DAY_S = 86_400
JUMPS_S = (0, DAY_S, -3600, 3600, 0, -2 * DAY_S, 0)
"""Offsets from the true time, one after the other."""


@pytest.fixture
def faking(tmp_path: Path) -> tuple[dict[str, str], Callable[[int], None]]:
    """Variables of a process whose clock is off by as many seconds as was said last; its monotonic clock is not."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    preload = subprocess.run(["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True).stdout
    offset = tmp_path / "offset"

    def jump(seconds: int) -> None:
        offset.with_suffix(".new").write_text(f"{seconds:+d}\n")
        offset.with_suffix(".new").replace(offset)

    jump(0)
    variables = {
        "LD_PRELOAD": preload.strip(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    return variables, jump


def test_answers_keep_their_order_and_their_age_while_the_clock_jumps(
    start: Callable[..., "Popen[str]"], own_indexes: Path, faking: Any
) -> None:
    variables, jump = faking
    process = start("serve", "--name", "handbook", "--port", "0", "--indexes", own_indexes, environ={**os.environ, **variables})
    server = ServerProcess(process)
    client, replies = Client(server.port), []
    began_s = time.time()
    for seconds in JUMPS_S:
        jump(seconds)
        for _ in range(3):
            reply = client.ask({"question": HOLIDAYS, "cache": False, "timeout_ms": 20_000})
            assert reply.status == 200, reply.body
            replies.append(reply.json)
        assert client.get("/health/ready").status == 200
    assert server.end() == 0, server.said
    took_s = time.time() - began_s

    assert [reply["trace"]["receipt"]["seq"] for reply in replies] == list(range(1, len(replies) + 1))
    for reply in replies:
        times = [
            *reply["timings_ms"].values(),
            *(stage[name] for stage in reply["trace"]["stages"] for name in ("began_ms", "duration_ms")),
        ]
        assert all(0 <= one < took_s * 1000 for one in times)
    ledger = SqliteLedger(own_indexes / "ledger.sqlite")
    kept = [one for one in ledger.records(RecordQuery()) if isinstance(one, Kept)]
    assert [one.record.answer_id for one in kept] == [reply["answer_id"] for reply in replies]
    offsets_s = [one.record.created_at.timestamp() - began_s for one in kept]
    expected_s = [seconds for seconds in JUMPS_S for _ in range(3)]
    assert [round(found) for found in offsets_s] == pytest.approx(expected_s, abs=took_s + 1), "the clock did not jump"
    assert ledger.audit().flaws == ()
    listed = [row.row.answer_id for row in ledger.rows(RecordQuery(limit=100)).rows]
    assert listed == [reply["answer_id"] for reply in replies][::-1]

    # Twelve hours on, the first three are old. What comes after them waits for those from the day ahead, young ones among it.
    half_a_day = Retention(max_age_s=DAY_S / 2)
    now_ms = round((began_s + took_s + DAY_S / 2) * 1000)
    assert ledger.prune(half_a_day, now_ms) == 3
    assert ledger.prune(half_a_day, now_ms + DAY_S * 1000) == len(replies) - 3 + 1  # and what said that three were dropped
    ledger.close()
    assert ledger.audit().flaws == ()
