"""What is stored under the digest of its content: JSON documents that name themselves, and the files they list.

Such a document is written as canonical JSON. The SHA-256 of those bytes is its digest, and the first 12 hex digits name its file or
folder; so a changed bit in it is found by its name, and a changed bit in a file that it lists by the digest in the list.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from rag_service.digests import canonical_json, digest_bytes, file_digest, short_id
from rag_service.errors import Damaged, StorageFailed

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ShortId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Scalar = str | int | float | bool | None


class Frozen(BaseModel):
    """Base of everything that is stored: immutable, and unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class Addressed(Frozen):
    """A document that is named by its content."""

    def canonical(self) -> bytes:
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @cached_property
    def digest(self) -> str:
        return digest_bytes(self.canonical())

    @property
    def id(self) -> str:
        return short_id(self.digest)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy computes its own digest."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("digest", None)
        return copy


class FileEntry(Frozen):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int


_Document = TypeVar("_Document", bound=Addressed)


def read_addressed(model: type[_Document], path: Path, identifier: str, *, hint: str) -> _Document:
    """The document in `path`, whose content must give `identifier`. Raises `Damaged` with `hint`, or `StorageFailed`."""
    return addressed(model, read_bytes(path), identifier, shown=_shown(path), hint=hint)


def addressed(model: type[_Document], data: bytes, identifier: str, *, shown: str, hint: str) -> _Document:
    """The same of bytes that lie elsewhere. Raises `Damaged` with `hint`, which names `shown`."""
    try:
        document = model.model_validate_json(data)
        canonical = document.canonical()
    except ValueError as error:  # of the schema, or a number that canonical JSON cannot hold
        if short_id(digest_bytes(data)) == identifier:
            raise Damaged(f"{shown} has a form that this version of the service does not read", hint=hint) from error
        raise Damaged(f"{shown} is damaged: it does not follow its schema", hint=hint) from error
    if canonical != data or document.id != identifier:
        raise Damaged(f"{shown} is damaged: its content does not give the id {identifier}", hint=hint)
    return document


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageFailed(f"could not read {_shown(path)}: {error.strerror}", hint="check that it is there and can be read") from error


def list_files(folder: Path, names: list[str]) -> dict[str, FileEntry]:
    """Entries for `names`, as they stand in `folder` now."""
    return {name: FileEntry(**file_digest(folder / name)._asdict()) for name in names}


def verify_files(folder: Path, files: dict[str, FileEntry], *, hint: str) -> None:
    """Reads every listed file and compares size and SHA-256. Raises `Damaged`, with `hint`, naming the first that differs."""
    for name, entry in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{folder.name}/{name} is damaged: it is missing", hint=hint)
        if (size := path.stat().st_size) != entry.size_bytes:
            raise Damaged(f"{folder.name}/{name} is damaged: it has {size:,} bytes instead of {entry.size_bytes:,}", hint=hint)
        try:
            actual = file_digest(path)
        except OSError as error:
            raise StorageFailed(f"could not read {name}: {error.strerror}", hint="check the disk") from error
        if actual.sha256 != entry.sha256:
            raise Damaged(f"{folder.name}/{name} is damaged: its SHA-256 is not the one it was written with", hint=hint)


def _shown(path: Path) -> str:
    """Folder and file: enough to find it, and no path of the machine."""
    return f"{path.parent.name}/{path.name}"
