"""The noun: what is compared with what, on which questions. Written as `eval.yaml`:

    questions: questions.jsonl
    corpus: documents/                      # what the candidates' indexes are built from
    name: handbook                          # whose release is `served`
    candidates:
      served: {from: served}
      base: base.toml                       # the file that the service is started with
      small: {from: base, chunk_tokens: 96}
    grid:
      from: base
      axes: {chunk_tokens: [96, 192], top_k: [3, 5]}
      exclude: [{chunk_tokens: 96, top_k: 3}]

Paths are relative to the file. Everything else has a default.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from eval.candidate import CANDIDATE_FIELDS, Candidate, Trivial, candidate_of_file
from eval.yaml_file import YamlFile, checked, meant, read_yaml
from rag_service.errors import InvalidInput, InvalidSettings

Bound = Literal["oracle", "closed_book", "exact_index"]
Part = Literal["all", "dev", "test"]

DEFAULT_DEPTH = 50
"""Chunks retrieved for the retrieval metrics."""
MOST_CANDIDATES = 2000

Value = str | int | float | bool | None | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    questions: Path
    split: str | None = None
    """Judgements of a BEIR folder."""
    corpus: str | None = None
    """File, folder or pattern; None where only served releases are measured."""
    name: str = "demo"
    candidates: tuple[Candidate, ...]
    """The first is what the others are compared with."""
    part: Part = "all"
    test_share: float = 0.0
    """Of the questions, sealed until a decision is taken on them; 0 seals none."""
    seed: int = 7
    bounds: tuple[Bound, ...] = ("oracle",)
    depth: int = DEFAULT_DEPTH
    timeout_s: float = 60.0
    limit: int | None = None
    answers: bool = True
    timing: int = 0
    """Questions of a serial pass without caches; 0 takes no times."""
    jobs: int = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_bounds(value: object) -> object:
    """`none`, as on the command line."""
    return () if value == "none" else value


class _Questions(_Strict):
    path: str
    split: str | None = None


class _Splits(_Strict):
    test: float = Field(ge=0.0, le=0.9)
    seed: int = 7


class _Written(BaseModel):
    """Its other keys are settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    from_: Annotated[str, Field(alias="from")] = "defaults"
    trivial: Trivial | None = None


class _Grid(_Strict):
    from_: Annotated[str, Field(alias="from")] = "defaults"
    axes: dict[str, Annotated[list[Value], Field(min_length=1)]]
    exclude: list[dict[str, Value]] = []


class _File(_Strict):
    version: Literal[1] = 1
    questions: str | _Questions
    corpus: str | None = None
    name: str = "demo"
    candidates: dict[str, str | _Written] = {}
    grid: _Grid | None = None
    part: Part = "all"
    splits: _Splits | None = None
    bounds: Annotated[tuple[Bound, ...], BeforeValidator(_no_bounds)] = ("oracle",)
    depth: int = Field(DEFAULT_DEPTH, ge=10, le=10_000)
    timeout_s: float = Field(60.0, gt=0, le=3600)
    limit: int | None = Field(None, ge=1)
    answers: bool = True
    timing: int = Field(0, ge=0)
    jobs: int = Field(1, ge=1, le=64)


def read_experiment(path: Path) -> Experiment:
    """Raises `NotFound`, `InvalidInput` or `InvalidSettings`, each naming file and line."""
    file = read_yaml(path)
    read = checked(_File, file)
    asked = read.questions if isinstance(read.questions, _Questions) else _Questions(path=read.questions)
    candidates = tuple(_candidates(read, file))
    if not candidates:
        raise InvalidInput(f"{path.name}: there is no candidate", hint="write candidates: {base: {from: defaults}}, or a grid")
    if read.corpus is None and (built := next((one for one in candidates if not one.served), None)):
        raise InvalidInput(
            f"{path.name}: the candidate {built.name!r} needs an index, and no corpus is named",
            hint="write corpus: path/to/documents, or begin from `served`",
        )
    beside = path.parent
    return Experiment(
        questions=beside / asked.path,
        split=asked.split,
        corpus=None if read.corpus is None else str(beside / read.corpus),
        name=read.name,
        candidates=candidates,
        part=read.part,
        test_share=read.splits.test if read.splits else 0.0,
        seed=read.splits.seed if read.splits else 7,
        bounds=read.bounds,
        depth=read.depth,
        timeout_s=read.timeout_s,
        limit=read.limit,
        answers=read.answers,
        timing=read.timing,
        jobs=read.jobs,
    )


