"""What of the texts of an answer is stored: all with secrets masked (`Masked`), or nothing (`Withheld`)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from rag_service.kept import ASKED, Text
from rag_service.redaction import MASK, findings
from rag_service.types import Chunk, ChunkId, Citation, Prompt


class Masked:
    """Texts with secrets masked, and in which of them there were any. `known` are masked wherever they stand."""

    def __init__(self, known: Collection[str] = ()) -> None:
        self.redacted: list[Text] = []
        self.asked = False
        """Whether it was in something that a replay would need."""
        self.secrets: set[str] = set()
        """What was masked."""
        self._known = sorted(known, key=len, reverse=True)
        self._shown: dict[str, str] = {}
        """Of texts that came already: a query is nearly always the question, and what a generator wrote the answer."""
        self._clean: set[ChunkId] = set()

    def text(self, part: Text, text: str | None) -> str | None:
        if text is None:
            return None
        shown = self._shown.get(text)
        if shown is None:
            shown = self._shown[text] = self._masked(text)
        if shown != text:
            self.note(part)
        return shown

    def quote(self, citation: Citation) -> str | None:
        """What is quoted from a passage without secrets has none."""
        clean = not self._known and citation.chunk.id in self._clean
        return citation.quote if clean else self.text("passages", citation.quote)

    def _masked(self, text: str) -> str:
        found = findings(text)
        shown = text
        for finding in found:
            secret = text[finding.start : finding.end]
            shown = f"{shown[: finding.start]}{MASK * len(secret)}{shown[finding.end :]}"
            self.secrets.add(secret)
        for secret in self._known:
            shown = shown.replace(secret, MASK * len(secret))
        return shown

    def chunk(self, chunk: Chunk) -> orjson.Fragment:
        passage = _described(chunk, self._known) if self._known else _PASSAGES.described(chunk)
        if passage.clean:
            self._clean.add(chunk.id)
        else:
            self.note("passages")
            self.secrets |= passage.secrets
        return passage.json

    def prompt(self, prompt: Prompt | None) -> dict[str, Any] | None:
        """A prompt is made of the question and of passages: it holds a secret only where one of them does."""
        if prompt is None:
            return None
        if self.redacted or self._known:
            return {"system": prompt.system, "user": self.text("prompt", prompt.user)}
        return {"system": prompt.system, "user": prompt.user}

    def json(self, part: Text, value: Any) -> Any:
        """Keys are names; values may be anybody's."""
        if isinstance(value, str):
            return self.text(part, value)
        if isinstance(value, Mapping):
            return {key: self.json(part, found) for key, found in value.items()}
        return [self.json(part, found) for found in value] if isinstance(value, list | tuple) else value

    def note(self, part: Text) -> None:
        if part not in self.redacted:
            self.redacted.append(part)
        self.asked = self.asked or part in ASKED


class Withheld(Masked):
    """No text at all."""

    def quote(self, citation: Citation) -> str | None:  # noqa: ARG002 - the signature of what it stands in for
        return None

    def text(self, part: Text, text: str | None) -> str | None:  # noqa: ARG002 - the signature of what it stands in for
        return None

    def chunk(self, chunk: Chunk) -> orjson.Fragment:
        return orjson.Fragment(orjson.dumps(_place(chunk)))

    def prompt(self, prompt: Prompt | None) -> dict[str, Any] | None:  # noqa: ARG002
        return None

    def json(self, part: Text, value: Any) -> Any:  # noqa: ARG002
        return None


@dataclass(frozen=True, slots=True)
class _Passage:
    chunk: Chunk
    json: orjson.Fragment
    clean: bool
    """Whether nothing in it had to be masked."""
    secrets: frozenset[str]
    """What in it is one by its own words."""


class _Passages:
    """Passages as they are stored. The same ones come again and again: masking and writing them is most of what an entry costs."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, _Passage] = {}

    def described(self, chunk: Chunk) -> _Passage:
        known = self._known.get(chunk.id)
        if known is not None and known.chunk == chunk:  # one text may have other labels in another index version
            return known
        passage = _described(chunk)
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[chunk.id] = passage
        return passage


def _described(chunk: Chunk, known: Collection[str] = ()) -> _Passage:
    masked = Masked(known)
    described = {
        **_place(chunk),
        "title": masked.text("passages", chunk.title),
        "heading_path": masked.json("passages", chunk.heading_path),
        "source": masked.text("passages", chunk.source),
        "page": chunk.page,
        "metadata": masked.json("passages", chunk.metadata),
        "text": masked.text("passages", chunk.text),
    }
    return _Passage(chunk, orjson.Fragment(orjson.dumps(described)), not masked.redacted, frozenset(masked.secrets))


_PASSAGES = _Passages(4096)


def _place(chunk: Chunk) -> dict[str, Any]:
    return {
        "id": chunk.id,
        "document_id": chunk.document_id,
        "ordinal": chunk.ordinal,
        "start": chunk.start,
        "end": chunk.end,
    }
