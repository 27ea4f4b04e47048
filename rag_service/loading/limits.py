"""How much one input may cost. What exceeds a limit is skipped as `oversized` and reported, never cut."""

from dataclasses import dataclass

from rag_service.types import Skipped


@dataclass(frozen=True, slots=True)
class LoadLimits:
    max_file_bytes: int = 50 * 1024 * 1024
    """Of one file on disk."""
    max_document_chars: int = 10_000_000
    """Of one document's normalised text."""
    max_pages: int = 5_000
    """Of one PDF."""
    max_expanded_bytes: int = 200 * 1024 * 1024
    """Of one compressed file (DOCX) once expanded."""


DEFAULT_LIMITS = LoadLimits()


def over_length(source: str, chars: int, limits: LoadLimits) -> Skipped | None:
    """The report on a text longer than `limits.max_document_chars`, or None if it is not."""
    if chars <= limits.max_document_chars:
        return None
    return Skipped(source, "oversized", f"{chars:,} characters; the limit is {limits.max_document_chars:,}")
