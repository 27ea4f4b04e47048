"""What a stage gave is kept byte for byte, and what was altered on the disk is not believed."""

import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.stages.cache import FILE, StageCache, Use, stage_key
from rag_service.errors import StorageFailed


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[StageCache]:
    with StageCache.open(tmp_path / "home") as opened:
        yield opened


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(), value=st.binary(max_size=2000))
def test_what_was_put_comes_back_byte_for_byte(key: str, value: bytes, cache: StageCache) -> None:
    try:
        name = stage_key(key)
    except ValueError:  # half a surrogate pair
        return
    cache.put("a stage", name, value, cpu_ms=1.0)
    assert cache.get("a stage", name) == value
    assert cache.get("another stage", name) is None


@pytest.mark.parametrize("column", ["value", "checksum"])
def test_an_output_that_was_altered_is_dropped_and_counted(tmp_path: Path, column: str) -> None:
    with StageCache.open(tmp_path) as cache:
        cache.put("s", stage_key(1), b"what was made", cpu_ms=2.0)
    with sqlite3.connect(tmp_path / FILE) as connection:
        stored = bytearray(connection.execute(f"SELECT {column} FROM outputs").fetchone()[0])
        stored[len(stored) // 2] ^= 1
        connection.execute(f"UPDATE outputs SET {column} = ?", (bytes(stored),))
    connection.close()
    with StageCache.open(tmp_path) as cache:
        assert cache.get("s", stage_key(1)) is None
        assert not cache.has("s", stage_key(1))
        assert cache.use()["s"].damaged == 1
        cache.put("s", stage_key(1), b"what was made", cpu_ms=2.0)
        assert cache.get("s", stage_key(1)) == b"what was made"


def test_checking_reads_everything_and_drops_what_was_altered(tmp_path: Path) -> None:
    with StageCache.open(tmp_path) as cache:
        for number in range(5):
            cache.put("s", stage_key(number), bytes([number]) * 50, cpu_ms=1.0)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE outputs SET checksum = x'00' WHERE key IN (SELECT key FROM outputs LIMIT 2)")
    connection.close()
    with StageCache.open(tmp_path) as cache:
        assert cache.check() == 2
        assert cache.stored()["s"].outputs == 3
        assert cache.check() == 0


@pytest.mark.parametrize("damage", [b"this is no database" * 100, b""])
def test_a_file_that_is_no_cache_is_moved_aside_and_said(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    with StageCache.open(tmp_path) as cache:
        assert (cache.note is None) == (damage == b"")  # an empty file is an empty database
        cache.put("s", stage_key(1), b"x", cpu_ms=1.0)
    assert len(list(tmp_path.glob("*.damaged-*"))) == (damage != b"")


def test_what_was_kept_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom eval.stages.cache import StageCache, stage_key\n"
        "cache = StageCache.open(Path(sys.argv[1]))\ncache.put('s', stage_key('kept'), b'1', cpu_ms=1.0)\ncache.keep()\n"
        "cache.put('s', stage_key('not kept'), b'2', cpu_ms=1.0)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    with StageCache.open(tmp_path) as cache:
        assert (cache.get("s", stage_key("kept")), cache.get("s", stage_key("not kept"))) == (b"1", None)


def test_what_is_not_kept_yet_keeps_nobody_else_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.stages.cache._WAIT_S", 0.1)
    with StageCache.open(tmp_path) as one, StageCache.open(tmp_path) as other:
        one.put("s", stage_key(1), b"of one", cpu_ms=1.0)
        other.put("s", stage_key(2), b"of the other", cpu_ms=1.0)
        other.keep()
        assert (one.get("s", stage_key(2)), one.has("s", stage_key(2))) == (b"of the other", True)
        assert (one.get("s", stage_key(1)), one.has("s", stage_key(1))) == (b"of one", True)
        assert (other.get("s", stage_key(1)), other.has("s", stage_key(1))) == (None, False)
        one.keep()
        assert other.get("s", stage_key(1)) == b"of one"


def test_of_very_much_that_is_not_kept_some_is_written_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.stages.cache._MOST_WAITING", 3)
    with StageCache.open(tmp_path) as one, StageCache.open(tmp_path) as other:
        for number in range(5):
            one.put("s", stage_key(number), b"x", cpu_ms=1.0)
        assert [other.has("s", stage_key(number)) for number in range(5)] == [True, True, True, False, False]


def test_processes_may_make_and_use_one_file_at_once(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom eval.stages.cache import StageCache, stage_key\n"
        "home, name = Path(sys.argv[1]), sys.argv[2]\nPath(home, name).touch()\n"
        "while len(list(home.glob('process-*'))) < 3: time.sleep(0.001)\n"
        "with StageCache.open(home) as cache:\n"
        "    assert cache.note is None, cache.note\n"
        "    for number in range(50):\n"
        "        cache.put('s', stage_key(name, number), name.encode(), cpu_ms=1.0)\n"
        "        cache.put('s', stage_key('all', number), b'same', cpu_ms=1.0)\n"
        "        cache.keep()\n"
        "        assert cache.get('s', stage_key('all', number)) == b'same'\n"
    )
    names = [f"process-{number}" for number in range(3)]
    started = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name], stderr=subprocess.PIPE, text=True) for name in names]
    assert [(process.communicate(timeout=120)[1], process.returncode) for process in started] == [("", 0)] * 3
    with StageCache.open(tmp_path) as cache:
        assert cache.stored()["s"].outputs == 4 * 50
        assert all(cache.get("s", stage_key(name, number)) == name.encode() for name in names for number in range(50))


