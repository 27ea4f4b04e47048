"""Question and hits to the exact text a generator is sent. Pure but for `load_template`.

Templates are files, `prompts/<name>/<version>.txt`, and a template's digest is that of its bytes: to change a prompt, add a version.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from rag_service.digests import digest_bytes
from rag_service.errors import InvalidSettings, NotFound
from rag_service.types import Hit, Passage, Prompt

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_ANSWERING = frozenset({"question", "passages"})
_CONDENSING = frozenset({"question", "history"})
CONDENSE = "condense"
"""Templates of this name turn a follow-up into a question of its own; all others ask for an answer."""


@dataclass(frozen=True, slots=True)
class Template:
    """`system` and `user` hold `{{question}}`, and `{{passages}}` or, in a `condense` template, `{{history}}`."""

    name: str
    version: str
    digest: str
    system: str
    user: str


def parse_template(data: bytes, *, name: str, version: str) -> Template:
    """A file with a `--- system` and a `--- user` part. Raises `InvalidSettings`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"prompt {name}/{version} is not UTF-8") from error
    parts = re.split(r"^--- (system|user)\n", text, flags=re.MULTILINE)
    if len(parts) != 5 or parts[0].strip() or parts[1::2] != ["system", "user"]:
        raise InvalidSettings(f"prompt {name}/{version} does not have a '--- system' and then a '--- user' part")
    system, user = parts[2].strip(), parts[4].strip()
    used, wanted = set(_PLACEHOLDER.findall(system + user)), _CONDENSING if name == CONDENSE else _ANSWERING
    if used != wanted:
        raise InvalidSettings(f"prompt {name}/{version} uses {sorted(used)}; it must use each of {sorted(wanted)} and nothing else")
    return Template(name=name, version=version, digest=digest_bytes(data), system=system, user=user)


def load_template(reference: str, *, condensing: bool = False) -> Template:
    """`reference` is `<name>/<version>`, as in `answer/1`; of a template that asks for an answer, unless `condensing`.

    Raises `NotFound` or `InvalidSettings`.
    """
    folder = files("rag_service") / "prompts"
    known = sorted(
        f"{name.name}/{version.name.removesuffix('.txt')}"
        for name in folder.iterdir()
        if name.is_dir() and (name.name == CONDENSE) == condensing
        for version in name.iterdir()
        if version.name.endswith(".txt")
    )
    if reference not in known:
        raise NotFound(f"there is no prompt {reference!r}", hint=f"there are: {', '.join(known)}", param="prompt")
    name, version = reference.split("/")
    return parse_template((folder / name / f"{version}.txt").read_bytes(), name=name, version=version)


def render(
    template: Template, question: str, hits: Sequence[Hit], *, budget_tokens: int, count_tokens: Callable[[str], int]
) -> tuple[Prompt, int]:
    """The prompt with as many of the best hits as fit into `budget_tokens`, and how many were left out.

    The first hit is always shown: without evidence there is nothing to ask.
    """
    passages = tuple(Passage(marker=number, chunk=hit.chunk) for number, hit in enumerate(hits, start=1))
    shown = len(passages)
    prompt = _filled(template, question, passages)
    while shown > 1 and count_tokens(prompt.system) + count_tokens(prompt.user) > budget_tokens:
        shown -= 1
        prompt = _filled(template, question, passages[:shown])
    return prompt, len(passages) - shown


@dataclass(frozen=True, slots=True)
class Messages:
    system: str
    user: str


def fill(template: Template, values: Mapping[str, str]) -> Messages:
    """The template with a value for each placeholder."""

    def filled(part: str) -> str:
        # One pass: a question or passage that holds a placeholder is not filled in turn.
        return _PLACEHOLDER.sub(lambda match: values[match[1]], part)

    return Messages(system=filled(template.system), user=filled(template.user))


def _filled(template: Template, question: str, passages: tuple[Passage, ...]) -> Prompt:
    messages = fill(template, {"question": question, "passages": "\n\n".join(_shown(passage) for passage in passages)})
    return Prompt(system=messages.system, user=messages.user, question=question, passages=passages)


def _shown(passage: Passage) -> str:
    chunk = passage.chunk
    place = " > ".join(dict.fromkeys(part for part in (chunk.title, *chunk.heading_path) if part))
    return f"[{passage.marker}] {place}\n{chunk.text}"
