"""Where the chunks of an index stand in their documents: which of them hold a gold place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.passages import covers
from eval.results import Gold, GoldSpan
from eval.sample import Ranked
from rag_service.ports import ChunkTable
from rag_service.types import Positions

_BATCH = 2000


@dataclass(frozen=True, slots=True)
class ChunkPlaces:
    """Of the documents that are gold for a question: document → its chunks with their rows, by row."""

    by_document: Mapping[str, Sequence[tuple[int, Ranked]]]

    @classmethod
    def of(cls, chunks: ChunkTable, known: Iterable[Gold]) -> "ChunkPlaces":
        """Reads every chunk once, and keeps no text."""
        found: dict[str, list[tuple[int, Ranked]]] = {}
        for gold in known:
            named = [*gold.relevant, *(place.document for group in gold.groups for place in group)]
            found.update((document, []) for document in named if document not in found)
        for begin in range(0, len(chunks) if found else 0, _BATCH):
            rows = range(begin, min(begin + _BATCH, len(chunks)))
            for row, chunk in zip(rows, chunks.chunks(rows), strict=True):
                if chunk.document_id in found:
                    found[chunk.document_id].append((row, Ranked(chunk.id, chunk.document_id, chunk.start, chunk.end, 0.0)))
        return cls(found)

    def covered(self, gold: Gold) -> bool:
        """Whether some chunk holds a place of every group; without groups, whether every relevant document has a chunk."""
        if gold.groups:
            return all(any(self._holding(place) for place in group) for group in gold.groups)
        return all(self.by_document.get(document) for document, grade in gold.relevant.items() if grade > 0)

    def rows(self, gold: Gold) -> Positions:
        """Shape (n,), ascending: chunks that hold gold, or all of the relevant documents where no places are known."""
        if gold.groups:
            found = {row for group in gold.groups for place in group for row in self._holding(place)}
        else:
            found = {row for document, grade in gold.relevant.items() if grade > 0 for row, _ in self.by_document.get(document, ())}
        return np.array(sorted(found), np.int64)

    def _holding(self, place: GoldSpan) -> list[int]:
        return [row for row, chunk in self.by_document.get(place.document, ()) if covers(chunk, place)]
