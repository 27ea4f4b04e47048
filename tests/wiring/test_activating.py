"""Activation: every check first, named where it fails; then one switch. What was served goes on being served until then."""

import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from rag_service import verified
from rag_service.build import Built
from rag_service.catalog import Catalog
from rag_service.errors import Conflict, Damaged, Mismatch, NotFound, RagError, ReleaseUnavailable
from rag_service.history import Transition
from rag_service.manifest import read_manifest
from rag_service.opened import CHECKS
from rag_service.question import Question
from rag_service.release import Release
from rag_service.settings import Settings, load_settings
from rag_service.wiring.activating import SAMPLED_CHUNKS, IndexSwitching, activate, checked, earlier, this_person
from rag_service.wiring.desks import records_of
from rag_service.wiring.releases import deployment_of, make_release, open_release
from rag_service.wiring.stores import open_ledger
from tests.doubles import HOLIDAYS
from tests.wiring.test_releases import another_encoder, republished, version_copy

Build = Callable[..., Built]


@pytest.fixture(scope="module")
def with_other(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path, build: Build) -> tuple[Path, Release]:
    """The handbook, and a release of a version of 500 chunks that is stored and was never served."""
    folder = tmp_path_factory.mktemp("other")
    root = shutil.copytree(served_indexes, folder / "indexes", symlinks=True)
    dice = random.Random(5)
    words = ["release", "index", "answer", "question", "passage", "document", "token", "vector", "prompt", "digest"]
    for number in range(500):
        (folder / f"{number:03}.txt").write_text(f"Number {number}: {' '.join(dice.choices(words, k=4))}.")
    catalog = Catalog(root)
    version = build(root, f"{folder}/*.txt", keep_embeddings=False).manifest.version
    release = make_release(load_settings({}, indexes=root), catalog, "handbook", version)
    catalog.add_release("handbook", release)
    return root, release


@pytest.fixture
def catalog(with_other: tuple[Path, Release], tmp_path: Path) -> Catalog:
    return Catalog(shutil.copytree(with_other[0], tmp_path / "own", symlinks=True))


@pytest.fixture
def settings(catalog: Catalog) -> Settings:
    return load_settings({}, indexes=catalog.root, name="handbook")


@pytest.fixture
def served(catalog: Catalog) -> Release:
    return catalog.release("handbook", catalog.active_id("handbook"))


@pytest.fixture
def other(with_other: tuple[Path, Release]) -> Release:
    return with_other[1]


def switch(settings: Settings, catalog: Catalog, release: Release, **how: Any) -> Transition | None:
    return activate(settings, catalog, "handbook", release, who="me", why="a test", **how)[0]


def switching(settings: Settings, catalog: Catalog) -> IndexSwitching:
    """That of a server."""
    records = records_of(settings, catalog, open_ledger(settings), deployment=deployment_of(settings))
    return IndexSwitching(settings, catalog, records)


def refused(settings: Settings, catalog: Catalog, release: Release, check: str, error: type[RagError], says: str) -> None:
    """The check is named, and nothing has changed."""
    before, history = catalog.active_path("handbook").read_bytes(), catalog.history("handbook")
    with pytest.raises(error, match=f"release {release.id} is not activated, the check `{check}` failed: .*{says}") as caught:
        switch(settings, catalog, release)
    assert caught.value.hint
    assert catalog.active_path("handbook").read_bytes() == before
    assert catalog.history("handbook") == history


def test_every_check_is_made_in_order_and_then_the_release_is_served(catalog: Catalog, settings: Settings, other: Release) -> None:
    told: list[tuple[str, str]] = []
    made = switch(settings, catalog, other, told=lambda check, state: told.append((check, state)))
    assert told == [(check, state) for check in (*CHECKS, "questions") for state in ("checking", "ok")]
    assert made is not None
    assert (made.release, made.who, made.why, made.action) == (other.id, "me", "a test", "activate")
    assert catalog.active_id("handbook") == other.id


