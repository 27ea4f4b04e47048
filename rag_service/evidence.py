"""What an index version keeps beside its vectors and texts, so that a chunk can be weighed: keywords, sentences and neighbours."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from rag_service import sentences, units
from rag_service.digests import digest_bytes, digest_json
from rag_service.languages import Language
from rag_service.lexical.bm25 import FILES as KEYWORD_FILES
from rag_service.lexical.bm25 import Vocabulary, parameters, write_bm25
from rag_service.manifest import KeywordPart, Part
from rag_service.ports import Embedder, Progress
from rag_service.stores.embeddings import Embeddings
from rag_service.stores.neighbours import FILE as NEIGHBOURS_FILE
from rag_service.stores.neighbours import write_neighbours
from rag_service.stores.scratch import Scratch
from rag_service.stores.sentences import FILES as SENTENCE_FILES
from rag_service.stores.sentences import ChunkSentences, write_sentences
from rag_service.terms import DIGEST, terms
from rag_service.types import Chunk, Matrix
from rag_service.units import units as units_of

EVIDENCE_FILES = (*KEYWORD_FILES, *SENTENCE_FILES, NEIGHBOURS_FILE)

BATCH = 64
"""Chunks at a time; the embedder embeds each text alone, so this only sets how often progress is told."""

_CODE = {Path(module.__file__ or "").name: digest_bytes(Path(module.__file__ or "").read_bytes()) for module in (units, sentences)}


class Passages:
    """An embedder that remembers what earlier builds embedded."""

    def __init__(self, embedder: Embedder, kept: Embeddings) -> None:
        self._embedder = embedder
        self._kept = kept

    def vectors(self, texts: Sequence[str]) -> Matrix:
        """Shape (len(texts), dim), in order."""
        found = self._kept.vectors(texts)
        missing = [number for number, vector in enumerate(found) if vector is None]
        if missing:
            wanted = [texts[number] for number in missing]
            made = self._embedder.embed_passages(wanted)
            self._kept.add(wanted, made)
            for number, vector in zip(missing, made, strict=True):
                found[number] = vector
        return np.stack([vector for vector in found if vector is not None])


def keyword_part(languages: Sequence[Language]) -> KeywordPart:
    given = parameters()
    digest = digest_json({"terms": DIGEST, "languages": list(languages), "parameters": {**given}})
    return KeywordPart(name="bm25s", digest=digest, languages=list(languages), parameters={**given})


def sentence_part() -> Part:
    return Part(name="units", digest=digest_json({"code": {**_CODE}}))


def write_evidence(folder: Path, scratch: Scratch, passages: Passages, languages: Sequence[Language], progress: Progress) -> int:
    """Writes `EVIDENCE_FILES`; how many sentences there are."""
    vocabulary = write_bm25(folder, (terms(chunk.embedded_text, languages) for chunk in scratch.chunks()))
    documents: dict[str, int] = {}
    write_neighbours(folder, ((documents.setdefault(chunk.document_id, len(documents)), chunk.ordinal) for chunk in scratch.chunks()))
    return write_sentences(folder, _sentences(scratch.chunks(), passages, vocabulary, languages, progress))


def _sentences(
    chunks: Iterator[Chunk], passages: Passages, vocabulary: Vocabulary, languages: Sequence[Language], progress: Progress
) -> Iterator[ChunkSentences]:
    while batch := list(islice(chunks, BATCH)):
        spans = [[(unit.start, unit.end) for unit in units_of(chunk.text, chunk.heading_path)] for chunk in batch]
        texts = [chunk.text[start:end] for chunk, found in zip(batch, spans, strict=True) for start, end in found]
        vectors = passages.vectors(texts) if texts else np.empty((0, 0), np.float32)
        columns = [vocabulary.columns(terms(text, languages)) for text in texts]
        first = 0
        for found in spans:
            last = first + len(found)
            yield ChunkSentences(found, vectors[first:last], columns[first:last])
            first = last
        progress.advance(len(batch))
