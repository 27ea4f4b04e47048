"""How tests damage files, again and again, without waiting for a disk."""

from pathlib import Path


def overwrite(path: Path, data: bytes) -> None:
    """In place, with as many bytes as are there: ext4 sends to the disk at once what was emptied and written anew, which takes 2 ms."""
    assert len(data) == path.stat().st_size
    with path.open("rb+") as file:
        file.write(data)
