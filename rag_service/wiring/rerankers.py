"""Which reranker, by its spec."""

from pathlib import Path

from rag_service.errors import InvalidSettings, Mismatch
from rag_service.ports import Reranker
from rag_service.release import RerankerRef
from rag_service.settings import Settings

_KIND = "cross_encoder:"


def chosen_reranker(settings: Settings) -> RerankerRef | None:
    """What the settings say, as a release keeps it. Opens the model to take its digest. Raises what opening it raises."""
    if settings.reranker == "none":
        return None
    spec = reranker_spec(settings)
    reranker = _opened(spec)
    return RerankerRef(spec=spec, name=reranker.name, digest=reranker.digest, depth=settings.rerank_depth)


def reranker_spec(settings: Settings) -> str:
    """As a release keeps it: the path of a model is absolute, since a server may run in another folder."""
    kind, _, folder = settings.reranker.partition(":")
    return f"{kind}:{Path(folder).absolute()}" if folder else settings.reranker


def open_reranker(reference: RerankerRef) -> Reranker:
    """Raises `Mismatch` where the model is not the one that the release names, and what opening it raises."""
    reranker = _opened(reference.spec)
    if reranker.digest != reference.digest:
        raise Mismatch(f"the reranker {reference.name} is not the one that the release names", hint="activate the index again")
    return reranker


def _opened(spec: str) -> Reranker:
    if not spec.startswith(_KIND) or spec == _KIND:
        raise InvalidSettings(
            f"there is no reranker {spec!r}", hint="use none, or cross_encoder:<folder of a CrossEncoder>", param="reranker"
        )
    from rag_service.rerankers.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker.open(Path(spec.removeprefix(_KIND)))
