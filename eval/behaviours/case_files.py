"""Cases as they are written, one kind a file:

    kind: paraphrase
    corpus: handbook                        # a folder of documents: in `corpora/` beside this package, or beside the file
    cases:
      - id: holidays
        level: must                         # or should
        ask: How many days of holiday do I have?
        status: answered                    # or abstained, error; left out: an answer and an abstention are both fine
        contains: 28 days
        cites: leave.md
        same_as: [How much holiday is there a year?]
        metamorphic: {remove: leave.md, add: elsewhere}
        reason: The number that people ask for most.

A live case has no corpus. In its question, `{passage}` stands for the beginning of a passage that the service itself holds.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from eval.behaviours.case import SERVED, Case, Documents, Expected, Kind, Level, Searched, Status
from eval.yaml_file import YamlFile, checked, meant, read_yaml
from rag_service.errors import InvalidInput

_HERE = Path(__file__).parent
CASES = _HERE / "cases"
CORPORA = _HERE / "corpora"
LIVE_FILE = CASES / "live.yaml"


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


_Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Metamorphic(_Strict):
    remove: _Texts = ()
    add: str | None = None


class _Case(_Strict):
    id: str = Field(min_length=1)
    level: Level
    ask: str
    repeat: int = Field(1, ge=1, le=100_000)
    """How often the question is said, with blanks between."""
    corpus: str | None = None
    searched: Searched = "all"
    status: Status | None = None
    code: _Texts = ()
    contains: _Texts = ()
    contains_any: _Texts = ()
    excludes: _Texts = ()
    cites: _Texts = ()
    cites_any: _Texts = ()
    warns: _Texts = ()
    same_as: _Texts = ()
    metamorphic: _Metamorphic = _Metamorphic()
    reason: str = Field(min_length=1)

    @property
    def expected(self) -> Expected:
        return Expected(
            status=self.status,
            code=self.code,
            contains=self.contains,
            contains_any=self.contains_any,
            excludes=self.excludes,
            cites=self.cites,
            cites_any=self.cites_any,
            warns=self.warns,
        )


class _File(_Strict):
    kind: Kind
    corpus: str | None = None
    cases: tuple[_Case, ...]


def bundled_cases() -> tuple[Case, ...]:
    """All that are asked of little corpora."""
    return read_cases(sorted(path for path in CASES.glob("*.yaml") if path != LIVE_FILE))


def live_cases() -> tuple[Case, ...]:
    """Those that are asked of a running service, whatever it holds."""
    return read_cases([LIVE_FILE])


def read_cases(paths: Sequence[Path]) -> tuple[Case, ...]:
    """In the order of files and lines. Raises `NotFound`, or `InvalidInput` with file and line, and what may have been meant."""
    cases: list[Case] = []
    places: dict[str, str] = {}
    for path in paths:
        file = read_yaml(path)
        read = checked(_File, file)
        if not read.cases:
            raise InvalidInput(f"{file.place('cases')}: there is no case", hint="write one, or delete the file")
        for case in _cases(read, file):
            if case.id in places:
                raise InvalidInput(
                    f"{case.place}: the id {case.id!r} is already that of {places[case.id]}", hint="give every case its own id"
                )
            places[case.id] = case.place
            cases.append(case)
    return tuple(cases)


def _cases(read: _File, file: YamlFile) -> Iterator[Case]:
    for number, written in enumerate(read.cases):
        at = ("cases", number)
        live = read.kind == "live"
        documents = _served(read, written, file, *at) if live else _documents(read, written, file, *at)
        _check_expectations(written, file, *at, live=live)
        added = written.metamorphic.add
        case = Case(
            id=written.id,
            kind=read.kind,
            level=written.level,
            documents=documents,
            ask=" ".join([written.ask] * written.repeat),
            expected=written.expected,
            same_as=written.same_as,
            remove=written.metamorphic.remove,
            add=None if added is None else _folder(added, file, *at, "metamorphic", "add"),
            reason=written.reason,
            place=file.place(*at, "id"),
        )
        if not live:
            _check_documents(case, written, file, *at)
        yield case


def _served(read: _File, written: _Case, file: YamlFile, *at: str | int) -> Documents:
    for key, value in (("corpus", written.corpus or read.corpus), ("metamorphic", written.metamorphic.remove or written.metamorphic.add)):
        if value:
            raise InvalidInput(f"{file.place(*at, key)}: a live case has no {key}: it is asked of what the service holds", hint="delete it")
    return SERVED


def _documents(read: _File, written: _Case, file: YamlFile, *at: str | int) -> Documents:
    corpus = written.corpus or read.corpus
    if corpus is None:
        raise InvalidInput(f"{file.place(*at)}: the case {written.id!r} has no corpus", hint="write corpus: FOLDER, here or above `cases`")
    keys = (*at, "corpus") if written.corpus else ("corpus",)
    return Documents(_folder(corpus, file, *keys), searched=written.searched)


def _folder(name: str, file: YamlFile, *keys: str | int) -> Path:
    for folder in (file.path.parent / name, CORPORA / name):
        if folder.is_dir():
            return folder
    known = {folder.name for parent in (file.path.parent, CORPORA) for folder in parent.iterdir() if folder.is_dir()}
    raise InvalidInput(f"{file.place(*keys)}: there is no folder of documents {name!r}", hint=meant(name, known, what="folders"))


def _check_expectations(written: _Case, file: YamlFile, *at: str | int, live: bool) -> None:
    expected, changed = written.expected, written.metamorphic
    if written.status in {"abstained", "error"} and expected.of_the_answer:
        raise InvalidInput(
            f"{file.place(*at)}: the case {written.id!r} expects an answer's words or documents where it expects none",
            hint="write status: answered, or delete them",
        )
    if written.code and written.status == "answered":
        raise InvalidInput(f"{file.place(*at, 'code')}: only abstentions and errors have a code", hint="write status: abstained, or error")
    if changed.remove and written.status != "answered":
        raise InvalidInput(
            f"{file.place(*at, 'metamorphic')}: what is not answered anyway needs no document", hint="write status: answered"
        )
    nothing = written.status is None and not (expected.of_the_answer or expected.warns or written.same_as or changed.add)
    if nothing and not live:  # a live reply has to be well formed, whatever it says
        raise InvalidInput(f"{file.place(*at)}: the case {written.id!r} expects nothing", hint="write status: answered, abstained or error")


def _check_documents(case: Case, written: _Case, file: YamlFile, *at: str | int) -> None:
    """A misspelt name would be a case that can never pass, or one that always does."""
    known = _names(case.documents.folder)
    cited = (("cites", written.cites), ("cites_any", written.cites_any))
    for key, names in cited:
        _check_names(names, known, file, *at, key)
    _check_names(case.remove, known, file, *at, "metamorphic", "remove")


def _check_names(names: Sequence[str], known: Collection[str], file: YamlFile, *keys: str | int) -> None:
    for name in names:
        if name not in known:
            raise InvalidInput(
                f"{file.place(*keys)}: there is no document {name!r} in this corpus", hint=meant(name, known, what="documents")
            )


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
