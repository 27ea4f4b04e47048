"""Question and hits to the exact text a generator is sent. Pure but for `load_template`.

Templates are files, `prompts/<name>/<version>.txt`, and a template's digest is that of its bytes: to change a prompt, add a version.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from rag_service.digests import digest_bytes
from rag_service.errors import InvalidSettings, NotFound
from rag_service.types import Hit, Passage, Prompt

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_PLACEHOLDERS = {"question", "passages"}


@dataclass(frozen=True, slots=True)
class Template:
    """`system` and `user` hold `{{passages}}` and `{{question}}`."""

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
    used = set(_PLACEHOLDER.findall(system + user))
    if used != _PLACEHOLDERS:
        raise InvalidSettings(f"prompt {name}/{version} uses {sorted(used)}; it must use each of {sorted(_PLACEHOLDERS)} and nothing else")
    return Template(name=name, version=version, digest=digest_bytes(data), system=system, user=user)


def load_template(reference: str) -> Template:
    """`reference` is `<name>/<version>`, as in `answer/1`. Raises `NotFound` or `InvalidSettings`."""
    folder = files("rag_service") / "prompts"
    known = sorted(
        f"{name.name}/{version.name.removesuffix('.txt')}"
        for name in folder.iterdir()
        if name.is_dir()
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
    prompt = _fill(template, question, passages)
    while shown > 1 and count_tokens(prompt.system) + count_tokens(prompt.user) > budget_tokens:
        shown -= 1
        prompt = _fill(template, question, passages[:shown])
    return prompt, len(passages) - shown


def _fill(template: Template, question: str, passages: tuple[Passage, ...]) -> Prompt:
    values = {"question": question, "passages": "\n\n".join(_shown(passage) for passage in passages)}

    def filled(part: str) -> str:
        # One pass: a question or passage that holds a placeholder is not filled in turn.
        return _PLACEHOLDER.sub(lambda match: values[match[1]], part)

    return Prompt(system=filled(template.system), user=filled(template.user), question=question, passages=passages)


def _shown(passage: Passage) -> str:
    chunk = passage.chunk
    place = " > ".join(dict.fromkeys(part for part in (chunk.title, *chunk.heading_path) if part))
    return f"[{passage.marker}] {place}\n{chunk.text}"
