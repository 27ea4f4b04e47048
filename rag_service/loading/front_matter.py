"""The `key: value` lines that may open a Markdown file.

Only scalars at the top level are read, so no YAML parser is needed, nor trusted with strangers' files. Whatever else YAML can say
(lists, nested objects, block strings, anchors) is passed over.
"""

import re

from rag_service.loading.documents import scalars
from rag_service.types import MetadataValue

_FIELD = re.compile(r"(?P<key>[\w\"'][\w .\"'-]*?)[ \t]*:(?:[ \t]+(?P<value>.*))?$")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,14})")
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,17}")
_NOT_PLAIN = tuple("[{|>&*!%@`")
_TRUTH = {"true": True, "false": False}
_NULLS = frozenset({"", "~", "null"})


def parse_front_matter(content: str) -> dict[str, MetadataValue] | None:
    """Fields of `content` (without its `---` lines), or None if it is no front matter but text between two rules."""
    lines = [line.rstrip() for line in content.split("\n")]
    meaningful = [line for line in lines if line and not line.startswith("#")]
    if meaningful and not _FIELD.match(meaningful[0]):
        return None
    fields: dict[str, object] = {}
    for line in meaningful:
        field = _FIELD.match(line)
        if field:
            fields[field["key"].strip("\"' ")] = _value(field["value"] or "")
    return scalars(fields)


def _value(raw: str) -> MetadataValue | None:
    value = raw.strip()
    if value[:1] in ("'", '"'):
        closing = value.find(value[0], 1)
        return value[1:closing] if closing > 0 else value[1:]
    if value.startswith(_NOT_PLAIN):
        return None
    value = value.partition(" #")[0].rstrip()
    if value.lower() in _NULLS:
        return None
    if value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    if _INTEGER.fullmatch(value):
        return int(value)
    return float(value) if _NUMBER.fullmatch(value) else value
