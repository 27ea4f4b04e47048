"""Where an answer was made: image, code, environment. Recorded beside the release and never part of it.

A container cannot know its own image digest, so the deployment declares it. What nobody declared is None, with the reason in `unknown`.
"""

import hashlib
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path

from rag_service import __version__
from rag_service.digests import digest_json
from rag_service.release import CodeRef

_PACKAGE = Path(__file__).parent
_IMAGE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NOT_ANSWERING = frozenset(
    {"__main__.py", "api", "cli", "console.py", "web", "serving.py", "archive.py", "pinned.py", "answer_cache.py", "desk.py", "telemetry"}
    | {"keys.py", "key_file.py", "rates.py", "housekeeping.py", "history.py"}
    | {"shelf.py", "kept.py", "stored_record.py", "stored_lineage.py", "masking.py", "redaction.py", "recording.py", "records.py", "ledger"}
    | {"replay.py", "export.py", "wiring/replaying.py", "compare.py", "comparison.py", "difference.py", "text_diff.py"}
    | {"build.py", "chunking.py", "loading", "embedders/export.py", "embedders/ray_cluster.py", "stores/scratch.py", "stores/embeddings.py"}
    | {"stores/table_difference.py", "version_difference.py", "sweep.py", "canaries.py", "verified.py", "version_order.py"}
    | {"wiring/building.py", "wiring/activating.py", "push.py", "pull.py", "remotes", "wiring/remotes.py", "wiring/drifting.py", "drift"}
    | {"wiring/first_reference.py"}
)


@dataclass(frozen=True, slots=True)
class Image:
    ref: str
    digest: str | None
    """`sha256:…`, or None where the reference holds none, as when it names a tag."""
    source: str = "declared"


@dataclass(frozen=True, slots=True)
class Deployment:
    environment: str
    fingerprint: str
    """`sha256:…` over Python and every installed distribution."""
    numeric_class: str
    """Machines of one class give the same vectors bit for bit."""
    commit: str | None
    dirty: bool | None
    image: Image | None
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Key of the trace block → why it is null."""


def describe_deployment(*, environment: str, declared_image: str | None, declared_commit: str | None) -> Deployment:
    image = _image(declared_image)
    commit, dirty = (declared_commit, None) if declared_commit else _git_state()
    unknown: dict[str, str] = {}
    if image is None:
        unknown["container_image"] = "not declared: set RAG_CONTAINER_IMAGE to name@sha256:…"
    elif image.digest is None:
        unknown["container_image.digest"] = "RAG_CONTAINER_IMAGE does not end in @sha256: and 64 hex digits"
    if commit is None:
        unknown["code.commit"] = "not a git checkout, and RAG_CODE_COMMIT is not set"
    if dirty is None:
        unknown["code.dirty"] = "only known in a git checkout"
    return Deployment(
        environment=environment,
        fingerprint=_fingerprint(),
        numeric_class=numeric_class(),
        commit=commit,
        dirty=dirty,
        image=image,
        unknown=unknown,
    )


@cache
def running_code() -> CodeRef:
    """The version of this package, and a digest over what it takes to answer: its sources and the libraries that compute.

    What only builds is left out, because the index version names it, and so is what only talks to people.
    """
    sources = {
        path.relative_to(_PACKAGE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted([*_PACKAGE.rglob("*.py"), *_PACKAGE.glob("prompts/condense/*.txt")])
        if not _NOT_ANSWERING & {path.relative_to(_PACKAGE).as_posix(), path.relative_to(_PACKAGE).parts[0]}
    }
    libraries = {package: version(package) for package in ("PyStemmer", "bm25s", "faiss-cpu", "numpy", "onnxruntime", "tokenizers")}
    return CodeRef(version=__version__, digest=digest_json({"sources": sources, "libraries": libraries}))


def _image(declared: str | None) -> Image | None:
    if not declared:
        return None
    _, _, digest = declared.rpartition("@")
    return Image(ref=declared, digest=digest if _IMAGE_DIGEST.fullmatch(digest) else None)


@cache
def _git_state() -> tuple[str | None, bool | None]:
    """Commit and whether tracked files differ from it, when this package lies in its own git checkout."""
    root = _PACKAGE.parent
    if not (root / ".git").exists():
        return None, None
    try:
        commit = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        changes = subprocess.run(
            ["git", "--no-optional-locks", "-C", root, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit.stdout.strip(), bool(changes.stdout.strip())


@cache
def _fingerprint() -> str:
    installed = sorted({f"{found.name.lower()}=={found.version}" for found in distributions() if found.name})
    return digest_json({"python": sys.version, "distributions": installed})


@cache
def numeric_class() -> str:
    """What decides the last bits of a vector, beside the encoder: the processor's vector unit and the numeric libraries."""
    engines = [f"{package}-{version(package)}" for package in ("onnxruntime", "numpy", "faiss-cpu")]
    return "/".join([f"{platform.machine()}-{_vector_unit()}", *engines])


def _vector_unit() -> str:
    """The widest integer unit that the kernels can choose; they choose at run time, so it decides the last bits of int8 results."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text("ascii", "replace").split())
    except OSError:
        return "unknown"
    for name in ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "asimd"):
        if name in flags:
            return name
    return "baseline"
