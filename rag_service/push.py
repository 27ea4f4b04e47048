"""The verb: index version → object storage, with the encoder and the release that it takes to serve it.

Every file lies there once, under its SHA-256, so a file that is there already is not sent again: not by the next push of the same
version, nor by that of another. What lists the files is written last, and until then nobody can see the version. Whoever pushes the same
at the same time writes the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rag_service.catalog import Catalog
from rag_service.digests import short_id
from rag_service.durable import in_use
from rag_service.embedders.encoder import ENCODER_FILE, EncoderCard, verified_card
from rag_service.errors import RemoteFailed
from rag_service.history import Transition, pointer_in, pointer_to
from rag_service.manifest import BUILD_FILE, MANIFEST_FILE, Manifest, read_manifest, verify_version
from rag_service.ports import ObjectStore, Progress
from rag_service.release import Release
from rag_service.remotes.keys import card_key, facts_key, file_key, manifest_key, pointer_key, release_key
from rag_service.stored import FileEntry, read_bytes

POINTER_BYTES = 64 * 1024


@dataclass(slots=True)
class Tally:
    """Files that were sent, and those that were there."""

    sent: int = 0
    sent_bytes: int = 0
    there: int = 0
    there_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Pushed:
    version: str | None
    encoder: str | None
    """None where the index needs no exported encoder."""
    release: str | None
    existed: bool
    """The version, or the encoder, could be pulled before."""
    tally: Tally = field(default_factory=Tally)


def push_version(
    catalog: Catalog,
    name: str,
    version: str,
    remote: ObjectStore,
    progress: Progress,
    *,
    release: Release | None = None,
    again: bool = False,
) -> Pushed:
    """Reads every file before it is sent: what is damaged here goes nowhere. `again` sends what is there already as well.

    Raises `NotFound` and `Damaged` for what is here, and `RemoteFailed`. Whatever it raises, and wherever the process is killed, what
    could be pulled before can be pulled still, and the next push goes on.
    """
    folder = catalog.version_folder(name, version)
    read_manifest(folder)  # says what is wrong, if that is all
    with in_use(folder / MANIFEST_FILE):
        return _push(catalog, name, folder, verify_version(folder), remote, progress, release=release, again=again)


def _push(
    catalog: Catalog,
    name: str,
    folder: Path,
    manifest: Manifest,
    remote: ObjectStore,
    progress: Progress,
    *,
    release: Release | None,
    again: bool,
) -> Pushed:
    tally, encoder = Tally(), None
    listed = manifest_key(name, manifest.version)
    existed = _is_there(remote, listed)
    if manifest.encoder.embedder == "onnx":
        encoder = catalog.encoder_folder(short_id(manifest.encoder.digest))
    card = verified_card(encoder) if encoder is not None else None
    total = sum(entry.size_bytes for files in (manifest.files, card.files if card else {}) for entry in files.values())
    progress.stage("Pushing", total)
    if card is not None and encoder is not None:
        _push_card(encoder, card, remote, tally, progress, again=again)
    _push_files(folder, manifest.files, remote, tally, progress, again=again)
    facts = facts_key(name, manifest.version)
    if again or not _is_there(remote, facts):  # of several builds of one version, the first one pushed tells when it was
        remote.write(facts, read_bytes(folder / BUILD_FILE))
    remote.write(listed, read_bytes(folder / MANIFEST_FILE))
    if release is not None:
        remote.write(release_key(name, release.id), release.canonical())
    return Pushed(manifest.version, card.id if card else None, release.id if release else None, existed, tally)


def push_encoder(catalog: Catalog, encoder: str, remote: ObjectStore, progress: Progress, *, again: bool = False) -> Pushed:
    """Raises what `push_version` raises."""
    folder, tally = catalog.encoder_folder(encoder), Tally()
    card = verified_card(folder)
    existed = _is_there(remote, card_key(card.id))
    progress.stage("Pushing", sum(entry.size_bytes for entry in card.files.values()))
    _push_card(folder, card, remote, tally, progress, again=again)
    return Pushed(None, card.id, None, existed, tally)


def point_to(remote: ObjectStore, name: str, release: Release, *, at: str, who: str, why: str) -> Transition | None:
    """Makes a release that has been pushed what the store says is served; None where it says so already. Of two who do it at once, the
    last one's stays.
    """
    before = pointed_to(remote, name)
    if before is not None and before[0] == release.id:
        return None
    seq = before[1].seq + 1 if before and before[1] else 1
    previous = before[0] if before else None
    transition = Transition(seq=seq, at=at, action="activate", release=release.id, previous=previous, who=who, why=why)
    remote.write(pointer_key(name), pointer_to(transition))
    return transition


def pointed_to(remote: ObjectStore, name: str) -> tuple[str, Transition | None] | None:
    """The release that the store says is served, and since when; None where it says nothing that can be read."""
    key = pointer_key(name)
    return pointer_in(remote.read(key, 0, POINTER_BYTES)) if _is_there(remote, key) else None


def _push_card(folder: Path, card: EncoderCard, remote: ObjectStore, tally: Tally, progress: Progress, *, again: bool) -> None:
    _push_files(folder, card.files, remote, tally, progress, again=again)
    remote.write(card_key(card.id), read_bytes(folder / ENCODER_FILE))


def _push_files(
    folder: Path, files: Mapping[str, FileEntry], remote: ObjectStore, tally: Tally, progress: Progress, *, again: bool
) -> None:
    for name, entry in sorted(files.items()):
        key = file_key(entry)
        if not again and remote.size(key) == entry.size_bytes:
            tally.there, tally.there_bytes = tally.there + 1, tally.there_bytes + entry.size_bytes
            progress.advance(entry.size_bytes)
            continue
        remote.upload(folder / name, key, progress.advance)
        if (size := remote.size(key)) != entry.size_bytes:
            raise RemoteFailed(
                f"{remote.shown} took {name} of {entry.size_bytes:,} bytes and has {size or 0:,} of them",
                hint="push once more; if it stays so, the store loses data. Nothing that could be pulled before has changed",
            )
        tally.sent, tally.sent_bytes = tally.sent + 1, tally.sent_bytes + entry.size_bytes


def _is_there(remote: ObjectStore, key: str) -> bool:
    return remote.size(key) is not None
