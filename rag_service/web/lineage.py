"""What made an answer, as rows of a table: each part with its name, its digest and where to read more. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from rag_service.record import Attempt
from rag_service.web import links
from rag_service.web.pages import moment


@dataclass(frozen=True, slots=True)
class Part:
    """`key` is unique in a list of parts. `unknown` says why there is nothing to show, where that is so."""

    key: str
    label: str
    name: str = ""
    digest: str | None = None
    digest_href: str | None = None
    notes: tuple[str, ...] = ()
    replaced: bool = False
    """The request replaced the release's setting."""
    unknown: str | None = None


def parts_of(attempt: Attempt) -> list[Part]:
    return [*_released(attempt), *_deployed(attempt)]


def _released(attempt: Attempt) -> Iterator[Part]:
    lineage, used = attempt.lineage, attempt.parameters
    release, index, embedder = lineage.release, lineage.index, lineage.embedder
    replaced = set(used.overrides)
    whole = used.access is None
    yield Part(
        "release", "Release", digest=release.digest, digest_href=links.release(release.id), notes=("everything that can change an answer",)
    )
    size = (f"{index.documents:,} documents", f"{index.chunks:,} passages") if whole else ()
    at = links.index_version(index.version)
    yield Part("index", "Index version", index.name, index.digest, at, (*size, f"built {moment(index.built_at)} UTC"))
    yield Part("corpus", "Corpus", digest=index.corpus_digest, digest_href=f"{at}#corpus", notes=("Merkle root over the documents",))
    chunker = release.chunker
    yield Part("chunker", "Chunker", chunker.name, chunker.digest, links.release(release.id, "chunker"))
    notes = (embedder.runtime, f"{embedder.dimension} dimensions", *([f"revision {embedder.revision[:12]}"] if embedder.revision else []))
    yield Part("encoder", "Embedding model", embedder.name, embedder.digest, links.release(release.id, "encoder"), notes)
    yield Part(
        "retrieval", "Retrieval", release.retrieval.mode, release.retrieval.digest, links.release(release.id, "retrieval"),
        (f"top_k {used.top_k}", f"min_confidence {used.min_confidence:g}"), replaced=bool(replaced & {"top_k", "min_confidence"}),
    )  # fmt: skip
    prompt = used.prompt
    yield Part(
        "prompt", "Prompt template", f"{prompt.name}/{prompt.version}", prompt.digest,
        None if "prompt" in replaced else links.release(release.id, "prompt"), replaced="prompt" in replaced,
    )  # fmt: skip
    settings = tuple(f"{name} {value}" for name, value in sorted(used.generator.items()) if value is not None)
    yield Part(
        "generator", "Generator", release.generator.name, release.generator.digest, links.release(release.id, "generator"), settings,
        replaced=bool(replaced - {"top_k", "min_confidence", "prompt"}),
    )  # fmt: skip


def _deployed(attempt: Attempt) -> Iterator[Part]:
    release, deployment = attempt.lineage.release, attempt.lineage.deployment
    commit = f"commit {deployment.commit[:12]}" if deployment.commit else "commit not known"
    changed = {True: "with changes that are not committed", False: "nothing changed since", None: ""}[deployment.dirty]
    yield Part(
        "code",
        "Code",
        release.code.version,
        release.code.digest,
        links.release(release.id, "code"),
        (commit, *filter(None, [changed])),
    )
    if deployment.image is None:
        yield Part("image", "Container image", unknown=deployment.unknown.get("container_image", "not declared"))
    else:
        yield Part("image", "Container image", deployment.image.ref.partition("@")[0], deployment.image.digest, None,
                   (deployment.image.source,))  # fmt: skip
    yield Part("environment", "Environment", deployment.environment, deployment.fingerprint, None, ("Python and every package",))
    yield Part("machine", "Numeric class", deployment.numeric_class)
