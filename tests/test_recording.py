"""What becomes of an answer whose record cannot be written: a full disk, a folder that cannot be written."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from rag_service.errors import NotRecorded, StorageFailed
from rag_service.kept import Kept, RecordQuery, Retention
from rag_service.ledger.sqlite import SqliteLedger
from rag_service.record import Receipt
from rag_service.recording import Recorder
from tests.conftest import Cli, fill
from tests.doubles import HOLIDAYS
from tests.recorded import BEGAN, answer_id, entry, record


@contextmanager
def recorder_at(path: Path, **settings: Any) -> Iterator[Recorder]:
    recorder = Recorder(SqliteLedger(path), **settings)
    try:
        yield recorder
    finally:
        recorder.close()


def failures_of(recorder: Recorder) -> list[None]:
    counted: list[None] = []
    recorder.failed = lambda: counted.append(None)
    return counted


def recorded(path: Path) -> list[int]:
    return [int(one.record.answer_id[4:], 16) for one in SqliteLedger(path).records(RecordQuery()) if isinstance(one, Kept)]


# A full disk


@pytest.mark.parametrize("room_bytes", [0, 8192, 65_536])
def test_on_a_full_disk_answers_go_out_marked_and_counted_until_there_is_room_again(small_disk: Path, room_bytes: int) -> None:
    path = small_disk / "ledger.sqlite"
    with recorder_at(path) as recorder:
        failures = failures_of(recorder)
        assert recorder.keep(record(1), key_id=None).receipt == Receipt(1, SqliteLedger(path).digest_at(1) or "")
        filler = fill(small_disk, leave_bytes=room_bytes)
        said = [recorder.keep(record(number), key_id=None) for number in range(2, 60)]
        kept = [one for one in said if one.receipt is not None]
        lost = [one for one in said if one.receipt is None]
        assert lost
        assert {one.unrecorded for one in lost} == {"the ledger could not be written (storage_failed)"}
        assert len(failures) == len(lost)
        filler.unlink()
        after = [recorder.keep(record(number), key_id=None) for number in range(100, 110)]
        assert all(one.receipt is not None for one in after)
        assert len(failures) == len(lost)
    acknowledged = [record(1), *kept, *after]
    assert recorded(path) == [int(one.answer_id[4:], 16) for one in acknowledged]
    assert SqliteLedger(path).audit().flaws == ()


def test_a_disk_that_is_full_from_the_beginning_has_a_ledger_when_there_is_room(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "ledger.sqlite"
    filler = fill(small_disk)
    with recorder_at(path) as recorder:
        recorder.start()
        assert "answers go out unrecorded" in caplog.text
        assert recorder.keep(record(1), key_id=None).receipt is None
        filler.unlink()
        receipt = recorder.keep(record(2), key_id=None).receipt
        assert receipt is not None
        assert receipt.seq == 1
    assert SqliteLedger(path).audit().flaws == ()


def test_a_strict_service_does_not_start_where_it_could_not_record(small_disk: Path) -> None:
    fill(small_disk)
    with recorder_at(small_disk / "ledger.sqlite", strict=True) as recorder, pytest.raises(StorageFailed):
        recorder.start()


def test_retention_on_a_full_disk_frees_room_or_says_nothing(small_disk: Path) -> None:
    """Dropping needs room in the log first: what fails is tried again later, and nothing is lost."""
    path = small_disk / "ledger.sqlite"
    ledger = SqliteLedger(path)
    for number in range(1, 20):
        ledger.add(entry(number)).result(timeout=10)
    filler = fill(small_disk)
    with pytest.raises(StorageFailed):
        ledger.prune(Retention(max_age_s=0))
    assert recorded(path) == list(range(1, 20))
    filler.unlink()
    assert ledger.prune(Retention(max_age_s=0)) == 19
    ledger.close()
    assert SqliteLedger(path).audit().flaws == ()


LIMITED = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def test_a_file_that_may_not_grow_is_a_warning_at_the_terminal_and_an_error_where_that_is_strict(command: Cli, own_indexes: Path) -> None:
    arguments = ("ask", HOLIDAYS, "--name", "handbook", "--indexes", own_indexes)
    marked = command(*arguments, prelude=LIMITED.format(8192))
    assert marked.code == 0
    assert "28 days" in marked.out
    assert "recorded  no: the ledger could not be written (storage_failed)" in marked.out
    assert "answers go out unrecorded" in marked.err
    refused = command(*arguments, prelude=LIMITED.format(8192), environ={"RAG_LEDGER_STRICT": "true"})
    assert refused.code == 1
    assert "28 days" not in refused.out


# A folder that cannot be written


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write to: mounted so for root, by its mode for others."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_where_nothing_can_be_written_answers_go_out_marked(read_only: Path, caplog: pytest.LogCaptureFixture) -> None:
    with recorder_at(read_only / "ledger.sqlite") as recorder:
        failures = failures_of(recorder)
        recorder.start()
        assert "RAG_LEDGER" in caplog.text
        assert recorder.keep(record(1), key_id=None).unrecorded == "the ledger could not be written (storage_failed)"
        assert len(failures) == 1
    with recorder_at(read_only / "ledger.sqlite", strict=True) as strict:
        with pytest.raises(StorageFailed):
            strict.start()
        with pytest.raises(NotRecorded):
            strict.keep(record(1), key_id=None)


def test_a_ledger_where_nothing_can_be_written_is_read(small_disk: Path) -> None:
    path = small_disk / "ledger.sqlite"
    with recorder_at(path) as recorder:
        recorder.keep(record(1), key_id=None)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ledger = SqliteLedger(path)
    assert recorded(path) == [1]
    assert ledger.audit().flaws == ()
    assert len(ledger.find(answer_id(1))) == 1
    with pytest.raises(StorageFailed, match=r"ledger\.sqlite"):
        ledger.erase_answers([answer_id(1)])
    ledger.close()


def test_a_ledger_with_a_log_where_nothing_can_be_written_says_what_to_do(small_disk: Path, start: Callable[..., "Popen[str]"]) -> None:
    program = (
        "import os; from pathlib import Path; from tests.recorded import *\n"
        f"ledger = SqliteLedger(Path({str(small_disk / 'ledger.sqlite')!r}))\n"
        "ledger.add(entry(1)).result(timeout=10)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    process = start(prelude=f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{program}")
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    (small_disk / "ledger.sqlite-shm").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageFailed, match="has a log beside it") as refused:
        SqliteLedger(small_disk / "ledger.sqlite").rows(RecordQuery())
    assert "--ledger" in refused.value.hint


# Retention by itself


def test_old_records_are_dropped_beside_the_answers(tmp_path: Path) -> None:
    """The records of 2026-03-01 are old; each recorder looks when its first answer comes."""
    path = tmp_path / "ledger.sqlite"
    with recorder_at(path) as recorder:
        for number in range(1, 6):
            recorder.keep(record(number), key_id=None)
    young = BEGAN.replace(year=BEGAN.year + 500)
    with recorder_at(path, retention=Retention(max_age_s=86_400)) as recorder:
        recorder.keep(record(6, created_at=young), key_id=None)
        deadline_s = time.monotonic() + 10
        while recorded(path) != [6]:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    assert SqliteLedger(path).audit().flaws == ()


def test_a_complaint_is_not_made_with_every_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with recorder_at(tmp_path / "file" / "ledger.sqlite") as recorder:
        failures = failures_of(recorder)
        for number in range(20):
            assert recorder.keep(record(number), key_id=None).receipt is None
    assert len(failures) == 20
    assert caplog.text.count("answers go out unrecorded") == 1


def test_answers_of_many_threads_are_each_recorded_once(tmp_path: Path) -> None:
    path, receipts = tmp_path / "ledger.sqlite", list[Receipt | None]()
    with recorder_at(path) as recorder:

        def keep(first: int) -> None:
            receipts.extend(recorder.keep(record(number), key_id=None).receipt for number in range(first, first + 25))

        threads = [threading.Thread(target=keep, args=(first,)) for first in range(0, 200, 25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(receipt.seq for receipt in receipts if receipt) == list(range(1, 201))
    assert sorted(recorded(path)) == list(range(200))
