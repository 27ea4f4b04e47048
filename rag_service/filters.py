"""Which documents a question may be answered from: conditions on document metadata, all of which must hold. Pure.

Written as JSON: `{"lang": "en", "year": {"gte": 2020}, "source": {"prefix": "hr/"}}`. A plain value means `eq`; a list of objects
holds one operator more than once, as `{"tag": [{"ne": "draft"}, {"ne": "old"}]}`. `source`, `title` and `document_id` are the
document's own; every other name is a key of its metadata.

A document without the key meets no condition on it but `{"exists": false}`, one with a value of another type none but
`{"exists": true}`. That holds for `ne` and `not_in` too: a filter that decides who may read what must not let through what nobody has
labelled. Texts are compared by code point, and their case counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from rag_service.digests import Json, digest_json
from rag_service.errors import InvalidInput
from rag_service.types import Metadata, MetadataValue

Operator = Literal["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "prefix", "exists"]

MAX_CONDITIONS = 16
MAX_VALUES = 64
"""In one `in` or `not_in`."""
MAX_CHARS = 256
"""Of a key, or of a value."""

_LISTS = frozenset({"in", "not_in"})
_ORDERS = frozenset({"gt", "gte", "lt", "lte"})
_NUMBERS_BELOW = 2**53
"""What canonical JSON can hold, and a float can hold exactly."""

Kind = type[bool] | type[str] | type[float]


class Described(Protocol):
    """What conditions look at. A chunk answers for its document."""

    @property
    def title(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def metadata(self) -> Metadata: ...


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """`value` is a tuple for `in` and `not_in`, and a truth value for `exists`. Make one with `parse_filter`: it knows what is valid.

    Equality is strict: for Python `True == 1`, for a filter they are two conditions.
    """

    key: str
    operator: Operator
    value: MetadataValue | tuple[MetadataValue, ...]
    _listed: frozenset[tuple[Kind, MetadataValue]] = field(init=False, repr=False)
    _kinds: frozenset[Kind] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        object.__setattr__(self, "_listed", frozenset((_kind(value), value) for value in values))
        object.__setattr__(self, "_kinds", frozenset(map(_kind, values)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self.order == other.order

    def __hash__(self) -> int:
        return hash(self.order)

    @property
    def order(self) -> tuple[str, str, str]:
        """By which conditions are sorted and told apart."""
        return (self.key, self.operator, repr(self.value))

    def holds(self, found: MetadataValue | None) -> bool:
        if self.operator == "exists":
            return (found is not None) == self.value
        if found is None:
            return False
        kind = _kind(found)
        if kind not in self._kinds:
            return False
        if self.operator in ("eq", "in"):
            return (kind, found) in self._listed
        if self.operator in ("ne", "not_in"):
            return (kind, found) not in self._listed
        return _compare(self.operator, found, self.value)


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions in the order of key, operator and value: equal filters are equal however they were written."""

    conditions: tuple[Condition, ...]

    def allows(self, document: Described, document_id: str) -> bool:
        return all(condition.holds(_found(condition.key, document, document_id)) for condition in self.conditions)

    def as_json(self) -> dict[str, Any]:
        """As `parse_filter` reads it, with every operator spelled out and no condition lost: key → one object of operators, or a
        list of objects where an operator stands more than once.
        """
        shown: dict[str, list[dict[str, Json]]] = {}
        for condition in self.conditions:
            shown.setdefault(condition.key, []).append({condition.operator: _json(condition.value)})
        return {key: _in_one_object(objects) for key, objects in shown.items()}

    @property
    def digest(self) -> str:
        listed: list[Json] = [[condition.key, condition.operator, _json(condition.value)] for condition in self.conditions]
        return digest_json(listed)


def parse_filter(given: Mapping[str, object], *, param: str = "filters", at_most: int = MAX_CONDITIONS) -> Filter | None:
    """None where `given` is empty. Raises `InvalidInput` that names the key and what is wrong with it.

    What `both` made has up to twice as many conditions as what it was made from: who reads it back says so with `at_most`.
    """
    conditions = [condition for key, wanted in given.items() for condition in _conditions(key, wanted, param)]
    if len(conditions) > at_most:
        raise InvalidInput(f"{param} has {len(conditions)} conditions; at most {at_most} are accepted", param=param)
    return _ordered(conditions) if conditions else None


