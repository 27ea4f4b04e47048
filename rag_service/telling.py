"""The events of an answer, told while it is written."""

from collections.abc import Callable, Sequence

from rag_service.citations import CitedAnswer, CitingStream, events_of
from rag_service.generators.declined import may_be_declined
from rag_service.links import LinkStream
from rag_service.record import Event
from rag_service.types import Hit

Tell = Callable[[Event], None]


class Telling:
    """Stands between a generator that writes and whoever is told: only text that stays in the answer gets through."""

    def __init__(self, tell: Tell, hits: Sequence[Hit]) -> None:
        self._tell = tell
        self._links = LinkStream(hits)
        self._stream = CitingStream(hits, may_be_declined)
        self._written = False

    def write(self, piece: str) -> None:
        self._written = True
        for event in self._stream.feed(self._links.feed(piece)):
            self._tell(event)

    def finish(self, cited: CitedAnswer) -> None:
        """What is left; all of it where the generator gave its answer at once."""
        for event in self._stream.finish(cited) if self._written else events_of(cited):
            self._tell(event)
