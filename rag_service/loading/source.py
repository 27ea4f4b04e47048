"""From a file, a folder or a pattern to the files behind it, in an order that every machine agrees on."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from rag_service.errors import Conflict, NothingToIndex
from rag_service.loading.formats import EXTENSIONS, extension
from rag_service.types import Skipped

_WILDCARDS = frozenset("*?[")
_TRIES = 5
_WAIT_S = 0.05
"""Between two looks at a file that somebody writes to."""
_SUPPORTED = f"supported are {', '.join(EXTENSIONS)}"


@dataclass(frozen=True, slots=True)
class Found:
    """A file to load, or what was found in its place. `source` is its POSIX path below the input folder."""

    path: Path
    source: str
    problem: Skipped | None = None


def find(source: Path | str) -> list[Found]:
    """Everything that is not hidden, ordered by `Found.source`. Links inside the source are reported and never followed; the
    source itself may be one. Raises `NothingToIndex` if it is blank, missing or out of reach, or holds no file of a known format.
    """
    name = os.fspath(source)
    if not name.strip():
        raise NothingToIndex("the source is blank", hint="name a file, a folder or a pattern such as docs/**/*.md", param="source")
    try:
        found = _look(Path(name), name)
    except OSError as error:  # a folder above it is closed to us, or the name is too long
        message = f"{name!r} is out of reach: {error.strerror or type(error).__name__}"
        raise NothingToIndex(message, hint="check the path", param="source") from error
    _require_candidates(found, name)
    return sorted(found, key=lambda item: item.source)


def _look(root: Path, name: str) -> list[Found]:
    if root.is_dir():
        return list(_walk(root.resolve(), _everything, max_depth=None))
    if root.exists():
        return [_found(root.resolve(), root.name, is_file=root.is_file())]
    if _WILDCARDS.intersection(name):
        return _find_pattern(root)
    raise NothingToIndex(f"there is no file or folder {name!r}", hint="check the path", param="source")


def read(found: Found, max_bytes: int) -> bytes | Skipped:
    """The file's bytes, as they were at one moment. Opened without following links or waiting for a pipe, in case it is not what it was
    when it was found. Raises `Conflict` where it has vanished since, or does not keep still: an index of such a source would be
    one of no moment.
    """
    for _ in range(_TRIES):
        try:
            data = _read(found, max_bytes)
        except FileNotFoundError as error:
            raise Conflict(
                f"{found.source} has vanished while the documents were read", hint="build again when nothing removes documents"
            ) from error
        except OSError as error:
            return Skipped(found.source, "unreadable", error.strerror or type(error).__name__)
        if data is not None:
            return data
        time.sleep(_WAIT_S)
    raise Conflict(f"{found.source} is being written while the documents are read", hint="build again when nothing writes to it")


def _read(found: Found, max_bytes: int) -> bytes | Skipped | None:
    """None where somebody wrote to it meanwhile."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(found.path, flags), "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            return Skipped(found.source, "unreadable", "not a regular file")
        data = file.read(max_bytes + 1)
        after = os.fstat(file.fileno())
    if len(data) > max_bytes:
        size = max(after.st_size, len(data))
        return Skipped(found.source, "oversized", f"{size:,} bytes; the limit is {max_bytes:,}")
    still = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(data) == after.st_size
    return data if still else None


def _found(path: Path, source: str, *, is_file: bool) -> Found:
    return Found(path, source, None if is_file else Skipped(source, "unreadable", "not a regular file"))


def _require_candidates(found: list[Found], name: str) -> None:
    if any(item.problem is None and extension(item.source) in EXTENSIONS for item in found):
        return
    if not found:
        raise NothingToIndex(f"no file matches {name!r}", hint=f"hidden files are left out; {_SUPPORTED}", param="source")
    reasons = ", ".join(sorted({_reason(item) for item in found}))
    message = f"none of {len(found):,} found in {name!r} can be loaded ({reasons})"
    raise NothingToIndex(message, hint=_SUPPORTED, param="source")


def _reason(item: Found) -> str:
    return item.problem.reason if item.problem else extension(item.source) or "no extension"


def watched_folder(source: Path | str) -> Path:
    """The folder in which everything lies that `find` could find."""
    root = Path(source)
    if root.is_dir():
        return root
    return root.parent if root.exists() else _fixed_part(root)[0]


def _fixed_part(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """The folders before the first wildcard, and the parts from there on."""
    parts = pattern.parts
    first = next((index for index, part in enumerate(parts) if _WILDCARDS.intersection(part)), len(parts))
    return Path(*parts[:first]), parts[first:]


def _find_pattern(pattern: Path) -> list[Found]:
    root, wanted = _fixed_part(pattern)
    if not root.is_dir():
        raise NothingToIndex(f"there is no folder {str(root)!r}", hint="check the path before the wildcard", param="source")

    def matches(path: tuple[str, ...], whole: bool) -> bool:
        states = _match(path, wanted)
        return len(wanted) in states if whole else bool(states)

    return list(_walk(root.resolve(), matches, max_depth=None if "**" in wanted else len(wanted)))


def _match(path: tuple[str, ...], pattern: tuple[str, ...]) -> set[int]:
    """How many parts of the pattern the whole path may have used up; `**` stands for any number of folders."""
    states = _skip_globstars({0}, pattern)
    for part in path:
        after = {at for at in states if at < len(pattern) and pattern[at] == "**"}
        after |= {at + 1 for at in states if at < len(pattern) and pattern[at] != "**" and fnmatchcase(part, pattern[at])}
        states = _skip_globstars(after, pattern)
    return states


def _skip_globstars(states: set[int], pattern: tuple[str, ...]) -> set[int]:
    reached = set(states)
    for at in range(len(pattern)):
        if at in reached and pattern[at] == "**":
            reached.add(at + 1)
    return reached


def _everything(path: tuple[str, ...], whole: bool) -> bool:  # noqa: ARG001  # the signature of `matches`
    return True


def _walk(root: Path, matches: Callable[[tuple[str, ...], bool], bool], max_depth: int | None) -> Iterator[Found]:
    """`matches(path, whole)` says whether a path is wanted, or with `whole=False` whether something below it might be."""
    folders: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
    while folders:
        folder, above = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            source = _printable(above) or folder.name
            yield Found(folder, source, Skipped(source, "unreadable", error.strerror or type(error).__name__))
            continue
        for entry in entries:
            parts = (*above, entry.name)
            if not entry.is_symlink() and entry.is_dir(follow_symlinks=False):
                if matches(parts, False) and (max_depth is None or len(parts) < max_depth):
                    folders.append((Path(entry.path), parts))
            elif matches(parts, not _leads_to_folder(entry)):
                yield _entry(entry, _printable(parts))


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and Path(entry.path).is_dir()


def _entry(entry: os.DirEntry[str], source: str) -> Found:
    if entry.is_symlink():
        return Found(Path(entry.path), source, Skipped(source, "symlink", "links are not followed"))
    return _found(Path(entry.path), source, is_file=entry.is_file(follow_symlinks=False))


def _printable(parts: tuple[str, ...]) -> str:
    """File names need not be text on every system; ids must be."""
    return "/".join(parts).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
