"""A file's text, or why it cannot be had."""

from pathlib import Path

from rag_service.errors import InvalidInput, NotFound


def read_text(path: Path) -> str:
    """Raises `NotFound` or `InvalidInput`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is not UTF-8 (byte {error.start:,})", hint="save it as UTF-8") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", hint="check what it is and who may read it") from error
