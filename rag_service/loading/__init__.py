"""Files to documents: finding them, reading them safely, and parsing each format into normalised text with blocks."""

from rag_service.loading.formats import EXTENSIONS
from rag_service.loading.limits import LoadLimits
from rag_service.loading.load import load

__all__ = ["EXTENSIONS", "LoadLimits", "load"]
