"""Which questions hang together. Statistics draw clusters, not questions: those about one document are right or wrong together."""

from eval.questions import EvalQuestion
from rag_service.digests import digest_text, short_id


def cluster_of(question: EvalQuestion) -> str:
    """Its group; else the document of its gold; else, where its gold is a paragraph, its first tag (a SQuAD article) or that paragraph;
    else the question alone. A document is what stands before the `#` of an id: sections of one page hang together.
    """
    if question.group:
        return question.group
    document = _document(question)
    if document is not None:
        return document.partition("#")[0] or document
    paragraph = _paragraph(question)
    if paragraph is not None:
        return question.tags[0] if question.tags else short_id(digest_text(paragraph))
    return question.id


def _document(question: EvalQuestion) -> str | None:
    """The first that a place names, or the first by name of the relevant ones: they have no order."""
    named = (place.document for group in question.places for place in group if place.document is not None)
    return next(named, None) or min(question.relevant, default=None)


def _paragraph(question: EvalQuestion) -> str | None:
    texts = (place.text for group in question.places for place in group if place.text is not None)
    return next(iter(question.gold_texts), None) or next(texts, None)
