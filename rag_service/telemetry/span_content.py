"""Texts on spans: none unless that was asked for, and then redacted and bounded."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rag_service.telemetry import span_names as names

MOST_CONTENT_CHARS = 16_384
"""Of one attribute."""


@dataclass(frozen=True, slots=True)
class Content:
    """Whether texts are exported, and through what they go first."""

    capture: bool = False
    redact: Callable[[str], str] = field(default=str)

    def texts(self, values: Mapping[str, str | None]) -> dict[str, str]:
        """What may be exported of them."""
        return {name: self.text(value) for name, value in values.items() if value} if self.capture else {}

    def input_output(self, asked: str, said: str | None) -> dict[str, str]:
        """As OpenInference has what goes into a span and what comes out."""
        found = self.texts({names.INPUT_VALUE: asked, names.OUTPUT_VALUE: said})
        types = {names.INPUT_VALUE: names.INPUT_TYPE, names.OUTPUT_VALUE: names.OUTPUT_TYPE}
        return found | {types[name]: "text/plain" for name in found}

    def text(self, value: str) -> str:
        """Redacted before it is cut: half a number is not recognised. OTLP takes no lone surrogate."""
        return self.redact(value)[:MOST_CONTENT_CHARS].encode("utf-8", "replace").decode()

    def instructions(self, value: str) -> str:
        return json.dumps([self._part(value)], ensure_ascii=False)

    def message(self, role: str, value: str) -> str:
        return json.dumps([{"role": role, "parts": [self._part(value)]}], ensure_ascii=False)

    def _part(self, value: str) -> dict[str, str]:
        return {"type": "text", "content": self.text(value)}
