"""Question and hits to the exact text a generator is sent. Pure but for `load_template`.

Templates are files, `prompts/<name>/<version>.txt`, and a template's digest is that of its bytes: to change a prompt, add a version.

Passages stand in the order of the search, the best first: their numbers are then their ranks, what does not fit is cut off at the end and
is the least of them, and the best one is at one of the two ends of the context, which models read best (Liu et al. 2023, arXiv:2307.03172).
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from rag_service.digests import digest_bytes, digest_text
from rag_service.disarm import disarmed
from rag_service.errors import InvalidQuestion, InvalidSettings, NotFound
from rag_service.sentences import sentences
from rag_service.types import Hit, Notice, Passage, Prompt

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_ANSWERING = frozenset({"question", "passages"})
_CONDENSING = frozenset({"question", "history"})
_BOUNDARY = "boundary"
_BOUNDARY_HEX = 16
CONDENSE = "condense"
"""Templates of this name turn a follow-up into a question of its own; all others ask for an answer."""


@dataclass(frozen=True, slots=True)
class Template:
    """`system` and `user` hold `{{question}}`, and `{{passages}}` or, in a `condense` template, `{{history}}`.

    One that asks for an answer may also hold `{{boundary}}`: its passages are then marked off with it, and disarmed.
    """

    name: str
    version: str
    digest: str
    system: str
    user: str

    @property
    def bounded(self) -> bool:
        return f"{{{{{_BOUNDARY}}}}}" in self.system + self.user


@dataclass(frozen=True, slots=True)
class Rendered:
    prompt: Prompt
    left_out: int
    """Hits that are not in the prompt, the worst ones."""
    cut_chars: int
    """Characters at the end of the first passage that are not in the prompt; 0 unless it is the only one."""

    def notice(self, budget_tokens: int) -> Notice | None:
        """What the reader should know of a window that was too small."""
        if not (self.left_out or self.cut_chars):
            return None
        total = len(self.prompt.passages) + self.left_out
        detail = f"{self.left_out} of {total} passages did not fit into {budget_tokens} tokens"
        if self.cut_chars:
            detail += f", and the last {self.cut_chars} characters of the first were cut off"
        return Notice("context_truncated", detail)


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
    allowed = wanted if name == CONDENSE else wanted | {_BOUNDARY}
    if not wanted <= used <= allowed:
        also = "" if allowed == wanted else f", may use {_BOUNDARY}"
        raise InvalidSettings(f"prompt {name}/{version} uses {sorted(used)}; it must use each of {sorted(wanted)}{also} and nothing else")
    return Template(name=name, version=version, digest=digest_bytes(data), system=system, user=user)


def load_template(reference: str, *, condensing: bool = False) -> Template:
    """`reference` is `<name>/<version>`, as in `answer/2`; of a template that asks for an answer, unless `condensing`.

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


def render(template: Template, question: str, hits: Sequence[Hit], *, budget_tokens: int, count_tokens: Callable[[str], int]) -> Rendered:
    """The prompt with as many of the best hits as fit into `budget_tokens`, system and user message together.

    Where not even the first fits, it is cut at the end of a sentence, or of a word where its first sentence is too long. Without evidence
    there is nothing to ask: raises `InvalidQuestion` when not one word fits, since then the question takes the whole window.
    """
    passages = tuple(
        Passage(marker=number, chunk=hit.chunk, score=hit.score, sentences=hit.sentences) for number, hit in enumerate(hits, start=1)
    )
    shown = [_shown(template, passage, passage.chunk.text) for passage in passages]

    def first(count: int) -> Prompt:
        return _filled(template, question, passages[:count], shown[:count])

    def cut(end: int) -> Prompt:
        return _filled(template, question, passages[:1], [_shown(template, passages[0], passages[0].chunk.text[:end])])

    def fits(prompt: Prompt) -> bool:
        return count_tokens(prompt.system) + count_tokens(prompt.user) <= budget_tokens

    most = _most(len(passages), lambda count: fits(first(count)))
    if most or not passages:
        return Rendered(first(most), len(passages) - most, 0)
    ends = _ends(passages[0].chunk.text)
    kept = _most(len(ends), lambda count: fits(cut(ends[count - 1])))
    if not kept:
        raise InvalidQuestion(
            f"the question leaves no room for a passage: the generator reads {budget_tokens} tokens",
            hint="ask a shorter question, or give the generator a larger window",
            param="question",
        )
    end = ends[kept - 1]
    return Rendered(cut(end), len(passages) - 1, len(passages[0].chunk.text) - end)


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number in 1 … `count` that fits, 0 if none does, where more never fits better."""
    if count and fits(count):  # as nearly always
        return count
    return bisect_left(range(1, count), True, key=lambda number: not fits(number))


def _ends(text: str) -> list[int]:
    """Where a text may be cut, ascending: after each word of its first sentence, then after each sentence."""
    ends = [span.end for span in sentences(text)]
    if not ends:
        return []
    return [match.end() for match in re.finditer(r"\S+", text[: ends[0]])][:-1] + ends


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


def _filled(template: Template, question: str, passages: tuple[Passage, ...], shown: Sequence[str]) -> Prompt:
    """`shown` is what is shown of each passage."""
    values = {"question": question, "passages": "\n\n".join(shown)}
    if template.bounded:
        boundary = boundary_of(question, shown)
        marked_off = (f"{boundary} passage begins\n{passage}\n{boundary} passage ends" for passage in shown)
        values |= {_BOUNDARY: boundary, "passages": "\n\n".join(marked_off)}
    messages = fill(template, values)
    return Prompt(system=messages.system, user=messages.user, question=question, passages=passages)


def _shown(template: Template, passage: Passage, text: str) -> str:
    """The number that the passage is cited by, where it stands, and `text`, which is its text or the beginning of it."""
    chunk = passage.chunk
    place = " > ".join(dict.fromkeys(part for part in (chunk.title, *chunk.heading_path) if part))
    if template.bounded:
        place, text = disarmed(place), disarmed(text)
    return f"[{passage.marker}] {place}\n{text}"


def boundary_of(question: str, passages: Sequence[str]) -> str:
    """What no document can hold: 16 hex digits of the SHA-256 over the question and all that is shown, so a document would have to
    contain a part of its own hash. Derived and not random, so that a replay renders the same prompt.
    """
    for attempt in range(2**16):
        digest = digest_text("\0".join(("boundary", str(attempt), question, *passages)))  # no text holds a zero: it is normalised
        found = digest.removeprefix("sha256:")[:_BOUNDARY_HEX]
        if not any(found in text for text in (question, *passages)):
            break
    return found