def _candidates(read: _File, file: YamlFile) -> Iterator[Candidate]:
    known: dict[str, Candidate] = {}
    for name, written in read.candidates.items():
        known[name] = _candidate(name, written, known, file, "candidates", name)
        yield known[name]
    if read.grid is not None:
        taken = set(known)
        for candidate in _grid(read.grid, known, file):
            if candidate.name in taken:
                raise InvalidInput(
                    f"{file.place('grid')}: there are two candidates {candidate.name!r}",
                    hint="delete one of them",
                )
            taken.add(candidate.name)
            yield candidate


def _candidate(name: str, written: str | _Written, known: Mapping[str, Candidate], file: YamlFile, *at: str) -> Candidate:
    if isinstance(written, str):
        return replace(_base(written, known, file, *at), name=name)
    base, given = _base(written.from_, known, file, *at), written.model_extra or {}
    for setting in given:
        _check_setting(setting, file, *at, setting, beside=("from", "trivial"))
    candidate = replace(base, name=name, given={**base.given, **given}, trivial=written.trivial or base.trivial)
    candidate.check()
    return candidate


def _base(begins: str, known: Mapping[str, Candidate], file: YamlFile, *at: str) -> Candidate:
    if begins in known:
        return replace(known[begins], origin=file.place(*at))
    if begins in {"served", "defaults"}:
        return Candidate(begins, file.place(*at), served=begins == "served")
    if begins.endswith(".toml"):
        path = file.path.parent / begins
        if not path.is_file():
            raise InvalidInput(f"{file.place(*at)}: there is no file {path}", hint="paths are relative to the file that names them")
        return candidate_of_file(path)
    raise InvalidInput(
        f"{file.place(*at)}: there is no candidate {begins!r} before this one",
        hint=meant(begins, {*known, "served", "defaults"}, what="names") + "; a file ends in .toml",
    )


def _grid(grid: _Grid, known: Mapping[str, Candidate], file: YamlFile) -> Iterator[Candidate]:
    base = _base(grid.from_, known, file, "grid")
    for axis in grid.axes:
        _check_setting(axis, file, "grid", "axes", axis)
    for setting in {name: None for excluded in grid.exclude for name in excluded}:
        if setting not in grid.axes:
            raise InvalidInput(f"{file.place('grid', 'exclude')}: {setting!r} is no axis", hint=meant(setting, grid.axes, what="axes"))
    if (size := _size(grid)) > MOST_CANDIDATES:
        raise InvalidInput(
            f"{file.place('grid')}: the grid has {size:,} candidates, at most {MOST_CANDIDATES:,} are run", hint="leave out values"
        )
    for values in product(*grid.axes.values()):
        point = dict(zip(grid.axes, values, strict=True))
        if any(all(point[name] == value for name, value in excluded.items()) for excluded in grid.exclude):
            continue
        name = ",".join(f"{axis}={value}" for axis, value in point.items())
        candidate = Candidate(name, file.place("grid"), {**base.given, **point}, served=base.served, trivial=base.trivial)
        candidate.check()
        yield candidate


def _size(grid: _Grid) -> int:
    return math.prod(map(len, grid.axes.values()))


def _check_setting(name: str, file: YamlFile, *at: str, beside: Sequence[str] = ()) -> None:
    """`beside` are the other keys that may stand there."""
    if name not in CANDIDATE_FIELDS:
        raise InvalidSettings(
            f"{file.place(*at)}: there is no setting {name!r} that can change an answer",
            hint=meant(name, (*CANDIDATE_FIELDS, *beside), what="settings"),
        )
