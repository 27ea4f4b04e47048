"""A YAML file as it was written: its value, and the line of every key, so that what is wrong can be pointed at.

YAML 1.1 as PyYAML's safe loader reads it: anchors and merge keys (`<<`) work, tags that make Python objects do not. Keys are text and stand
once. Models that read it are of pydantic, with `extra="forbid"`: `checked` says which key was meant.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from eval.text_file import read_text
from rag_service.errors import InvalidInput

_Model = TypeVar("_Model", bound=BaseModel)

Key = str | int
"""Of a mapping, or the 0-based place in a list."""

_MAPPING_HINT = "lines look like: key: value"
_NOT_TEXT = {"string_type", "literal_error", "enum", "string_sub_type", "path_type"}
"""What pydantic says where text was expected."""


@dataclass(frozen=True, slots=True)
class YamlFile:
    """`value` is made of dict (keys are str), list, str, int, float, bool, None, and dates; None for an empty file."""

    path: Path
    value: Any
    _root: Any = field(repr=False, compare=False, default=None)
    """The tree of nodes behind `value`, which knows the lines."""

    def place(self, *keys: Key) -> str:
        """`eval.yaml:12`, where these keys lead: the line of the last key, or of the nearest that is there."""
        line, node = 1, self._root
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return f"{self.path.name}:{line}"

    def written(self, *keys: Key) -> str | None:
        """The characters of a plain scalar (`off`, where the value is False); None for anything else, and where it stands in quotes."""
        node = self._root
        for key in keys:
            found = _child(node, key)
            if found is None:
                return None
            node = found[1]
        return str(node.value) if isinstance(node, yaml.ScalarNode) and node.style is None else None

    def reaches(self, *keys: Key) -> bool:
        node = self._root
        for key in keys:
            found = _child(node, key)
            if found is None:
                return False
            node = found[1]
        return True

    def under(self, *keys: Key) -> Any:
        """The value that these keys lead to; None where they lead nowhere."""
        value = self.value
        for key in keys:
            if isinstance(key, str):
                value = value.get(key) if isinstance(value, dict) else None
            else:
                value = value[key] if isinstance(value, list) and key < len(value) else None
        return value


def read_yaml(path: Path) -> YamlFile:
    """Raises `NotFound`, or `InvalidInput` that names file and line: no YAML, a key twice, a key that is not text."""
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, path: Path) -> YamlFile:
    """`text` as if it were the content of `path`. Raises as `read_yaml` does."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            _check_keys(root, path)
            value = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        line, problem = _problem(error, text)
        raise InvalidInput(f"{path.name}:{line}: this is not YAML: {problem}", hint=_MAPPING_HINT) from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a date that the calendar does not have
        raise InvalidInput(f"{path.name}: this cannot be read: {error}", hint="write it simpler, or text in quotes") from error
    return YamlFile(path, value, root)


def checked(model: type[_Model], file: YamlFile, *at: Key) -> _Model:
    """What stands in `file` under the keys `at`, as a `model`. Where nothing stands there, the model's defaults.

    Raises `InvalidInput` with file:line, the key, what is wrong with it, and which key or value may have been meant.
    """
    value = file.under(*at)
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        problems: Sequence[Mapping[str, Any]] = error.errors(include_url=False)
        first = min(problems, key=lambda problem: _rank(file, at, problem))
        raise _in_words(model, file, at, first, more=len({_keys(file, at, one["loc"]) for one in problems}) - 1) from error


