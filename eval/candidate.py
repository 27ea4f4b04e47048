"""The noun: one way to answer, as settings. What a candidate's file holds is what `rag.toml` holds: the file the service is started with.

A candidate never reads the environment: the same file is the same candidate on every machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rag_service.errors import InvalidSettings
from rag_service.settings import RELEASE_FIELDS, Settings, read_settings_file, settings_of

Trivial = Literal["always_abstain", "echo_context", "copy_question", "random_retrieval"]
"""What must lose: see `trivial`."""

BUILD_FIELDS = (
    "embedder", "encoder", "precision", "device", "chunk_tokens", "chunk_overlap_tokens", "chunk_context", "languages", "store",
    "max_file_bytes", "max_document_chars",
)  # fmt: skip
"""Settings that decide what an index version is."""

CANDIDATE_FIELDS = (*BUILD_FIELDS, *RELEASE_FIELDS, "max_question_chars", "timeout_s")
"""Settings that can change an answer; `timeout_s` is what a provider's model is given. The others say where and how a service runs: a
candidate's file may hold them, and they are left alone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    origin: str
    """Where it stands, for people: `served`, a file, or a place in one."""
    given: Mapping[str, object] = field(default_factory=dict)
    """Settings that differ from the defaults, or for a served release from that."""
    served: bool = False
    """The release that is served now, with `given` instead of what it has; else an index is built from the corpus with these settings."""
    trivial: Trivial | None = None

    def settings(self, indexes: Path) -> Settings:
        """Whole, for an index in the folder `indexes`. Raises `InvalidSettings` naming the candidate."""
        answering = {name: value for name, value in self.given.items() if name in CANDIDATE_FIELDS}
        return settings_of({**answering, "indexes": indexes}, self.origin)

    def check(self) -> None:
        """Raises `InvalidSettings` for what can be known to be wrong before anything is built."""
        self.settings(Path("indexes"))
        built = [name for name in self.given if name in BUILD_FIELDS]
        if self.served and built:
            raise InvalidSettings(
                f"{self.origin}: {built[0]} decides how an index is built, and the candidate {self.name!r} is the served release",
                hint="begin from settings instead of `served`, and name the corpus",
                param=built[0],
            )


def candidate_of_file(path: Path, *, name: str | None = None) -> Candidate:
    """The settings file at `path`, as the service would read it. Raises `InvalidSettings`."""
    candidate = Candidate(name or path.stem, str(path), read_settings_file(path))
    candidate.check()
    return candidate


def changed(first: Candidate, other: Candidate) -> dict[str, str]:
    """Setting → value for people, where `other` is given something else than `first`."""
    defaults = Settings()
    shown: dict[str, str] = {}
    for name in CANDIDATE_FIELDS:
        one, two = (candidate.given.get(name, getattr(defaults, name)) for candidate in (first, other))
        if one != two:
            shown[name] = _shown(two)
    if first.served != other.served:
        shown["from"] = "served" if other.served else "settings"
    if first.trivial != other.trivial:
        shown["trivial"] = other.trivial or "no"
    return shown


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
