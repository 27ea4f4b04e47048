"""The commands of `docs/recover.md` save a service that is being asked, and bring it back elsewhere with every answer in it."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from sys import executable
from typing import Any

import pytest

from tests.api.conftest import Client
from tests.conftest import PROJECT, Start, copy_of
from tests.processes import ServerProcess

PAGE = PROJECT / "docs" / "recover.md"
WHOLE_BACKUP = "How do I back up a service that is running?"
RESTORE = "How do I restore a backup?"


def commands(heading: str) -> str:
    """The one shell block below a heading."""
    [section] = [text for text in re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE) if text.startswith(f"{heading}\n")]
    [block] = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    return block


@pytest.fixture
def place(tmp_path: Path, served_indexes: Path) -> Path:
    """A folder with `indexes`, the encoder included, in which commands are run."""
    root = copy_of(served_indexes, tmp_path / "place" / "indexes")
    encoders = (root / "encoders").resolve()
    (root / "encoders").unlink()
    shutil.copytree(encoders, root / "encoders")
    return root.parent


def run(script: str, place: Path) -> str:
    program = place / "bin" / "rag-service"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{executable}" -m rag_service "$@"\n')
    program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
    ended = subprocess.run(["sh", "-euxc", script], cwd=place, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


class Asking(threading.Thread):
    """Asks without a pause, and remembers what was acknowledged."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.replies: list[Any] = []
        self.stop = threading.Event()
        self._client = client

    def run(self) -> None:
        for number in range(500):
            if self.stop.is_set():
                return
            question = {"question": f"How many days of holiday has employee {number}?", "min_confidence": 0, "cache": False}
            self.replies.append(self._client.ask(question).json)
            self.stop.wait(0.05)


def test_the_documented_commands_save_a_running_service_and_bring_it_back(start: Start, place: Path) -> None:
    server = ServerProcess(start("serve", "--name", "handbook", "--port", "0", "--indexes", place / "indexes"))
    first = Client(server.port).ask({"question": "Who wears a yellow badge?"}).json
    asking = Asking(Client(server.port))
    asking.start()
    try:
        while len(asking.replies) < 5:
            assert asking.is_alive()
            time.sleep(0.05)
        before = list(asking.replies)
        run(commands(WHOLE_BACKUP), place)
        meanwhile = len(asking.replies) - len(before)
    finally:
        asking.stop.set()
        asking.join(timeout=30)
    assert server.end() == 0, server.said
    assert meanwhile > 0, "the service went on answering"
    shutil.rmtree(place / "indexes")

    said = run(commands(RESTORE), place)
    assert re.search(r"^intact ", said, re.MULTILINE)
    receipt = first["trace"]["receipt"]
    run(f"rag-service trace verify --indexes restored --expect {receipt['seq']}:{receipt['digest']}", place)
    replayed = json.loads(run(f"rag-service trace replay {first['answer_id']} --json --indexes restored", place))
    assert "exact" in json.dumps(replayed)

    server = ServerProcess(start("serve", "--name", "handbook", "--port", "0", "--indexes", place / "restored"))
    client = Client(server.port)
    assert {client.get(f"/traces/{reply['answer_id']}").status for reply in (first, *before)} == {200}
    again = client.ask({"question": "Who wears a yellow badge?"}).json
    assert (again["answer"], again["trace"]["release"]) == (first["answer"], first["trace"]["release"])
    assert again["trace"]["receipt"]["seq"] > receipt["seq"]
    assert server.end() == 0, server.said
