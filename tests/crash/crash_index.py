"""Builders and activators are killed again and again, every operation on the disk fails once, and releases are swapped under load.

Not a part of `make test`: pytest collects files of this name only where they are named. Takes a few minutes.
"""

import json
import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from typing import Any, get_args

import numpy as np
import pytest

from rag_service.catalog import Catalog
from tests.failing_disk import (
    FailingDisk,
    How,
    HowToRead,
    Switched,
    failing_disk,
    served_whole,
    switched_index,
    tried_activations,
    tried_builds,
    tried_reads,
    tried_rollbacks,
    tried_sweeps,
)
from tests.load import Load, make_editions, write_pages
from tests.processes import ServerProcess

KILLS = 100
SWAPS = 100
REQUESTS_PER_S = 50
BY_HTTP_EVERY = 10
"""Of the swaps, one in so many is an activation over HTTP, with all its checks, in the server itself."""
WARM_UP = 80
"""Swaps before those that are measured: until then buffers grow to the size that they keep."""
MOST_GROWTH_KB = 64.0
"""Of resident memory for each swap: 4 to 21 were measured, and 226 where no pipeline was ever let go."""
SEED = 20261126

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def it(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", flush=True)  # noqa: T201 - the result is what this suite is run for

    return it


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path_factory.mktemp("shim")) as disk:
        yield disk


@pytest.fixture(scope="module")
def switched(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path, build: Callable[..., object]) -> Switched:
    return switched_index(tmp_path_factory.mktemp("switched"), served_indexes, build)


@pytest.fixture
def root(switched: Switched, tmp_path: Path) -> Path:
    return shutil.copytree(switched.root, tmp_path / "root", symlinks=True)


def timed(attempt: Callable[[], object]) -> float:
    began_s = time.monotonic()
    attempt()
    return time.monotonic() - began_s


def test_builders_killed_at_random_moments_leave_what_was_served(
    disk: FailingDisk, root: Path, switched: Switched, tmp_path: Path, say: Say
) -> None:
    """F1."""
    pages, catalog, dice = tmp_path / "pages", Catalog(root), random.Random(SEED)
    pointer = catalog.active_path("handbook").read_bytes()
    disk.attempt("build", root, write_pages(pages, 0))  # loads the encoder, which the others inherit
    whole_s = sorted(timed(lambda: disk.attempt("build", root, write_pages(pages, edition))) for edition in (1, 2, 3))[1]  # noqa: B023
    killed = ended = staged = 0
    for edition in range(4, 4 + 5 * KILLS):
        outcome = disk.attempt("build", root, write_pages(pages, edition), kill_after_s=dice.random() * whole_s)
        assert outcome.outcome in {"killed", "done"}, outcome
        killed, ended = killed + (outcome.outcome == "killed"), ended + (outcome.outcome == "done")
        staged += outcome.outcome == "killed" and any(catalog.versions_folder("handbook").glob(".*"))
        assert served_whole(root) == switched.active
        assert catalog.active_path("handbook").read_bytes() == pointer
        if killed == KILLS:
            break
        if edition % 20 == 0:
            assert disk.attempt("gc", root).outcome == "done"
    assert killed == KILLS
    last = disk.attempt("build", root, write_pages(pages, 999))
    assert last.outcome == "done"
    assert last.told in catalog.versions("handbook")
    assert list(catalog.versions_folder("handbook").glob(".*")) == []
    assert staged > KILLS // 4, "they were hardly ever killed in the middle"
    served_whole(root)
    say(
        f"builders: {killed} killed, {staged} with something half built, {ended} came to their end; always whole, always the old one served"
    )


def test_activators_killed_at_random_moments_leave_the_old_release_or_the_new_one(
    disk: FailingDisk, root: Path, switched: Switched, say: Say
) -> None:
    catalog, dice = Catalog(root), random.Random(SEED)
    releases = [switched.first, switched.active, switched.other]
    expected, outcomes = [switched.first, switched.active], Counter[str]()

    def to_another() -> str:
        return dice.choice([release for release in releases if release != expected[-1]])

    def moved(target: str) -> bool:
        served = served_whole(root)
        assert served in {expected[-1], target}
        if served == target:
            expected.append(target)
        assert [one.release for one in catalog.history("handbook").transitions] == expected, "a change was lost, or one told that never was"
        return served == target

    took_s = []
    for _ in range(5):
        target = to_another()
        took_s.append(timed(lambda: disk.attempt("activate", root, target)))  # noqa: B023 - called at once
        assert moved(target)
    whole_s = sorted(took_s)[2]
    tries = 0
    while outcomes["killed"] < KILLS:
        tries += 1
        target = to_another()
        begin = 0.0 if tries % 2 else 0.8  # the switch itself is at the end: half of them are killed around it
        after_s = (begin + dice.random() * (1.1 - begin)) * whole_s
        ended = disk.attempt("activate", root, target, kill_after_s=after_s)
        assert ended.outcome in {"killed", "done"}, ended
        outcomes[ended.outcome] += 1
        outcomes[f"{ended.outcome}, {'new' if moved(target) else 'old'}"] += 1
        assert tries < 10 * KILLS
    assert outcomes["done, old"] == 0
    target = to_another()
    assert disk.attempt("activate", root, target).outcome == "done"
    assert moved(target)
    say(
        f"activators: {outcomes['killed']} killed, {outcomes['killed, old']} left the old release, {outcomes['killed, new']} the new one, "
        f"{outcomes['done']} came to their end; history of {len(expected)} changes whole"
    )


