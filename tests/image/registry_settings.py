"""What pip is told on this machine, handed to a build for as long as it runs: no file of the project names a package index."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Handed:
    mounts: tuple[tuple[Path, str], ...]
    """Place here → path in the build, all read-only: pip's settings, and the files and folders that they name."""


def hand_over(folder: Path) -> Handed:
    """Writes pip's settings, of files and of the environment, to one file in `folder`. They may hold credentials: only root reads it."""
    settings = _told(subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout)
    file = folder / "pip.conf"
    file.touch(mode=0o600)
    lines = [f"{name} = " + value.replace("\n", "\n    ") for name, value in sorted(settings.items())]
    file.write_text("\n".join(["[global]", *lines, ""]))
    named = {place for value in settings.values() for place in _places(value)}
    return Handed(((file, "/etc/pip.conf"), *((place, str(place)) for place in sorted(named))))


def _told(listing: str) -> dict[str, str]:
    """`pip config list` gives name='value'. What holds for every command counts, and the environment before any file."""
    pairs = [line.split("=", 1) for line in listing.splitlines() if "=" in line]
    files = {name.removeprefix("global."): ast.literal_eval(value) for name, value in pairs if name.startswith("global.")}
    environment = {name.removeprefix(":env:."): ast.literal_eval(value) for name, value in pairs if name.startswith(":env:.")}
    return files | environment


def _places(value: str) -> Iterator[Path]:
    for word in value.split():
        address = urlsplit(word)
        if address.scheme == "file":
            yield Path(unquote(address.path)).parent  # pages of an index in a folder link to files beside it
        elif word.startswith("/") and Path(word).exists():
            yield Path(word)
