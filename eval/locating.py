"""The verb: the gold of a question set, looked for in one index.

Paragraphs that are known by their words are found by the digest of their text, or else in the documents that hold them; places by offsets
or quotes, in the text that the chunks of a document are slices of. A document is read once, however many places it holds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, groupby

from eval.questions import EvalQuestion, GoldPlace
from eval.quotes import DocumentText, RawText, Span, folded
from eval.results import GoldSpan
from rag_service.digests import digest_text
from rag_service.normalise import document_text
from rag_service.ports import ChunkTable
from rag_service.types import Chunk, DocumentId

_CHUNKS_AT_ONCE = 1_000
_TEXTS_KEPT = 16
"""Paragraphs of one document mostly come one after the other."""
_KEY_WORDS = 3

_Read = Callable[[str], DocumentText | None]
"""A document's text; None where there is none."""


@dataclass(frozen=True, slots=True)
class Located:
    """What became of a place. `spans` is empty where it is a whole document, and where it was not found: `lost` then says why."""

    documents: tuple[str, ...] = ()
    spans: tuple[GoldSpan, ...] = ()
    lost: str = ""
    moved: bool = False
    """Its words no longer stand at its offsets, and were found elsewhere in the document."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """The documents that a paragraph makes up, or, where it makes up none, those that hold it (`whole` is then false)."""

    documents: tuple[str, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Of a question set in an index: each paragraph and place once, however many questions name it."""

    paragraphs: Mapping[str, Paragraph]
    """Text → where it is. Those of `gold_texts`, and those that places are in."""
    places: Mapping[GoldPlace, Located]

    @property
    def nothing(self) -> bool:
        """Whether there is gold, and none of it in this index."""
        everything: list[Paragraph | Located] = [*self.paragraphs.values(), *self.places.values()]
        return bool(everything) and not any(one.documents for one in everything)


def locate(questions: Sequence[EvalQuestion], chunks: ChunkTable) -> Found:
    places = list(dict.fromkeys(place for question in questions for group in question.places for place in group))
    by_text, by_document = _by(places, lambda place: place.text), _by(places, lambda place: place.document)
    paragraphs = _paragraphs(chain((text for question in questions for text in question.gold_texts), by_text), chunks)
    read = lru_cache(maxsize=_TEXTS_KEPT)(lambda document: text_of(document, chunks))
    found: dict[GoldPlace, Located] = {}
    for text, of_text in by_text.items():
        found |= _in_paragraph(text, of_text, paragraphs[text], read)
    for document, of_document in by_document.items():
        found |= {place: _in_document(place, document, read(document)) for place in of_document}
    found |= _anywhere([place for place in places if place.text is None and place.document is None], chunks, read)
    return Found(paragraphs, found)


def text_of(document: str, chunks: ChunkTable) -> DocumentText | None:
    """What its chunks are slices of, with line breaks where it has white space between them; None for a document that is not there."""
    parts = list(documents_chunks(document, chunks))
    return DocumentText(_joined(parts)) if parts else None


def documents_chunks(document: str, chunks: ChunkTable) -> Iterator[Chunk]:
    """All of them, in order; none of a document that is not there."""
    first = 0
    while page := chunks.chunks_of(DocumentId(document), first=first, most=_CHUNKS_AT_ONCE):
        yield from page
        if len(page) < _CHUNKS_AT_ONCE:
            return
        first = page[-1].ordinal + 1


def _paragraphs(texts: Iterable[str], chunks: ChunkTable) -> Mapping[str, Paragraph]:
    found = {text: tuple(chunks.document_ids_by_text(digest_text(document_text(text)))) for text in dict.fromkeys(texts)}
    held = _holders([text for text, documents in found.items() if not documents], chunks)
    return {text: Paragraph(documents or held.get(text, ()), whole=bool(documents)) for text, documents in found.items()}


def _in_paragraph(text: str, places: Sequence[GoldPlace], paragraph: Paragraph, read: _Read) -> Mapping[GoldPlace, Located]:
    if not paragraph.documents:
        return dict.fromkeys(places, Located(lost="its paragraph stands in no document of the index"))
    raw = RawText(text)
    if paragraph.whole:
        whole = DocumentText(raw.text)
        return {place: _located(place, paragraph.documents, whole, _span(place, raw)) for place in places}
    parts = [_parts(places, raw, document, read(document)) for document in paragraph.documents]
    return {place: _merged(part[place] for part in parts) for place in places}


def _parts(places: Sequence[GoldPlace], raw: RawText, document: str, read: DocumentText | None) -> Mapping[GoldPlace, Located]:
    """Of a paragraph that is a part of the document. What stands in the paragraph is looked for where the paragraph is."""
    begins = read.find(raw.text)[0][0] if read else 0
    found: dict[GoldPlace, Located] = {}
    for place in places:
        if (span := _span(place, raw)) is None:
            found[place] = _in_document(place, document, read)
            continue
        words = replace(place, quote=place.quote or raw.text[span[0] : span[1]], start=begins + span[0], end=begins + span[1])
        found[place] = replace(_in_document(words, document, read), moved=False)
    return found


