"""The verb: object storage → index version, encoder or release here.

A store is not trusted: every file is compared with the SHA-256 that its manifest gives, and the manifest with the id that was asked for,
before anything can be served. Files are fetched in pieces into a folder that nobody serves from, and appear under their name in one
rename, complete. A pull that was killed goes on where it was.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rag_service.catalog import ENCODERS_FOLDER, Catalog, check_name
from rag_service.digests import short_id
from rag_service.durable import replace_folder, storage_errors, write_atomically
from rag_service.embedders.encoder import ENCODER_FILE, read_card, verified_card
from rag_service.errors import Damaged, Mismatch, NotFound, StorageFailed
from rag_service.manifest import BUILD_FILE, MANIFEST_FILE, Manifest, intact_version, read_build_facts, read_manifest
from rag_service.ports import ObjectStore, Progress
from rag_service.push import pointed_to
from rag_service.release import Release
from rag_service.remotes.keys import card_key, facts_key, file_key, manifest_key, release_key, require_plain
from rag_service.stored import FileEntry, read_addressed

_PIECE_BYTES = 5 * 2**20
"""What one request asks for, and what a pull that was killed may have to fetch again."""
_LIST_BYTES = 32 * 2**20
"""No manifest, card or release is longer."""
_SPARE_BYTES = 2**20
"""Left free on the disk beside what is pulled."""

_AGAIN = "push it once more with `--again`, from where it is intact; nothing was changed here"


@dataclass(frozen=True, slots=True)
class Pulled:
    version: str | None
    encoder: str | None
    release: str | None
    existed: bool
    """Everything was here already, intact."""
    fetched_bytes: int


def released_in(remote: ObjectStore, name: str) -> str:
    """The release that the store says is served. Raises `NotFound`, naming what there is."""
    pointer = pointed_to(remote, check_name(name))
    if pointer is not None:
        return pointer[0]
    names = remote.names(f"{name}/versions")
    versions = [entry.removesuffix(".json") for entry in names if entry.endswith(".json") and not entry.endswith(".build.json")]
    if not versions:
        raise NotFound(f"{remote.shown} holds no index {name!r}", hint="check the URL and the name, or push it first")
    raise NotFound(
        f"{remote.shown} does not say which release of {name!r} is served",
        hint=f"name one, {name}@ID; it holds the versions {', '.join(versions[:20])}. `index push --activate` says which is served",
    )


def pull_release(catalog: Catalog, name: str, release: str, remote: ObjectStore, progress: Progress) -> Pulled:
    """A release, its index version and its encoder: all that it takes to serve it. Raises what `pull_version` raises."""
    path = catalog.release_path(name, release)  # an id that cannot be one is refused here
    found = _fetched_release(catalog, name, release, remote) if not path.is_file() else catalog.release(name, release)
    pulled = pull_version(catalog, name, found.index.version, remote, progress)
    if read_manifest(catalog.version_folder(name, found.index.version)).digest != found.index.digest:
        raise Mismatch(f"release {release} names another index version than {found.index.version}", hint="make the release again")
    catalog.add_release(name, found)
    return Pulled(pulled.version, pulled.encoder, found.id, pulled.existed, pulled.fetched_bytes)


def holds_release(catalog: Catalog, name: str, identifier: str, remote: ObjectStore) -> bool:
    """Whether an id is that of a release in the store, rather than of an index version."""
    catalog.release_path(name, identifier)
    return remote.size(release_key(name, identifier)) is not None


def pull_version(catalog: Catalog, name: str, version: str, remote: ObjectStore, progress: Progress) -> Pulled:
    """An index version and its encoder. What is here already, intact, is not fetched.

    Raises `NotFound`, `Damaged` or `Mismatch` for what the store holds, `RemoteFailed`, `StorageFailed`, and `Conflict` where the index is
    being built or pulled already. Whatever it raises, and wherever the process is killed, what was here before is untouched.
    """
    final = catalog.version_folder(name, version)
    with catalog.building(name):
        fetched = 0
        existed = intact_version(final) is not None
        if not existed:
            staged = catalog.pulling_folder(name) / version
            manifest = _staged_manifest(staged, name, version, remote)
            fetched = _fetch_all(remote, manifest.files, staged, {MANIFEST_FILE, BUILD_FILE}, progress)
            replace_folder(staged, _below(final))
            _tidy(catalog.pulling_folder(name))
    manifest = read_manifest(final)
    if manifest.encoder.embedder != "onnx":
        return Pulled(version, None, None, existed, fetched)
    encoder = pull_encoder(catalog, short_id(manifest.encoder.digest), remote, progress)
    return Pulled(version, encoder.encoder, None, existed and encoder.existed, fetched + encoder.fetched_bytes)


def pull_encoder(catalog: Catalog, encoder: str, remote: ObjectStore, progress: Progress) -> Pulled:
    """Raises what `pull_version` raises."""
    final = catalog.encoder_folder(encoder)
    if _is_intact(final):
        return Pulled(None, encoder, None, existed=True, fetched_bytes=0)
    with catalog.building(ENCODERS_FOLDER):
        staged = catalog.pulling_folder(ENCODERS_FOLDER) / encoder
        _stage(staged / ENCODER_FILE, card_key(encoder), remote)
        try:
            card = read_card(staged)
        except Damaged as error:
            shutil.rmtree(staged, ignore_errors=True)
            raise Damaged(f"{remote.shown}/{card_key(encoder)} is damaged: {error.message}", hint=_AGAIN) from error
        require_plain(card.files, f"encoder {encoder}")
        fetched = _fetch_all(remote, card.files, staged, {ENCODER_FILE}, progress)
        replace_folder(staged, _below(final))
        _tidy(catalog.pulling_folder(ENCODERS_FOLDER))
    return Pulled(None, encoder, None, existed=False, fetched_bytes=fetched)


def _fetched_release(catalog: Catalog, name: str, release: str, remote: ObjectStore) -> Release:
    path = catalog.pulling_folder(name) / f"{release}.json"
    _stage(path, release_key(name, release), remote)
    try:
        return read_addressed(Release, path, release, hint=_AGAIN)
    finally:
        path.unlink(missing_ok=True)
        _tidy(path.parent)


def _staged_manifest(staged: Path, name: str, version: str, remote: ObjectStore) -> Manifest:
    _stage(staged / MANIFEST_FILE, manifest_key(name, version), remote)
    _stage(staged / BUILD_FILE, facts_key(name, version), remote)
    try:
        manifest = read_manifest(staged)
        read_build_facts(staged)
    except Damaged as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise Damaged(f"{remote.shown}/{manifest_key(name, version)} is damaged: {error.message}", hint=_AGAIN) from error
    require_plain(manifest.files, f"index version {version}")
    return manifest


def _stage(path: Path, key: str, remote: ObjectStore) -> None:
    data = remote.read(key, 0, _LIST_BYTES + 1)
    if len(data) > _LIST_BYTES:
        raise Mismatch(f"{remote.shown}/{key} is longer than anything that is written there", hint="find out who may write to this store")
    write_atomically(path, data)


def _fetch_all(remote: ObjectStore, files: Mapping[str, FileEntry], staged: Path, beside: set[str], progress: Progress) -> int:
    """Makes `staged` hold these files, whole, and nothing else but `beside`. How many bytes were fetched."""
    _require_room(files, staged)
    progress.stage("Pulling", sum(entry.size_bytes for entry in files.values()))
    fetched = sum(_fetch(remote, name, entry, staged, progress) for name, entry in sorted(files.items()))
    for path in staged.iterdir():
        if path.name not in files and path.name not in beside:
            path.unlink()
    return fetched


def _fetch(remote: ObjectStore, name: str, entry: FileEntry, staged: Path, progress: Progress) -> int:
    final, part = staged / name, staged / f".{name}.part"
    if final.is_file() and _sha256(final, entry.size_bytes) == entry.sha256:
        progress.advance(entry.size_bytes)
        return 0
    fetched = 0
    for whole in (False, True):  # what does not come out right is fetched once more, from its beginning
        if whole:
            progress.advance(-entry.size_bytes)
            part.unlink(missing_ok=True)
        fetched += _fetch_pieces(remote, name, entry, part, progress)
        if _sha256(part, entry.size_bytes) == entry.sha256:
            with storage_errors(name):
                part.replace(final)
            return fetched
    part.unlink(missing_ok=True)
    raise Damaged(
        f"{remote.shown}/{file_key(entry)} is damaged: what it holds is not the {name} that was pushed (its SHA-256 is another)",
        hint=_AGAIN,
    )


def _fetch_pieces(remote: ObjectStore, name: str, entry: FileEntry, part: Path, progress: Progress) -> int:
    """Goes on where `part` ends. How many bytes were fetched."""
    with storage_errors(name), part.open("ab") as file:
        begin = file.tell()
        if begin > entry.size_bytes:
            begin = 0
            file.truncate(0)
        progress.advance(begin)
        at = begin
        while at < entry.size_bytes:
            piece = remote.read(file_key(entry), at, min(_PIECE_BYTES, entry.size_bytes - at))
            if not piece:
                raise Damaged(
                    f"{remote.shown}/{file_key(entry)} is damaged: it has {at:,} bytes of the {entry.size_bytes:,} of {name}", hint=_AGAIN
                )
            file.write(piece)
            file.flush()
            at += len(piece)
            progress.advance(len(piece))
    return entry.size_bytes - begin


def _sha256(path: Path, size_bytes: int) -> str:
    """Empty where the file has another size."""
    with storage_errors(path.name), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if path.stat().st_size == size_bytes else ""


def _require_room(files: Mapping[str, FileEntry], staged: Path) -> None:
    """Better said now than after an hour; the disk may be full by then nevertheless."""
    here = sum(path.stat().st_size for path in staged.iterdir())
    needed = sum(entry.size_bytes for entry in files.values()) - here + _SPARE_BYTES
    free = shutil.disk_usage(staged).free
    if free < needed:
        raise StorageFailed(
            f"{needed:,} bytes are needed and {free:,} are free on the disk of {staged.parent.name}/",
            hint="free some space or point RAG_INDEXES at another disk; what is served is untouched",
        )


def _below(final: Path) -> Path:
    with storage_errors(f"below {final.parent.name}/"):
        final.parent.mkdir(parents=True, exist_ok=True)
    return final


def _is_intact(folder: Path) -> bool:
    try:
        verified_card(folder)
    except (Damaged, NotFound):
        return False
    return True


def _tidy(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
