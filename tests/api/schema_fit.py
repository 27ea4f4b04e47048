"""Whether every value of one JSON Schema is a value of another, for the keywords that the service's OpenAPI document uses.

The rules are those of JSON Schema 2020-12 (https://json-schema.org/draft/2020-12/json-schema-validation). Where they leave doubt the
answer is no: a keyword that is not known here has to stay as it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Schema = Mapping[str, Any]

_SAYS_NOTHING_OF_VALUES = {"title", "description", "examples", "default", "deprecated", "$ref"}
_LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_BY_RULE = {"type", "enum", "const", "anyOf", "oneOf", "items", "prefixItems", "properties", "required", "additionalProperties"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Fit:
    """`narrow` and `wide` are the documents in which references of either side are looked up."""

    narrow: Schema
    wide: Schema
    told: bool
    """True for replies, whose new schema has to fit the old one, and whose readers skip keys that they do not know. False for requests,
    whose old schema has to fit the new one."""
    seen: frozenset[tuple[str, str]] = frozenset()

    def misfits(self, narrow: Any, wide: Any, at: str) -> Iterator[str]:
        """Why a value of the schema `narrow` may be none of `wide`, each with where; nothing if it always is one."""
        pair = (_reference(narrow), _reference(wide))
        if all(pair):
            if pair in self.seen:
                return
            known, name = replace(self, seen=self.seen | {pair}), pair[1].rpartition("/")[2]
            # By its own name: it is one break, however many operations use the schema.
            yield from known.misfits(
                resolved(narrow, self.narrow), resolved(wide, self.wide), f"{'reply' if self.told else 'request'} {name}"
            )
            return
        narrow, wide = resolved(narrow, self.narrow), resolved(wide, self.wide)
        if branches := narrow.get("anyOf", narrow.get("oneOf")):
            for branch in branches:
                yield from self.misfits(branch, wide, at)
        elif branches := wide.get("anyOf", wide.get("oneOf")):
            yield from min((list(self.misfits(narrow, branch, at)) for branch in branches), key=len)
        else:
            yield from _of_one_value(narrow, wide, at)
            yield from self._of_items(narrow, wide, at)
            yield from self._of_properties(narrow, wide, at)

    def other_default(self, narrow: Any, wide: Any, at: str) -> Iterator[str]:
        """Who leaves a field out asks for something else when its default changes."""
        if not self.told and isinstance(narrow, Mapping) and isinstance(wide, Mapping) and narrow.get("default") != wide.get("default"):
            yield f"{at}: is {wide.get('default')!r} if left out, not {narrow.get('default')!r}"

    def _of_items(self, narrow: Schema, wide: Schema, at: str) -> Iterator[str]:
        if "items" in wide and "array" in _types(narrow):
            yield from self.misfits(narrow.get("items", {}), wide["items"], f"{at}[]")
        tuples = narrow.get("prefixItems", []), wide.get("prefixItems", [])
        if len(tuples[0]) != len(tuples[1]):
            yield f"{at}: {len(tuples[0])} items by position, not {len(tuples[1])}"
        else:
            for position, (one, other) in enumerate(zip(*tuples, strict=True)):
                yield from self.misfits(one, other, f"{at}[{position}]")

    def _of_properties(self, narrow: Schema, wide: Schema, at: str) -> Iterator[str]:
        if "object" not in _types(narrow):
            return
        ours, theirs = narrow.get("properties", {}), wide.get("properties", {})
        rest_theirs = wide.get("additionalProperties", True)
        for name in wide.get("required", []):
            if name not in narrow.get("required", []):
                yield f"{at}.{name}: is not always there" if self.told else f"{at}.{name}: has to be given"
        for name, schema in ours.items():
            if name in theirs:
                yield from self.misfits(schema, theirs[name], f"{at}.{name}")
                yield from self.other_default(schema, theirs[name], f"{at}.{name}")
            elif isinstance(rest_theirs, Mapping):
                yield from self.misfits(schema, rest_theirs, f"{at}.{name}")
            elif not self.told:
                yield f"{at}.{name}: is gone"
        yield from self._of_the_rest(narrow, wide, at)

    def _of_the_rest(self, narrow: Schema, wide: Schema, at: str) -> Iterator[str]:
        """Keys that only one of the two names, or neither."""
        ours, theirs = narrow.get("properties", {}), wide.get("properties", {})
        rest_ours, rest_theirs = narrow.get("additionalProperties", True), wide.get("additionalProperties", True)
        if self.told:
            yield from (f"{at}.{name}: is gone" for name in theirs if name not in ours and name not in wide.get("required", []))
        if rest_theirs is False and rest_ours is not False and not self.told:
            yield f"{at}: further keys are not allowed"
        elif isinstance(rest_theirs, Mapping) and rest_ours is not False:
            yield from self.misfits(rest_ours, rest_theirs, f"{at}.*")


def _of_one_value(narrow: Schema, wide: Schema, at: str) -> Iterator[str]:
    if surplus := _types(narrow) - _types(wide) - ({"integer"} if "number" in _types(wide) else set()):
        yield f"{at}: may be {' or '.join(sorted(surplus))}, which it may not"
        return
    if (allowed := _values(wide)) is not None:
        if (values := _values(narrow)) is None:
            yield f"{at}: any value, not only {allowed}"
        elif surplus_values := [value for value in values if value not in allowed]:
            yield f"{at}: may be {', '.join(map(repr, surplus_values))}, which it may not"
    for bound in _LOWER | _UPPER:
        limit, own = wide.get(bound), narrow.get(bound)
        if limit is not None and _values(narrow) is None and (own is None or (own < limit if bound in _LOWER else own > limit)):
            yield f"{at}: {bound} {own}, not {limit}"
    for keyword in sorted(set(wide) - _SAYS_NOTHING_OF_VALUES - _LOWER - _UPPER - _BY_RULE):
        if narrow.get(keyword) != wide[keyword]:
            yield f"{at}: {keyword} {narrow.get(keyword)!r}, not {wide[keyword]!r}"


def _types(schema: Schema) -> set[str]:
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    values = _values(schema)
    return set(_TYPES.values()) if values is None else {_TYPES[type(value)] for value in values}


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _reference(schema: Any) -> str:
    return schema.get("$ref", "") if isinstance(schema, Mapping) else ""


def resolved(schema: Any, document: Schema) -> Schema:
    """The schema itself, in place of a reference to it."""
    if schema is True:
        return {}
    if schema is False:
        return {"enum": []}
    if reference := _reference(schema):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return resolved(found, document)
    return dict(schema)