def _span(place: GoldPlace, raw: RawText) -> Span | None:
    return None if place.start is None or place.end is None else raw.span(place.start, place.end)


def _in_document(place: GoldPlace, document: str, read: DocumentText | None) -> Located:
    if read is None:
        return Located(lost=f"there is no document {document!r}")
    return _located(place, (document,), read, None if place.start is None or place.end is None else (place.start, place.end))


def _located(place: GoldPlace, documents: tuple[str, ...], read: DocumentText, given: Span | None) -> Located:
    """`given` are the place's offsets into the text as it was read."""
    if given is None and place.quote is None:
        return Located(documents)
    spans, moved = _spans(place.quote, read, given)
    if not spans:
        lost = f"its quote does not stand in {documents[0]!r}" if place.quote else f"{documents[0]!r} has no text there"
        return Located(documents, lost=lost)
    return Located(documents, tuple(GoldSpan(document, *span) for document in documents for span in spans), moved=moved)


def _spans(quote: str | None, read: DocumentText, given: Span | None) -> tuple[list[Span], bool]:
    """Where it stands, without white space at the ends, and whether that is elsewhere than `given`."""
    if given is None:
        return read.find(quote or ""), False
    if quote is None or read.holds(quote, *given):
        here = read.trimmed(*given)
        return ([here] if here else []), False
    nearest = read.nearest(quote, given[0])
    return ([nearest] if nearest else []), nearest is not None


def _anywhere(places: Sequence[GoldPlace], chunks: ChunkTable, read: _Read) -> Mapping[GoldPlace, Located]:
    """Quotes that name no document, in all that hold them."""
    holders = _holders([place.quote or "" for place in places], chunks)
    return {
        place: _merged(_in_document(place, document, read(document)) for document in holders.get(place.quote or "", ())) for place in places
    }


def _merged(parts: Iterable[Located]) -> Located:
    """Of one place that was looked for in several documents: where it was found."""
    found = [part for part in parts if not part.lost]
    if not found:
        return Located(lost="its quote stands in no document of the index")
    return Located(tuple(document for part in found for document in part.documents), tuple(span for part in found for span in part.spans))


def _holders(quotes: Sequence[str], chunks: ChunkTable) -> Mapping[str, tuple[str, ...]]:
    """Quote → documents that hold its words, where any does. Looks at every document, and there only at quotes of which three words stand
    together.
    """
    if not quotes:
        return {}
    words = {quote: folded(document_text(quote)).split(" ") for quote in quotes if quote.strip()}
    keys: dict[tuple[str, ...], list[str]] = {}
    for quote, listed in words.items():
        inner = tuple(listed[1 : 1 + _KEY_WORDS])  # not the first and last, which may be parts of words
        keys.setdefault(inner if len(listed) >= _KEY_WORDS + 2 else (), []).append(quote)
    found: dict[str, dict[str, None]] = {}
    for document, text in _documents(chunks):
        held = folded(text)
        listed = held.split(" ")
        together = set(zip(*(listed[first:] for first in range(_KEY_WORDS)), strict=False))
        for quote in chain.from_iterable(keys[key] for key in (keys.keys() & together) | (keys.keys() & {()})):
            if " ".join(words[quote]) in held:
                found.setdefault(quote, {})[document] = None
    return {quote: tuple(documents) for quote, documents in found.items()}


def _documents(chunks: ChunkTable) -> Iterator[tuple[str, str]]:
    """Id and text of every document, as far as its chunks follow each other."""

    def rows() -> Iterator[Chunk]:
        for first in range(0, len(chunks), _CHUNKS_AT_ONCE):
            yield from chunks.chunks(range(first, min(first + _CHUNKS_AT_ONCE, len(chunks))))

    for document, parts in groupby(rows(), key=lambda chunk: chunk.document_id):
        yield document, _joined(parts)


def _joined(parts: Iterable[Chunk]) -> str:
    text: list[str] = []
    end = 0
    for chunk in parts:
        text.append("\n" * (chunk.start - end))
        text.append(chunk.text[max(end - chunk.start, 0) :])  # chunks may overlap
        end = max(end, chunk.end)
    return "".join(text)


def _by(places: Iterable[GoldPlace], name: Callable[[GoldPlace], str | None]) -> Mapping[str, list[GoldPlace]]:
    """Places by what names their document; without those that it does not."""
    found: dict[str, list[GoldPlace]] = {}
    for place in places:
        if (named := name(place)) is not None:
            found.setdefault(named, []).append(place)
    return found