@pytest.mark.parametrize("how", get_args(How))
def test_whichever_operation_fails_or_is_the_last_everything_is_whole_and_the_next_attempt_works(
    disk: FailingDisk, switched: Switched, tmp_path: Path, how: How, say: Say
) -> None:
    """F7."""

    def new_root() -> Path:
        return shutil.copytree(switched.root, tmp_path / "root", symlinks=True)

    for name, tried in (
        ("build", tried_builds), ("activation", tried_activations), ("rollback", tried_rollbacks), ("sweep", tried_sweeps),
    ):  # fmt: skip
        outcomes = tried(disk, switched, new_root, how, step=1)
        say(f"{name}, {how}: {sum(outcomes.values())} operations, each in turn: {', '.join(f'{n} {what}' for what, n in outcomes.items())}")


@pytest.mark.parametrize("how", get_args(HowToRead))
def test_whichever_operation_fails_to_read_the_answer_is_the_right_one_or_there_is_none(
    disk: FailingDisk, switched: Switched, tmp_path: Path, how: HowToRead, say: Say
) -> None:
    """F10."""

    def new_root() -> Path:
        return shutil.copytree(switched.root, tmp_path / "root", symlinks=True)

    for verb in ("ask", "load"):
        outcomes = tried_reads(disk, verb, new_root, how, step=1)
        say(f"{verb}, {how}: {sum(outcomes.values())} operations, each in turn: {', '.join(f'{n} {what}' for what, n in outcomes.items())}")


# Swaps under load


def memory_kb(pid: int) -> int:
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))


def versions_in_use(pid: int, root: Path) -> set[str]:
    """Of which the process has a file open or mapped."""
    paths = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            paths.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    paths += [line.split(maxsplit=5)[5] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if len(line.split()) > 5]
    below = f"{root}/handbook/versions/"
    return {path.removeprefix(below).split("/")[0] for path in paths if path.startswith(below)}


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process has mapped")
def test_swaps_under_load_are_followed_without_an_error_and_without_growing(
    root: Path, build: Callable[..., Any], tmp_path: Path, say: Say
) -> None:
    catalog, editions = Catalog(root), make_editions(root, build, tmp_path / "pages")
    releases = editions.releases
    command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", "0", "--indexes", str(root)]
    environ = {**os.environ, "RAG_CACHE_MIB": "0", "RAG_MAX_QUEUE": "500", "RAG_LOG_REQUESTS": "false"}
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path, env=environ) as process:
        server = ServerProcess(process)
        load = Load(server.port, editions.chunks, REQUESTS_PER_S)
        stop = threading.Event()
        running = threading.Thread(target=load.run, args=(stop,))
        running.start()
        began_s, followed_s, resident_kb = time.monotonic(), [], []

        def serves() -> str:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", "/info")
            release: str = json.loads(connection.getresponse().read())["release"]["id"]
            connection.close()
            return release

        def swap(number: int) -> None:
            target = releases[number % len(releases)]
            if number % BY_HTTP_EVERY:
                catalog.activate("handbook", target, who="a test")
            else:
                connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
                connection.request("POST", f"/releases/{target.id}/activate", "{}", {"content-type": "application/json"})
                response = connection.getresponse()
                said = response.read()
                assert response.status == 200, said
                connection.close()
            switched_s = time.monotonic()
            while serves() != target.id:
                assert time.monotonic() - switched_s < 10, f"swap {number} was not followed; {server.said}"
                time.sleep(0.02)
            followed_s.append(time.monotonic() - switched_s)

        try:
            for number in range(1, WARM_UP + SWAPS + 1):
                swap(number)
                time.sleep(0.1)
                resident_kb.append(memory_kb(server.pid))
            took_s = time.monotonic() - began_s
        finally:
            stop.set()
            running.join(timeout=60)
        active = catalog.release("handbook", catalog.active_id("handbook")).index.version
        deadline_s = time.monotonic() + 5
        while (used := versions_in_use(server.pid, root)) != {active}:
            assert time.monotonic() < deadline_s, f"still in use: {used}, and active is {active}"
            time.sleep(0.05)
        descriptors_after = descriptors(server.pid)
        assert server.runs
        process.terminate()
        process.wait(30)
    measured = np.array(resident_kb[WARM_UP:], float)
    slope_kb = float(np.median([(measured[j] - measured[i]) / (j - i) for j in range(SWAPS) for i in range(j)]))  # Theil and Sen
    asked = load.asked
    say(
        f"swaps: {WARM_UP + SWAPS} in {took_s:.0f} s under {asked / took_s:.0f} requests/s: {asked} answers, {len(load.errors)} errors, "
        f"each of one version; followed in {np.median(followed_s) * 1000:.0f} ms (median), {max(followed_s) * 1000:.0f} ms (most); "
        f"slowest answer {load.slowest_s * 1000:.0f} ms; resident {resident_kb[WARM_UP] // 1024} → {resident_kb[-1] // 1024} MiB, "
        f"{slope_kb:+.1f} kB a swap; {descriptors_after} descriptors, files of {len(used)} version open at the end"
    )
    assert load.errors == [], Counter(load.errors).most_common(5)
    assert set(load.answers) == editions.served
    assert asked / took_s > 0.8 * REQUESTS_PER_S
    assert sum(took <= 1.0 for took in followed_s) >= 0.95 * (WARM_UP + SWAPS), "within a second, on a machine that others use too"
    assert slope_kb < MOST_GROWTH_KB
    assert descriptors_after < 64
    assert not [line for line in server.said if "Traceback" in line or "unexpected error" in line]