def test_what_is_served_already_is_checked_too_and_changes_nothing(catalog: Catalog, settings: Settings, served: Release) -> None:
    before = catalog.active_path("handbook").read_bytes()
    assert switch(settings, catalog, served) is None
    assert catalog.active_path("handbook").read_bytes() == before


@pytest.mark.parametrize("file", ["vectors.faiss", "chunks.sqlite", "build.json", "manifest.json"])
def test_a_version_with_an_altered_file_is_refused_by_the_check_of_the_manifest(
    catalog: Catalog, settings: Settings, other: Release, file: str
) -> None:
    """F4: one bit, in the last byte but a hundred."""
    path = catalog.version_folder("handbook", other.index.version) / file
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    refused(settings, catalog, other, "manifest", Damaged, file.replace(".", r"\."))


@pytest.mark.parametrize("seed", range(20))
def test_a_version_cut_short_anywhere_is_refused_with_the_file_named(
    catalog: Catalog, settings: Settings, served: Release, seed: int
) -> None:
    """F3, at twenty random lengths."""
    dice = random.Random(seed)
    folder = catalog.version_folder("handbook", served.index.version)
    path = dice.choice(sorted(folder.iterdir()))
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])
    refused(settings, catalog, served, "manifest", Damaged, path.name.replace(".", r"\."))


@pytest.mark.parametrize("there", [[], ["manifest.json"], ["manifest.json", "build.json", "chunks.sqlite"], ["vectors.faiss"]])
def test_a_version_that_is_half_there_is_refused(catalog: Catalog, settings: Settings, other: Release, there: list[str]) -> None:
    folder = catalog.version_folder("handbook", other.index.version)
    for path in folder.iterdir():
        if path.name not in there:
            path.unlink()
    refused(settings, catalog, other, "manifest", Damaged, "")


def test_a_version_that_is_gone_is_refused(catalog: Catalog, settings: Settings, other: Release) -> None:
    shutil.rmtree(catalog.version_folder("handbook", other.index.version))
    refused(settings, catalog, other, "manifest", NotFound, f"no index version {other.index.version}")


def test_a_pickle_or_any_other_file_in_the_folder_of_a_version_is_never_read(
    catalog: Catalog, settings: Settings, other: Release, tmp_path: Path
) -> None:
    """A17."""
    folder, run = catalog.version_folder("handbook", other.index.version), tmp_path / "it was run"
    program = f"cos\nsystem\n(S'touch \"{run}\"'\ntR.".encode()
    for name in ("index.pkl", "vectors.pkl", "docstore.pickle", "__init__.py", "encoder.bin"):
        (folder / name).write_bytes(program)
    assert switch(settings, catalog, other) is not None
    (folder / "vectors.faiss").write_bytes(program)
    with pytest.raises(Damaged, match=r"vectors\.faiss"):
        open_release(settings, catalog, "handbook", other)
    assert not run.exists()


def test_one_foreign_vector_among_hundreds_may_be_noticed_where_four_samples_would_not(
    catalog: Catalog, settings: Settings, other: Release
) -> None:
    """The files are those of the manifest: somebody built it with something else. Sixty-four rows are compared, spread over all."""
    folder, manifest = version_copy(catalog, other)
    index = faiss.read_index(str(folder / "vectors.faiss"))
    rows = index.reconstruct_n(0, index.ntotal)
    sampled = round(30 * (index.ntotal - 1) / (SAMPLED_CHUNKS - 1))
    rows[sampled] = np.roll(rows[sampled], 7)
    altered = faiss.IndexFlatIP(384)
    altered.add(rows)
    faiss.write_index(altered, str(folder / "vectors.faiss"))
    foreign = other.model_copy(update={"index": republished(catalog, folder, manifest)})
    catalog.add_release("handbook", foreign)
    assert open_release(settings, catalog, "handbook", foreign).differences == (), "a start samples four"
    refused(settings, catalog, foreign, "canary", Mismatch, "does not reproduce the index's vectors")


