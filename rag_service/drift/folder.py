"""Where drift keeps its files, beside the releases of an index.

<index>/drift/references/<id>.json          references, each named by its content
<index>/drift/canaries/<release id>.json    what a release answered to the canary questions when it was activated first
<index>/drift/report.json                   the last report, which the page and the metrics show
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from rag_service.digests import canonical_json
from rag_service.drift.canaries import CanaryAnswers
from rag_service.drift.reference import Reference
from rag_service.drift.report import Report
from rag_service.durable import storage_errors, write_atomically
from rag_service.errors import Damaged, NotFound
from rag_service.stored import Frozen, read_addressed, read_bytes

_Stored = TypeVar("_Stored", bound=Frozen)
_ID = re.compile(r"[0-9a-f]{12}")
_MAKE = "make one with `rag-service drift reference`"


@dataclass(frozen=True, slots=True)
class DriftFolder:
    """Reads and writes files; holds no state of its own."""

    path: Path

    @property
    def references_folder(self) -> Path:
        return self.path / "references"

    @property
    def canaries_folder(self) -> Path:
        return self.path / "canaries"

    @property
    def report_path(self) -> Path:
        return self.path / "report.json"

    def references(self) -> list[Reference]:
        """Newest first; those that cannot be read are left out."""
        found = []
        for path in self.references_folder.glob("*.json"):
            if _ID.fullmatch(path.stem):
                try:
                    found.append(self.reference(path.stem))
                except Damaged:
                    continue
        return sorted(found, key=lambda reference: (reference.made_at, reference.id), reverse=True)

    def reference(self, identifier: str) -> Reference:
        """Raises `NotFound`, or `Damaged` where the file is not what its name says."""
        path = self.references_folder / f"{identifier}.json"
        if not _ID.fullmatch(identifier) or not path.is_file():
            raise NotFound(f"there is no reference {identifier}", hint="`rag-service drift references` shows which there are")
        return read_addressed(Reference, path, identifier, hint=_MAKE)

    def newest_for(self, encoder: str, name: str) -> Reference:
        """Of those of an encoder: the newest of traffic, else the newest of an evaluation. Raises `NotFound` where there is none at all,
        and `Mismatch` where there are only others'.
        """
        found = self.references()
        for reference in sorted(found, key=lambda reference: not reference.of_traffic):  # keeps the newest first
            if reference.encoder.digest == encoder:
                return reference
        if found:
            found[0].check_encoder(encoder, name)
        raise NotFound("there is no reference to compare with", hint=_MAKE)

    def add(self, reference: Reference) -> None:
        write_atomically(self.references_folder / f"{reference.id}.json", reference.canonical())

    def forget(self, identifier: str) -> None:
        """Raises `NotFound`."""
        path = self.references_folder / f"{identifier}.json"
        if not _ID.fullmatch(identifier) or not path.is_file():
            raise NotFound(f"there is no reference {identifier}", hint="`rag-service drift references` shows which there are")
        with storage_errors(path.name):
            path.unlink()

    def report(self) -> Report | None:
        """The last one. Raises `Damaged`."""
        return self._read(Report, self.report_path)

    def write_report(self, report: Report) -> None:
        write_atomically(self.report_path, _bytes(report))

    def canary_answers(self, release: str) -> CanaryAnswers | None:
        """Raises `Damaged`."""
        return self._read(CanaryAnswers, self.canaries_folder / f"{release}.json")

    def keep_canary_answers(self, answers: CanaryAnswers) -> None:
        """Unless there are earlier ones of the same release, which are what counts."""
        path = self.canaries_folder / f"{answers.release}.json"
        if not path.is_file():
            write_atomically(path, _bytes(answers))

    def _read(self, model: type[_Stored], path: Path) -> _Stored | None:
        if not path.is_file():
            return None
        try:
            return model.model_validate_json(read_bytes(path))
        except ValidationError as error:
            raise Damaged(f"drift/{path.name} does not follow its schema", hint="remove it; it is made anew") from error


def _bytes(document: Frozen) -> bytes:
    return canonical_json(document.model_dump(mode="json", by_alias=True))
