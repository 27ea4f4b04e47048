"""Candidates as they are named on the command line: by their name in a run, or as NAME@RUN in another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.counting import counted
from eval.results import Measured, Run
from eval.runs import read_run, run_folder
from rag_service.errors import InvalidSettings, NotFound

PAIR = "[RUN] BASE CANDIDATE"
PAIR_HELP = "Names in a run, by default the latest; NAME@RUN is of another."


@dataclass(frozen=True, slots=True)
class Named:
    """A candidate of a run. Nobody has looked whether it has one of that name."""

    folder: Path
    run: Run
    name: str

    @property
    def measured(self) -> Measured:
        return next(one for one in self.run.candidates if one.name == self.name)


def named_pair(home: Path, names: Sequence[str]) -> tuple[Named, Named]:
    """Base and candidate, of the same `Run` where they are of one. Raises `InvalidSettings`, `NotFound`, or what reading a run raises."""
    if len(names) not in (2, 3):
        raise InvalidSettings(
            f"{counted(len(names), 'name')} given", hint="give BASE and CANDIDATE, or RUN, BASE and CANDIDATE", param="names"
        )
    *run, base, candidate = names
    naming = _Naming(home, run[0] if run else "latest")
    return naming.of(base), naming.of(candidate)


class _Naming:
    """Reads every run once."""

    def __init__(self, home: Path, default: str) -> None:
        self._home = home
        self._default = default
        self._read: dict[Path, Run] = {}

    def of(self, name: str) -> Named:
        """Names may hold an @ themselves: what a candidate of the run is called comes first."""
        in_run, at, run = name.rpartition("@")
        if not at:
            return self._in(self._default, name)
        try:
            found = self._in(self._default, name)
        except NotFound:
            return self._in(run, in_run)
        return found if any(one.name == name for one in found.run.candidates) else self._in(run, in_run)

    def _in(self, run: str, name: str) -> Named:
        folder = run_folder(self._home, run)
        if folder not in self._read:
            self._read[folder] = read_run(folder)
        return Named(folder, self._read[folder], name)