def test_a_version_of_an_unknown_encoder_is_refused(catalog: Catalog, settings: Settings, served: Release, encoder_folder: Path) -> None:
    """F6: another model id."""
    unknown = served.encoder.model_copy(update={"digest": "sha256:" + "7" * 64})
    folder, manifest = version_copy(catalog, served)
    encoder = manifest.encoder.model_copy(update={"digest": unknown.digest})
    index = republished(catalog, folder, manifest.model_copy(update={"encoder": encoder}))
    foreign = served.model_copy(update={"encoder": unknown, "index": index})
    refused(settings, catalog, foreign, "encoder", NotFound, "encoder 777777777777 is not in encoders/")
    other = another_encoder(catalog, encoder_folder, query_prefix="query: ")
    refused(settings, catalog, served.model_copy(update={"encoder": other}), "manifest", Mismatch, "names the encoder")


def test_a_version_of_another_dimension_is_refused(catalog: Catalog, settings: Settings, served: Release) -> None:
    """F6: dimension 768."""
    folder, manifest = version_copy(catalog, served)
    wide = faiss.IndexFlatIP(768)
    wide.add(np.ones((manifest.counts.chunks, 768), np.float32))
    faiss.write_index(wide, str(folder / "vectors.faiss"))
    index = republished(catalog, folder, manifest)
    refused(settings, catalog, served.model_copy(update={"index": index}), "index", Mismatch, "768 dimensions")


def test_a_generator_that_cannot_be_opened_is_refused(catalog: Catalog, settings: Settings, served: Release) -> None:
    gone = served.generator.model_copy(update={"spec": "llamacpp:/no/such.gguf"})
    refused(settings, catalog, served.model_copy(update={"generator": gone}), "generator", NotFound, r"such\.gguf")


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        (f'{{"question": "{HOLIDAYS}", "contains": "28"}}', Mismatch, "1 of 1 canary questions failed"),
        ('{"question": "Which number?", "documents": ["leave.md"]}', Mismatch, r"leave\.md"),
        ("nonsense", Damaged, r"line 1 of canaries\.jsonl"),
    ],
)
def test_a_release_that_does_not_answer_the_canary_questions_is_refused(
    catalog: Catalog, settings: Settings, other: Release, line: str, error: type[RagError], says: str
) -> None:
    catalog.canaries_path("handbook").write_text(line + "\n")
    refused(settings, catalog, other, "questions", error, says)


def test_of_two_who_activate_at_once_one_does_and_the_other_is_told(catalog: Catalog, settings: Settings, other: Release) -> None:
    """F26, for the pointer: both have made their checks before either switches."""
    third = other.model_copy(update={"retrieval": other.retrieval.model_copy(update={"top_k": 3})})
    both_checked, outcomes = threading.Barrier(2), {}

    def told(check: str, state: str) -> None:
        if (check, state) == ("questions", "ok"):
            both_checked.wait(30)

    def one(release: Release) -> None:
        try:
            switch(settings, catalog, release, told=told)
            outcomes[release.id] = "served"
        except Conflict as error:
            outcomes[release.id] = error.message

    threads = [threading.Thread(target=one, args=(release,)) for release in (other, third)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    [winner] = [release for release, outcome in outcomes.items() if outcome == "served"]
    [loser] = [outcome for outcome in outcomes.values() if outcome != "served"]
    assert catalog.active_id("handbook") == winner
    assert "by now, not" in loser or "already changing" in loser
    assert len(catalog.history("handbook").transitions) == 2


def test_a_rollback_during_the_checks_of_an_activation_is_not_undone_by_it(
    catalog: Catalog, settings: Settings, served: Release, other: Release
) -> None:
    third = other.model_copy(update={"retrieval": other.retrieval.model_copy(update={"top_k": 3})})
    switch(settings, catalog, other)

    def told(check: str, state: str) -> None:
        if (check, state) == ("questions", "ok"):
            catalog.activate("handbook", served, action="rollback")

    with pytest.raises(Conflict, match=f"serves release {served.id} by now, not {other.id}"):
        switch(settings, catalog, third, told=told)
    assert catalog.active_id("handbook") == served.id


def test_a_file_that_is_altered_after_it_was_read_is_found_although_the_start_would_not_read_it_again(
    catalog: Catalog, settings: Settings, other: Release
) -> None:
    """The notes of what was compared do not count for an activation: here they say that all is well."""
    folder = catalog.version_folder("handbook", other.index.version)
    path = folder / "chunks.sqlite"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)

    manifest = read_manifest(folder)
    stats = verified._stats(folder, manifest)
    assert stats is not None
    notes = catalog.notes_path("handbook", other.index.version)
    notes.parent.mkdir(exist_ok=True)
    notes.write_bytes(verified.canonical_json(verified._note(manifest, stats)))
    refused(settings, catalog, other, "manifest", Damaged, r"chunks\.sqlite")


