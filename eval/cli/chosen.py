"""From a command line to an experiment: what was given, and sensible things for what was not."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast, get_args

import eval as harness
from eval.candidate import Candidate, candidate_of_file
from eval.experiment import Bound, Experiment, Part, read_experiment
from eval.yaml_file import meant
from rag_service.errors import InvalidSettings
from rag_service.settings import Settings, load_settings

_PROJECT = Path(harness.__file__).resolve().parents[1]
BUNDLED_QUESTIONS = Path(harness.__file__).resolve().parent / "datasets" / "docs.jsonl"
BUNDLED_CORPUS = _PROJECT / "docs"
BUNDLED_NAME = "docs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What stood on the command line; None, False and empty are what was not given."""

    config: Path | None = None
    files: tuple[Path, ...] = ()
    candidates: tuple[Path, ...] = ()
    questions: Path | None = None
    corpus: str | None = None
    name: str | None = None
    indexes: Path | None = None
    split: str | None = None
    limit: int | None = None
    part: str | None = None
    depth: int | None = None
    retrieval_only: bool = False
    bounds: str | None = None
    timing: int | None = None
    jobs: int | None = None
    settings: dict[str, object] = field(default_factory=dict)
    """Of the one candidate that is measured where no file names others."""


def where(given: Given) -> Settings:
    """The folder of indexes and the name, as the service would find them."""
    return load_settings(name=given.name, indexes=given.indexes)


def experiment_of(given: Given, where_: Settings) -> Experiment:
    """Raises `InvalidSettings` for what does not go together, and what reading the files raises."""
    base = _of_config(given, given.config) if given.config is not None else _of_words(given, where_)
    changes: dict[str, object] = {
        "limit": given.limit,
        "split": given.split,
        "part": _part(given.part),
        "depth": given.depth,
        "bounds": _bounds(given.bounds),
        "timing": given.timing,
        "jobs": given.jobs,
        "answers": False if given.retrieval_only else None,
    }
    return replace(base, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]


def _of_config(given: Given, config: Path) -> Experiment:
    if given.files or given.candidates or given.questions or given.settings or given.corpus:
        raise InvalidSettings(
            "questions, candidates and corpus stand in the file of --config", hint="give the one or the other", param="config"
        )
    found = read_experiment(config)
    return found if given.name is None else replace(found, name=given.name)


def _of_words(given: Given, where_: Settings) -> Experiment:
    settings_files = [path for path in (*given.candidates, *given.files) if path.suffix == ".toml"]
    question_files = [path for path in (*given.files, given.questions) if path is not None and path.suffix != ".toml"]
    if len(question_files) > 1:
        shown = ", ".join(map(str, question_files))
        raise InvalidSettings(f"one question set can be asked at a time, not {shown}", hint="put them into one file", param="questions")
    if not question_files and not settings_files and given.name is None and given.corpus is None:
        return _bundled(given)
    if not question_files:
        raise InvalidSettings(
            "no question set is named", hint="give a file of questions: python -m eval run questions.jsonl", param="questions"
        )
    candidates = [candidate_of_file(path) for path in settings_files]
    if given.settings and candidates:
        name = next(iter(given.settings)).replace("_", "-")
        raise InvalidSettings(f"--{name} and settings files do not go together", hint="write it into the file", param="candidates")
    if not candidates:
        served = given.corpus is None
        candidates = [Candidate("served" if served else "defaults", "the command line", given.settings, served=served)]
    if given.corpus is None and not candidates[0].served:
        raise InvalidSettings(
            f"the candidate {candidates[0].name!r} needs an index, and no corpus is named",
            hint="name the documents with --corpus, as in --corpus docs/",
            param="corpus",
        )
    return Experiment(questions=question_files[0], corpus=given.corpus, name=where_.name, candidates=tuple(_distinct(candidates)))


def _bundled(given: Given) -> Experiment:
    if not BUNDLED_CORPUS.is_dir():
        raise InvalidSettings(
            "the bundled questions are about the documentation of this project, which is not installed here",
            hint="give questions of your own: python -m eval run questions.jsonl --name handbook",
            param="questions",
        )
    candidate = Candidate("defaults", "the defaults", given.settings)
    return Experiment(questions=BUNDLED_QUESTIONS, corpus=str(BUNDLED_CORPUS), name=BUNDLED_NAME, candidates=(candidate,))


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Files of one name in several folders are told apart by their paths. Raises `InvalidSettings` for one file twice."""
    origins = [candidate.origin for candidate in candidates]
    if twice := next((origin for origin in origins if origins.count(origin) > 1), None):
        raise InvalidSettings(f"the settings file {twice} is named twice", hint="name each candidate once", param="candidates")
    names = [candidate.name for candidate in candidates]
    return [replace(one, name=one.origin) if names.count(one.name) > 1 else one for one in candidates]


def _part(written: str | None) -> Part | None:
    if written is not None and written not in get_args(Part):
        raise InvalidSettings(f"--part is {written!r}", hint=meant(written, get_args(Part), what="parts"), param="part")
    return cast("Part | None", written)


def _bounds(written: str | None) -> tuple[Bound, ...] | None:
    if written is None:
        return None
    names = [] if written == "none" else [name.strip() for name in written.split(",") if name.strip()]
    for name in names:
        if name not in get_args(Bound):
            raise InvalidSettings(f"--bounds holds {name!r}", hint=meant(name, get_args(Bound), what="bounds"), param="bounds")
    return cast("tuple[Bound, ...]", tuple(names))