def test_threads_may_use_one_cache(cache: StageCache) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    values = [random.Random(number).randbytes(100_000) + bytes(100_000) for number in range(6)]

    def use(number: int) -> set[bytes | None]:
        found = set()
        for turn in range(40):
            cache.put("s", stage_key(number, turn % 3), values[number], cpu_ms=1.0)
            found.add(cache.get("s", stage_key(number, turn % 3)))
        return found

    try:
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(use, range(6))) == [{value} for value in values]
    finally:
        sys.setswitchinterval(before)
    assert cache.use()["s"] == Use(found=240, made=0, damaged=0)


def test_wherever_a_byte_of_the_file_is_altered_nothing_wrong_comes_out(tmp_path: Path) -> None:
    with StageCache.open(tmp_path / "whole") as cache:
        for number in range(3):
            cache.put("s", stage_key(number), b"what was made %d" % number, cpu_ms=2.0)
    whole = (tmp_path / "whole" / FILE).read_bytes()
    assert not (tmp_path / "whole" / f"{FILE}-wal").exists()
    seen: Counter[str] = Counter()
    places = [*range(100), *range(100, len(whole), 37), *(whole.find(b"what was made") + step for step in range(-30, 30))]
    for place in places:
        home = tmp_path / "altered"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        altered = bytearray(whole)
        altered[place] ^= 0xFF
        (home / FILE).write_bytes(altered)
        try:
            with StageCache.open(home) as cache:
                found = [cache.get("s", stage_key(number)) for number in range(3)]
                seen["aside"] += cache.note is not None
                seen["dropped"] += cache.use()["s"].damaged
                seen["whole"] += None not in found
            assert all(each in {None, b"what was made %d" % number} for number, each in enumerate(found)), place
        except StorageFailed:
            seen["said"] += 1
    assert min(seen["aside"], seen["dropped"], seen["whole"]) > 0, seen


def test_two_may_use_one_file(tmp_path: Path) -> None:
    with StageCache.open(tmp_path) as one, StageCache.open(tmp_path) as other:
        one.put("s", stage_key(1), b"of one", cpu_ms=1.0)
        one.keep()
        assert other.get("s", stage_key(1)) == b"of one"
        other.put("s", stage_key(2), b"of the other", cpu_ms=1.0)
        other.keep()
        assert one.get("s", stage_key(2)) == b"of the other"


def test_what_forgets_reads_nothing_and_keeps_what_is_made(cache: StageCache) -> None:
    cache.put("s", stage_key(1), b"old", cpu_ms=1.0)
    cache.keep()
    forgets = cache.forgetful()
    for _ in range(2):
        assert forgets.get("s", stage_key(1)) is None
        forgets.put("s", stage_key(1), b"new", cpu_ms=1.0)
    assert forgets.use()["s"] == Use(found=0, made=2, damaged=0)
    assert cache.get("s", stage_key(1)) == b"new"
    assert cache.use()["s"] == Use(found=1, made=0, damaged=0)


def test_what_was_made_long_ago_can_be_dropped(cache: StageCache) -> None:
    cache.put("s", stage_key(1), b"x", cpu_ms=1.0)
    cache.keep()
    assert cache.drop_unused(1.0) == 0
    assert cache.drop_unused(-1.0) == 1
    assert cache.stored() == {}


def test_what_was_made_just_before_midnight_is_not_a_day_old_after_it(cache: StageCache, monkeypatch: pytest.MonkeyPatch) -> None:
    midnight_s = 20_000 * 86_400
    monkeypatch.setattr(time, "time", lambda: midnight_s - 3600.0)
    cache.put("s", stage_key(1), b"x", cpu_ms=1.0)
    monkeypatch.setattr(time, "time", lambda: midnight_s + 1800.0)
    assert cache.drop_unused(1.0) == 0
    monkeypatch.setattr(time, "time", lambda: midnight_s + 86_400.0)
    assert cache.drop_unused(1.0) == 1


def test_what_is_stored_is_counted_by_stage(cache: StageCache) -> None:
    for number, cpu_ms in enumerate([1.0, 2.0, 6.0]):
        cache.put("slow", stage_key(number), b"", cpu_ms=cpu_ms)
    cache.put("another", stage_key(1), b"x", cpu_ms=5.0)
    stored = cache.stored()
    assert [(stage, found.outputs, found.mean_ms) for stage, found in stored.items()] == [("another", 1, 5.0), ("slow", 3, 3.0)]
    assert stored["slow"].size_bytes > 0


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be opened") as raised:
        StageCache.open(tmp_path / "file" / "home")
    assert "--home" in raised.value.hint


def test_a_cache_of_another_form_is_moved_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with StageCache.open(tmp_path) as cache:
        assert cache.note is not None
        assert "form 99" in cache.note
        assert cache.stored() == {}
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