def test_going_back_leads_to_what_was_served_before(catalog: Catalog, settings: Settings, served: Release, other: Release) -> None:
    switch(settings, catalog, other)
    assert earlier(catalog, "handbook", None) == served
    assert earlier(catalog, "handbook", other.id) == other
    switch(settings, catalog, served, action="rollback")
    with pytest.raises(NotFound, match="never served another release: there is nothing to go back to"):
        earlier(catalog, "handbook", None)


@pytest.mark.parametrize("name", ["handbook", "nowhere"])
def test_without_a_history_there_is_nothing_to_go_back_to(catalog: Catalog, name: str) -> None:
    with pytest.raises(NotFound, match="nothing to go back to"):
        earlier(catalog, name, None)
    with pytest.raises(NotFound, match="0123456789ab"):
        earlier(catalog, name, "0123456789ab")


def test_going_back_to_a_release_that_was_removed_says_so(catalog: Catalog, settings: Settings, served: Release, other: Release) -> None:
    switch(settings, catalog, other)
    catalog.release_path("handbook", served.id).unlink()
    with pytest.raises(NotFound, match=f"no release {served.id}"):
        earlier(catalog, "handbook", None)


def test_a_server_tells_clients_which_check_failed_as_one_kind_of_error(catalog: Catalog, settings: Settings, other: Release) -> None:
    path = catalog.version_folder("handbook", other.index.version) / "vectors.faiss"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseUnavailable, match="the check `manifest` failed") as caught:
        switching(settings, catalog).activate(other.id, who="me", why="", expected=None)
    assert caught.value.param == "release"


def test_a_server_switches_and_rolls_back_with_who_and_why(catalog: Catalog, settings: Settings, served: Release, other: Release) -> None:
    switcher = switching(settings, catalog)
    made = switcher.activate(other.id, who="key 1 (ann)", why="new", expected=served.id)
    assert (made.release, made.differences) == (other, ())
    with pytest.raises(Conflict):
        switcher.roll_back(None, who="key 2 (bob)", why="", expected=served.id)
    switcher.roll_back(None, who="key 2 (bob)", why="old", expected=None)
    assert [(one.who, one.why, one.action) for one in switcher.history().transitions[1:]] == [
        ("key 1 (ann)", "new", "activate"), ("key 2 (bob)", "old", "rollback"),
    ]  # fmt: skip
    assert catalog.active_id("handbook") == served.id


def test_a_checked_release_answers(catalog: Catalog, settings: Settings, served: Release) -> None:
    assert "28 days" in str(checked(settings, catalog, "handbook", served).pipeline.ask(Question(HOLIDAYS)).answer)


def test_whoever_runs_a_command_is_named_even_where_the_system_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "@" in this_person()
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert this_person().startswith("unknown@")
