"""Two servers that write to one ledger at once: both are asked until both have written much, and nothing of it is missing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any

from rag_service.kept import Kept, RecordQuery
from rag_service.ledger.sqlite import SqliteLedger
from tests.api.conftest import Client
from tests.processes import ServerProcess

CLIENTS_EACH = 3
ANSWERS_EACH = 25


def test_all_that_two_servers_acknowledge_is_in_their_one_ledger(start: Callable[..., "Popen[str]"], own_indexes: Path) -> None:
    processes = [start("serve", "--name", "handbook", "--port", "0", "--indexes", own_indexes) for _ in range(2)]
    servers = [ServerProcess(process) for process in processes]
    clients = [Client(server.port) for server in servers]

    def ask(number: int) -> list[Any]:
        client = clients[number % 2]
        questions = [f"How many days of holiday has employee {number}-{count}?" for count in range(ANSWERS_EACH)]
        replies = [client.ask({"question": question, "min_confidence": 0, "cache": False}) for question in questions]
        assert {reply.status for reply in replies} == {200}
        return [reply.json for reply in replies]

    with ThreadPoolExecutor(2 * CLIENTS_EACH) as pool:
        replies = [reply for some in pool.map(ask, range(2 * CLIENTS_EACH)) for reply in some]
    assert all(reply["trace"]["recorded"] for reply in replies)
    receipts = {reply["answer_id"]: reply["trace"]["receipt"] for reply in replies}
    assert sorted(receipt["seq"] for receipt in receipts.values()) == list(range(1, 2 * CLIENTS_EACH * ANSWERS_EACH + 1))

    # Each sees what the other wrote, rates it and erases it.
    of_first, of_second = replies[0]["answer_id"], replies[ANSWERS_EACH]["answer_id"]
    assert clients[1].get(f"/traces/{of_first}").json["answer"] == replies[0]["answer"]
    assert clients[0].post(f"/traces/{of_second}/feedback", {"rating": "up"}).status == 201
    assert clients[1].send("DELETE", f"/traces/{of_first}").json == {"erased": 1}
    assert clients[0].get(f"/traces/{of_first}").status == 404
    for server in servers:
        assert server.end() == 0, server.said

    ledger = SqliteLedger(own_indexes / "ledger.sqlite")
    found = {one.record.answer_id: one.receipt for one in ledger.records(RecordQuery()) if isinstance(one, Kept)}
    assert {answer: {"seq": receipt.seq, "digest": receipt.digest} for answer, receipt in found.items()} == {
        answer: receipt for answer, receipt in receipts.items() if answer != of_first
    }
    assert ledger.audit().flaws == ()
    servers_in_order = [server for _, server in sorted((reply["trace"]["receipt"]["seq"], place // ANSWERS_EACH % 2)
                                                       for place, reply in enumerate(replies))]  # fmt: skip
    assert sum(before != after for before, after in pairwise(servers_in_order)) > 10, "they wrote one after the other"