def meant(name: str, known: Collection[str], *, what: str = "keys") -> str:
    """A hint: the known name that is nearest to `name`, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"the {what} here are: {', '.join(sorted(known)) or 'none'}"


def _in_words(model: type[BaseModel], file: YamlFile, at: Sequence[Key], problem: Mapping[str, Any], *, more: int) -> InvalidInput:
    keys = _keys(file, at, problem["loc"])
    place = file.place(*keys)
    shown = ".".join(map(str, keys)) or "the file"
    others = f" (and {more} more)" if more else ""
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        return InvalidInput(
            f"{place}: there is no key {shown!r}{others}", hint=meant(name, _names_at(model, problem["loc"][:-1])), param=shown
        )
    if problem["type"] == "missing":
        wanted = ".".join(map(str, (*keys, problem["loc"][-1])))
        return InvalidInput(f"{place}: {wanted!r} is missing{others}", hint=f"write it: {problem['loc'][-1]}: …", param=wanted)
    message, hint = _said(problem), "see the documentation of this file, or delete the line for its default"
    if problem["input"] is None:
        message, hint = f"nothing stands after the colon, {message[:1].lower()}{message[1:]}", "write a value, or delete the key"
    elif problem["type"] in _NOT_TEXT and (written := file.written(*keys)) is not None and not isinstance(problem["input"], str):
        kind = type(problem["input"]).__name__
        message = f"text is expected, and YAML reads {written} without quotes as {problem['input']} ({kind})"
        hint = f'write it in quotes: "{written}"'
    return InvalidInput(f"{place}: {shown}: {message}{others}", hint=hint, param=shown)


def _said(problem: Mapping[str, Any]) -> str:
    given = problem["input"]
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{message}, not {given!r}" if isinstance(given, str | int | float) and problem["type"] != "value_error" else message


def _rank(file: YamlFile, at: Sequence[Key], problem: Mapping[str, Any]) -> tuple[bool, int, int, bool]:
    """A misspelt key first: it explains why the right one is missing. Then by line; of ways to read one value, the one that came far."""
    keys = _keys(file, at, problem["loc"])
    another_kind = problem["type"].endswith("_type")
    return problem["type"] != "extra_forbidden", int(file.place(*keys).rpartition(":")[2]), -len(keys), another_kind


def _keys(file: YamlFile, at: Sequence[Key], loc: Sequence[Key]) -> tuple[Key, ...]:
    """The keys of the file in pydantic's location, which also names the branches of unions that it tried."""
    keys = tuple(at)
    for part in loc:
        if file.reaches(*keys, part):
            keys = (*keys, part)
    return keys


def _names_at(model: type[BaseModel], loc: Sequence[Key]) -> set[str]:
    """Names of the fields that may stand at `loc`, in any branch of a union."""
    annotations: list[object] = [model]
    for part in loc:
        annotations = list(chain.from_iterable(_inside(one, part) for one in annotations)) or annotations
    models = chain.from_iterable(map(_models_in, annotations))
    return {info.alias or name for one in models for name, info in one.model_fields.items()}


def _inside(annotation: object, part: Key) -> Iterator[object]:
    """What may stand under `part` of an annotation; nothing where `part` is the name of a union's branch."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from (info.annotation for name, info in annotation.model_fields.items() if part in {name, info.alias})
    elif get_origin(annotation) in {dict, Mapping, list, tuple, Sequence}:
        yield from [one for one in get_args(annotation) if one is not ...][-1:]
    else:
        for branch in get_args(annotation):
            yield from _inside(branch, part)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, as in `dict[str, A | B]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _child(node: Any, key: Key) -> tuple[int, Any] | None:
    """The 1-based line where a key, or an item of a list, begins, and its value. Of a merged key and its override, the last holds."""
    if isinstance(node, yaml.MappingNode) and isinstance(key, str):
        found = [(name.start_mark.line + 1, value) for name, value in node.value if name.value == key]
        return found[-1] if found else None
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and 0 <= key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    return None


def _check_keys(root: Any, path: Path) -> None:
    """Raises `InvalidInput` for a key that stands twice in one mapping or is not text, and for what contains itself."""
    seen: set[int] = set()
    above: set[int] = set()

    def check(node: Any) -> None:
        if id(node) in above:
            raise InvalidInput(f"{path.name}:{node.start_mark.line + 1}: what the anchor names contains itself", hint="name something else")
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            return
        seen.add(id(node))
        above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_names(node, path)
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                check(part)
        above.discard(id(node))

    check(root)


def _check_names(mapping: Any, path: Path) -> None:
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if key.tag not in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}:
            shown = key.value if isinstance(key, yaml.ScalarNode) else "[…]"
            raise InvalidInput(
                f"{path.name}:{line}: the key {shown} is not text ({key.tag.rpartition(':')[2]} to YAML)",
                hint=f'write it in quotes: "{shown}"',
            )
        if key.value in lines:
            raise InvalidInput(
                f"{path.name}:{line}: the key {key.value!r} stands in line {lines[key.value]} already", hint="delete one of them"
            )
        lines[key.value] = line


def _problem(error: Any, text: str) -> tuple[int, str]:
    """The 1-based line of an error, and what is wrong there."""
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1, f"the character {error.character:#x} is not allowed"
    mark = error.problem_mark or error.context_mark
    context = f"{error.context}, " if error.context else ""
    return (mark.line + 1 if mark else 1), f"{context}{error.problem}"
