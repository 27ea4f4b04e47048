"""The nouns: a case, what it expects, what was replied, and the verdict."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal[
    "paraphrase",
    "typo",
    "negation",
    "unanswerable",
    "conflict",
    "versions",
    "injection",
    "long",
    "empty",
    "language",
    "remove",
    "noise",
    "live",
]
Level = Literal["must", "should"]
"""`must`: whoever fails it is not served. `should`: known to be hard; it is shown."""
Status = Literal["answered", "abstained", "error"]
Searched = Literal["all", "hidden", "none"]
"""`hidden`: a filter allows none of the documents. `none`: the index holds no chunk."""


@dataclass(frozen=True, slots=True)
class Documents:
    """What a question is asked over: the files of a folder, without some of them, and together with those of another."""

    folder: Path
    without: tuple[str, ...] = ()
    """Names of files, sorted."""
    beside: Path | None = None
    searched: Searched = "all"


SERVED = Documents(Path())
"""Whatever a running service holds: what a live case is asked over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Texts are looked for in the answer without its citation markers, whatever their case and white space, as whole words. What an answer
    has to hold does not concern an abstention, which is wrong only where `status` says so.
    """

    status: Status | None = None
    """None where an answer and an abstention are both fine, and an error whose code is one of `code`."""
    code: tuple[str, ...] = ()
    """What the abstain reason, or the code of the error, is one of."""
    contains: tuple[str, ...] = ()
    """Each stands in the answer."""
    contains_any: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    """None stands in it."""
    cites: tuple[str, ...] = ()
    """Documents, each of which is cited."""
    cites_any: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()
    """Codes of warnings, each of which is given; also with an abstention."""

    @property
    def of_the_answer(self) -> bool:
        """Something is expected that only an answer can have."""
        return any((self.contains, self.contains_any, self.excludes, self.cites, self.cites_any))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    id: str
    kind: Kind
    level: Level
    documents: Documents
    ask: str
    expected: Expected
    same_as: tuple[str, ...] = ()
    """Other questions that must come out as `ask` does: with the same answer, or one that cites a document in common."""
    remove: tuple[str, ...] = ()
    """Files without which the service must abstain."""
    add: Path | None = None
    """Documents beside which the answer must stay the same."""
    reason: str
    """Why it matters; of a `should`, also why it is not a `must`."""
    place: str
    """`file:line`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """To one question."""

    status: Status
    code: str | None = None
    """Why the service abstained, or the code of the error."""
    answer: str = ""
    """Without citation markers; empty where there is none."""
    cites: tuple[str, ...] = ()
    """Ids of the cited documents, each once, in the order of the answer."""
    warnings: tuple[str, ...] = ()
    message: str = ""
    """Of an error, for people."""
    faults: tuple[str, ...] = ()
    """What is wrong with the reply whatever was asked: a citation that leads nowhere, a trace that lacks a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    case: str
    """Its id."""
    kind: Kind
    level: Level
    passed: bool
    asked: str
    said: str
    """In short, for people."""
    problems: tuple[str, ...]
    """What was expected and did not come, and what came instead. Empty if and only if it passed."""
    reason: str

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.case}"

    @property
    def must(self) -> bool:
        return self.level == "must"

    @property
    def detail(self) -> str:
        """What was said and what was expected, on one line."""
        return f"said {self.said}; {'; '.join(self.problems) or 'as expected'}"