def both(first: Filter | None, second: Filter | None) -> Filter | None:
    """What both allow. None allows everything."""
    if first is None or second is None:
        return first or second
    return _ordered([*first.conditions, *second.conditions])


def _ordered(conditions: list[Condition]) -> Filter:
    return Filter(tuple(sorted(set(conditions), key=lambda condition: condition.order)))


def _conditions(key: str, wanted: object, param: str) -> Iterator[Condition]:
    if not isinstance(key, str):
        raise InvalidInput(f"a key of {param} is not a text", param=param)
    if not 1 <= len(key) <= MAX_CHARS:
        raise InvalidInput(f"a key of {param} has {len(key)} characters; 1 to {MAX_CHARS} are accepted", param=param)
    if not _is_unicode(key):
        raise InvalidInput(f"a key of {param} holds half a surrogate pair", param=param)
    where = f"{param}.{key if key.isprintable() else repr(key)}"
    if not isinstance(wanted, list):
        wanted = [wanted if isinstance(wanted, Mapping) else {"eq": wanted}]
    for operators in wanted:
        if not isinstance(operators, Mapping):
            raise InvalidInput(f"{where} is a list of values", hint='write {"in": [...]}', param=where)
    if not wanted or not all(wanted):
        raise InvalidInput(f"{where} has no operator", hint=_hint(), param=where)
    for operators in wanted:
        for operator, value in operators.items():
            yield _condition(key, operator, value, where)


def _condition(key: str, operator: object, value: object, where: str) -> Condition:
    if operator not in get_args(Operator):
        raise InvalidInput(f"{where} has the unknown operator {str(operator)[:40]!r}", hint=_hint(), param=where)
    named: Operator = operator  # type: ignore[assignment]  # it is one of them
    if named == "exists":
        if not isinstance(value, bool):
            raise InvalidInput(f"{where}.exists must be true or false", param=where)
        return Condition(key, named, value)
    if named in _LISTS:
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_VALUES:
            raise InvalidInput(f"{where}.{named} must be a list of 1 to {MAX_VALUES} values", param=where)
        by_name = {repr(item): item for item in (_value(item, where) for item in value)}
        return Condition(key, named, tuple(by_name[name] for name in sorted(by_name)))
    plain = _value(value, where)
    if named in _ORDERS and isinstance(plain, bool):
        raise InvalidInput(f"{where}.{named} compares numbers or texts", param=where)
    if named == "prefix" and not isinstance(plain, str):
        raise InvalidInput(f"{where}.prefix must be a text", param=where)
    return Condition(key, named, plain)


def _value(value: object, where: str) -> MetadataValue:
    """In one spelling: 2020.0 is 2020, as in canonical JSON."""
    if isinstance(value, str):
        if len(value) > MAX_CHARS:
            raise InvalidInput(f"a value of {where} has {len(value)} characters; at most {MAX_CHARS} are accepted", param=where)
        if _is_unicode(value):
            return value
    elif isinstance(value, bool):
        return value
    elif isinstance(value, int | float) and abs(value) < _NUMBERS_BELOW:  # False for NaN
        return int(value) if value == int(value) else value
    raise InvalidInput(f"a value of {where} must be a text, a number below 2^53, true or false", hint=_hint(), param=where)


def _is_unicode(text: str) -> bool:
    """False for a text with half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _hint() -> str:
    return f"operators are {', '.join(get_args(Operator))}; a plain value means eq"


def _found(key: str, document: Described, document_id: str) -> MetadataValue | None:
    match key:
        case "document_id":
            return document_id
        case "source":
            return document.source
        case "title":
            return document.title
        case _:
            return document.metadata.get(key)


def _kind(value: MetadataValue) -> Kind:
    """Text is compared with text and number with number; true is not 1."""
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def _compare(operator: Operator, found: Any, wanted: Any) -> bool:
    match operator:
        case "gt":
            return bool(found > wanted)
        case "gte":
            return bool(found >= wanted)
        case "lt":
            return bool(found < wanted)
        case "lte":
            return bool(found <= wanted)
        case _:
            return str(found).startswith(wanted)


def _json(value: MetadataValue | tuple[MetadataValue, ...]) -> Json:
    return list(value) if isinstance(value, tuple) else value


def _in_one_object(objects: list[dict[str, Json]]) -> dict[str, Json] | list[dict[str, Json]]:
    merged = {operator: value for one in objects for operator, value in one.items()}
    return merged if len(merged) == len(objects) else objects
