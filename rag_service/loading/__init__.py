"""Files to documents: finding them, reading them safely, and parsing each format into normalised text with blocks.

Importers need four names: `load` walks a source, `LoadLimits` bounds it, `document_text` is what every format does to its text,
and `LOADING_VERSION` stands for all of this in a manifest.
"""

from rag_service.loading.formats import EXTENSIONS
from rag_service.loading.limits import LoadLimits
from rag_service.loading.load import load
from rag_service.normalise import document_text, normalise

LOADING_VERSION = "1"
"""Raised whenever the same bytes would give a different text, title or block: part of what names an index version."""

__all__ = ["EXTENSIONS", "LOADING_VERSION", "LoadLimits", "document_text", "load", "normalise"]
