"""A store that is away, slow, full of lies or closed to us: an error that says what to do, and nothing that is served is touched (F25)."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session

from rag_service.catalog import Catalog
from rag_service.digests import canonical_json, digest_bytes, short_id
from tests.conftest import fill
from tests.remotes.faulty_store import KEY_ID, SECRET, Faults, Proxy, environment, get, put, s3_server

Cli = Callable[..., Any]
Pull = Callable[..., str]


@pytest.fixture
def version(own_indexes: Path) -> str:
    return Catalog(own_indexes).versions("handbook")[-1]


@pytest.fixture
def pushed(cli: Cli, own_indexes: Path, store: Proxy, url: str) -> None:
    assert cli("index", "push", "handbook", url, "--activate", "--indexes", own_indexes).code == 0
    store.lines.clear()


@pytest.fixture
def serving(indexes: Path, cli: Cli, tmp_path: Path) -> Iterator[Path]:
    """A machine that serves an earlier handbook, and the encoder with it; it still does in the end."""
    page = tmp_path / "earlier" / "leave.md"
    page.parent.mkdir()
    page.write_text("# Leave\n\nEvery employee has 20 days of paid holiday a year.\n")
    assert cli("index", "build", page, "--name", "handbook", "--activate", "--indexes", indexes).code == 0
    served = Catalog(indexes).active_id("handbook")
    versions = Catalog(indexes).versions("handbook")
    yield indexes
    assert Catalog(indexes).active_id("handbook") == served
    assert Catalog(indexes).versions("handbook") == versions
    assert "20 days" in cli("ask", "How many days of paid holiday are there?", "--name", "handbook", "--indexes", indexes).out


@pytest.fixture
def refused(cli: Cli, serving: Path, store: Proxy, url: str) -> Pull:  # noqa: ARG001 - the store comes first
    """Pulls what must not succeed, in bounded time; what was said."""

    def run(what: str = "handbook", at: str = url, timeout_s: str = "5") -> str:
        began_s = time.monotonic()
        outcome = cli("index", "pull", what, at, "--activate", "--indexes", serving, RAG_REMOTE_TIMEOUT_S=timeout_s)
        assert time.monotonic() - began_s < 4 * float(timeout_s) + 10
        assert outcome.code == 1, outcome
        return checked(outcome.err)

    return run


def checked(said: str) -> str:
    """An error in words, with what to do, and nothing of the credentials."""
    assert said.startswith("error ")
    assert len(said.splitlines()) >= 2
    assert SECRET not in said
    assert KEY_ID not in said
    return said


def object_of(s3_port: int, bucket: str, version: str, name: str) -> str:
    manifest = json.loads(get(s3_port, f"{bucket}/shelf/handbook/versions/{version}.json"))
    sha256 = manifest["files"][name]["sha256"]
    return f"{bucket}/shelf/files/{sha256[:2]}/{sha256}"


@pytest.mark.usefixtures("pushed")
def test_a_flipped_byte_in_the_store_is_found_and_can_be_mended(
    refused: Pull, cli: Cli, own_indexes: Path, elsewhere: Path, s3_port: int, bucket: str, url: str, version: str
) -> None:
    path = object_of(s3_port, bucket, version, "chunks.sqlite")
    data = bytearray(get(s3_port, path))
    data[len(data) // 2] ^= 1
    put(s3_port, path, bytes(data))
    said = refused()
    assert "is damaged: what it holds is not the chunks.sqlite that was pushed" in said
    assert "--again" in said
    assert "0 files sent" in cli("index", "push", "handbook", url, "--indexes", own_indexes).out  # its size is right
    assert cli("index", "push", "handbook", url, "--again", "--indexes", own_indexes).code == 0
    assert cli("index", "pull", "handbook", url, "--activate", "--indexes", elsewhere).code == 0


@pytest.mark.usefixtures("pushed")
def test_a_truncated_object_is_found_and_sent_again_by_the_next_push(
    refused: Pull, cli: Cli, own_indexes: Path, elsewhere: Path, s3_port: int, bucket: str, url: str, version: str
) -> None:
    path = object_of(s3_port, bucket, version, "vectors.faiss")
    whole = get(s3_port, path)
    put(s3_port, path, whole[:-100])
    said = refused()
    assert "vectors.faiss" in said
    assert f"it has {len(whole) - 100:,} bytes of the {len(whole):,}" in said
    assert "1 files sent" in cli("index", "push", "handbook", url, "--indexes", own_indexes).out
    assert cli("index", "pull", "handbook", url, "--activate", "--indexes", elsewhere).code == 0


@pytest.mark.usefixtures("pushed")
def test_what_breaks_on_the_wire_is_fetched_again(cli: Cli, elsewhere: Path, store: Proxy, url: str) -> None:
    store.faults = Faults(of="/files/", flips=1, cuts=1, fails=2)
    outcome = cli("index", "pull", "handbook", url, "--activate", "--indexes", elsewhere)
    assert outcome.code == 0, outcome.err
    assert (store.faults.flips, store.faults.cuts, store.faults.fails) == (0, 0, 0)


@pytest.mark.usefixtures("pushed")
def test_a_store_that_stalls_is_given_up_in_bounded_time(refused: Pull, store: Proxy) -> None:
    store.faults = Faults(bytes_first=40_000)
    assert "did not answer within 0.4 s in 4 tries" in refused(timeout_s="0.4")


@pytest.mark.usefixtures("pushed")
def test_a_store_that_is_away_at_the_start_is_said(refused: Pull, store: Proxy) -> None:
    store.faults = Faults(refuses=True)
    assert "cannot be reached in 4 tries" in refused()


@pytest.mark.usefixtures("pushed")
def test_a_store_that_goes_away_in_the_middle_is_said_and_the_next_pull_goes_on(
    cli: Cli, elsewhere: Path, store: Proxy, url: str, version: str
) -> None:
    def away(_: str) -> None:
        store.faults.refuses = store.faults.refuses or store.requests("GET", "/files/") >= 5

    store.faults = Faults(before=away)
    outcome = cli("index", "pull", "handbook", url, "--indexes", elsewhere)
    assert "cannot be reached" in checked(outcome.err)
    assert Catalog(elsewhere).versions("handbook") == []
    come = len(list((Catalog(elsewhere).pulling_folder("handbook") / version).glob("[a-z]*.*")))
    store.faults = Faults()
    store.lines.clear()
    assert cli("index", "pull", "handbook", url, "--activate", "--indexes", elsewhere).code == 0
    assert come > 3
    assert store.requests("GET", "/files/") < 24 - 3  # files of a version and pieces of an encoder


@pytest.mark.usefixtures("pushed")
def test_a_bucket_that_is_missing_is_said(refused: Pull, cli: Cli, own_indexes: Path) -> None:
    assert "there is no bucket for s3://no-such-bucket/x" in refused(at="s3://no-such-bucket/x")
    outcome = cli("index", "push", "handbook", "s3://no-such-bucket/x", "--indexes", own_indexes)
    assert "there is no bucket for s3://no-such-bucket/x" in checked(outcome.err)


def test_missing_and_wrong_credentials_are_said_and_not_repeated(
    cli: Cli, own_indexes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    with s3_server(folder, INITIAL_NO_AUTH_ACTION_COUNT="4") as port:
        for variable, value in environment(f"http://127.0.0.1:{port}").items():
            monkeypatch.setenv(variable, value)
        key = _user_of(f"http://127.0.0.1:{port}")

        def push(**environ: str) -> Any:
            return cli("index", "push", "handbook", "s3://closed/x", "--indexes", own_indexes, **environ)

        assert "s3://closed/x refuses access (" in checked(push().err)
        right = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        said = push(**right | {"AWS_SECRET_ACCESS_KEY": SECRET}).err
        assert "refuses access (" in checked(said)
        assert key["AccessKeyId"] not in said
        assert push(**right).code == 0
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert "there are no credentials for s3://closed/x" in checked(push().err)


def _user_of(endpoint: str) -> dict[str, str]:
    """Makes a bucket and somebody who may use it; the key."""
    session = get_session()
    session.create_client("s3", endpoint_url=endpoint).create_bucket(Bucket="closed")
    iam = session.create_client("iam", endpoint_url=endpoint)
    iam.create_user(UserName="pusher")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy(UserName="pusher", PolicyName="all", PolicyDocument=json.dumps(allowed))
    key: dict[str, str] = iam.create_access_key(UserName="pusher")["AccessKey"]
    return key


@pytest.mark.usefixtures("pushed")
def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    cli: Cli, small_disk: Path, encoder_folder: Path, store: Proxy, url: str
) -> None:
    (small_disk / "encoders").symlink_to(encoder_folder.parent)
    fill(small_disk, leave_bytes=200_000)
    said = checked(cli("index", "pull", "handbook", url, "--indexes", small_disk).err)
    assert "bytes are needed and" in said
    assert store.requests("GET", "/files/") == 0


@pytest.mark.usefixtures("pushed")
def test_a_disk_that_fills_up_in_the_middle_is_said_and_the_next_pull_goes_on(
    cli: Cli, encoder_folder: Path, store: Proxy, url: str, tmp_path: Path, mounted: Callable[[Path, str], None]
) -> None:
    disk = tmp_path / "filling"
    disk.mkdir()
    mounted(disk, "4m")
    (disk / "encoders").symlink_to(encoder_folder.parent)
    fillers: list[Path] = []

    def fill_up(_: str) -> None:
        if not fillers and store.requests("GET", "/files/") == 4:
            fillers.append(fill(disk, leave_bytes=2 * 4096))

    store.faults = Faults(before=fill_up)
    said = checked(cli("index", "pull", "handbook", url, "--indexes", disk).err)
    assert "No space left on device" in said
    assert Catalog(disk).versions("handbook") == []
    fillers[0].unlink()
    assert cli("index", "pull", "handbook", url, "--activate", "--indexes", disk).code == 0


@pytest.mark.parametrize(
    "name",
    ["../../../outside", "/etc/outside", "a/../../outside", "..", "sub/outside", ".hidden", "manifest.json", "a\x00b", "C:\\outside"],
)
@pytest.mark.usefixtures("pushed")
def test_a_manifest_that_would_write_elsewhere_is_refused(
    refused: Pull, serving: Path, s3_port: int, bucket: str, version: str, name: str
) -> None:
    """A5, by somebody who may write to the store: the forged manifest gives the id that is asked for, as anybody's can."""
    manifest = json.loads(get(s3_port, f"{bucket}/shelf/handbook/versions/{version}.json"))
    manifest["files"][name] = manifest["files"].pop("neighbours.i4")
    forged = canonical_json(manifest)
    identifier = short_id(digest_bytes(forged))
    put(s3_port, f"{bucket}/shelf/handbook/versions/{identifier}.json", forged)
    put(
        s3_port,
        f"{bucket}/shelf/handbook/versions/{identifier}.build.json",
        get(s3_port, f"{bucket}/shelf/handbook/versions/{version}.build.json"),
    )
    assert "lists a file that no build writes" in refused(f"handbook@{identifier}")
    assert [path for path in serving.parent.rglob("*outside*")] == []


@pytest.mark.usefixtures("pushed")
def test_a_manifest_of_another_version_is_refused(refused: Pull, s3_port: int, bucket: str, version: str) -> None:
    data = get(s3_port, f"{bucket}/shelf/handbook/versions/{version}.json")
    for ending in (".json", ".build.json"):
        put(s3_port, f"{bucket}/shelf/handbook/versions/0123456789ab{ending}", data)
    assert "is damaged" in refused("handbook@0123456789ab")


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b"../../../etc", b"0123456789ab"], ids=repr)
@pytest.mark.usefixtures("pushed")
def test_a_pointer_to_nothing_is_refused(refused: Pull, s3_port: int, bucket: str, data: bytes) -> None:
    put(s3_port, f"{bucket}/shelf/handbook/ACTIVE", data)
    assert ("does not say which release" if data != b"0123456789ab" else "holds no handbook/releases/0123456789ab.json") in refused()
