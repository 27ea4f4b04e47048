"""The one boundary around the parsers that other people wrote."""

from collections.abc import Iterator
from contextlib import contextmanager

from rag_service.errors import Unreadable
from rag_service.normalise import one_line

_MAX_DETAIL_CHARS = 160


@contextmanager
def parser_errors(format_name: str) -> Iterator[None]:
    """Turns whatever a parser throws into `Unreadable`.

    On damaged or hostile input these libraries raise nearly anything (KeyError, AssertionError, RecursionError …) and promise
    no list, so nothing narrower would keep one bad file from ending a build. Parsers are given bytes: their messages hold no
    paths of this machine.
    """
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        detail = one_line(f"{type(error).__name__}: {error}")[:_MAX_DETAIL_CHARS].rstrip(": ")
        message = f"not a readable {format_name} file ({detail})"
        raise Unreadable(message, hint="open it in its own program and save it again") from error
