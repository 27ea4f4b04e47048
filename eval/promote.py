"""The verb: decision → what is served. Only the release that was decided on, only in place of the one it was compared with, and only for as
long as the running service behaves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval.adopt import adopt
from eval.decision import Decision, read_decision
from eval.first_reference import reference_at_promotion
from eval.live_release import Live, follows, served_digest
from eval.preparing import EVAL_SUFFIX
from eval.results import Measured, Row
from eval.rules import Case, shown
from eval.runs import read_run
from rag_service.catalog import Catalog
from rag_service.drift.folder import DriftFolder
from rag_service.drift.reference import Reference
from rag_service.errors import Mismatch, RagError
from rag_service.opened import Opened, Report
from rag_service.release import Release
from rag_service.settings import Settings
from rag_service.wiring.activating import checked, this_person
from rag_service.wiring.releases import open_release

Suite = Callable[[], Sequence[Case]]
"""Asks the running service; gives a verdict for each case."""

_LISTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be served in place of what. Everything that can be known before has been checked."""

    decision: Decision
    name: str
    """Of the index that is served."""
    release: Release
    rows: Sequence[Row]
    """What the evaluation asked of the release."""
    source: str
    """Index in which the version of the release lies."""
    previous: Release
    """As it is stored: what a rollback leads back to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    name: str
    release: str
    previous: str
    adopted: bool
    """The index version was copied from that of the evaluation."""
    behaviours: int | None
    """Cases that the running service passed; None where none was asked."""
    reference: Reference | RagError | None = field(default=None, compare=False)
    """Of drift, the first of the encoder; or why there is none."""


def plan(folder: Path, settings: Settings, catalog: Catalog, *, name: str | None = None) -> Plan:
    """What the decision in the folder of a run allows. `name` is the index that is served, where the run does not say.

    Raises `NotFound` where nothing was decided or is served, and `Mismatch` for every reason not to promote.
    """
    decision = read_decision(folder)
    if decision.verdict != "PROMOTE":
        raise Mismatch(
            f"the decision on {decision.candidate.name!r} is {decision.verdict}: {decision.reasons[0]}",
            hint="only PROMOTE is served by this command; `rag-service release activate` asks for no decision",
        )
    name = name or decision.base.index.removesuffix(EVAL_SUFFIX)
    decided = _decided(folder, decision)
    return Plan(
        decision=decision,
        name=name,
        release=decided.release.content,
        rows=decided.rows,
        source=decision.candidate.index,
        previous=_replaced(decision, settings, catalog, name),
    )


def promote(
    planned: Plan,
    settings: Settings,
    catalog: Catalog,
    *,
    live: Live | None,
    suite: Suite,
    why: str = "",
    told: Report = lambda _check, _state: None,
) -> Promoted:
    """Serves the release after every check that an activation makes. With `live`, the running service must serve what was compared with
    before, follow within seconds, and pass the suite; else what was served before is served again.

    Raises what the failed check raises; `Mismatch` where the service did not follow or behave, after going back.
    """
    name, release, decision = planned.name, planned.release, planned.decision
    if live is not None:
        _check_live(live, decision)
    adopted = adopt(catalog, name, release.index, planned.source)
    opened = checked(settings, catalog, name, release, told=told)
    if opened.differences:
        raise Mismatch(
            f"what would answer here is not what was decided on: {' and '.join(opened.differences)} changed since the evaluation",
            hint="run the evaluation with what is installed now, and decide again",
        )
    reference = _reference(planned.rows, settings, catalog, opened)
    del opened  # as large as what the service holds
    why = why or _reason(decision)
    if live is None:
        catalog.activate(name, release, who=this_person(), why=why, expected=planned.previous.id)
        behaviours = None
    else:
        behaviours = _proved_live(planned, catalog, live, suite, why=why)
    return Promoted(
        name=name,
        release=release.id,
        previous=planned.previous.id,
        adopted=adopted,
        behaviours=behaviours,
        reference=_kept(reference, catalog),
    )


def keep_reference(settings: Settings, catalog: Catalog, opened: Opened) -> Reference | RagError | None:
    """The first of drift that the encoder of a release has, once that is served again; or why there is none."""
    return _kept(_reference((), settings, catalog, opened), catalog)


def _reference(rows: Sequence[Row], settings: Settings, catalog: Catalog, opened: Opened) -> Reference | RagError | None:
    """Made while the release is open, and stored when it is served. Whatever comes of it, the release is promoted."""
    try:
        return reference_at_promotion(rows, settings, catalog, opened.pipeline)
    except RagError as error:
        return error


def _kept(reference: Reference | RagError | None, catalog: Catalog) -> Reference | RagError | None:
    if isinstance(reference, Reference):
        try:
            DriftFolder(catalog.drift_folder(reference.index)).add(reference)
        except RagError as error:
            return error
    return reference


def _decided(folder: Path, decision: Decision) -> Measured:
    """The candidate that was decided on, as the run holds it."""
    run = read_run(folder)
    found = next((one for one in run.candidates if one.name == decision.candidate.name), None)
    wanted = decision.candidate.release_digest
    if run.id != decision.candidate.run or found is None or not found.release.digest == found.release.content.digest == wanted:
        raise Mismatch(
            f"the decision is about release {decision.candidate.release} of run {decision.candidate.run}; {folder.name} does not hold it",
            hint="decide again: the run was made anew, or the decision is of another one",
        )
    return found


def _replaced(decision: Decision, settings: Settings, catalog: Catalog, name: str) -> Release:
    """The release that is served and was compared with."""
    previous = catalog.release(name, catalog.active_id(name))
    wanted = decision.base.release_digest
    if previous.digest == decision.candidate.release_digest:
        raise Mismatch(f"{name!r} serves release {previous.id} already", hint="there is nothing to promote")
    if previous.digest == wanted or _running(previous, decision, settings, catalog, name) == wanted:
        return previous
    raise Mismatch(
        f"{name!r} serves release {previous.id}, and the candidate was compared with release {decision.base.release}",
        hint="evaluate the candidate beside what is served now, and decide again",
    )


def _running(stored: Release, decision: Decision, settings: Settings, catalog: Catalog, name: str) -> str | None:
    """Digest of what a stored release is when it is opened with what is installed here; None where that cannot be the base anyway."""
    if stored.index.version != decision.base.index_version:
        return None
    return open_release(settings, catalog, name, stored).pipeline.lineage.release.digest


def _check_live(live: Live, decision: Decision) -> None:
    found = served_digest(live)
    if found != decision.base.release_digest:
        raise Mismatch(
            f"the service at {live.url} serves release {found.removeprefix('sha256:')[:12]}, and the candidate was compared with release "
            f"{decision.base.release}",
            hint="is it the right address, and does it run the code that was evaluated? --no-live promotes without asking it",
        )


def _proved_live(planned: Plan, catalog: Catalog, live: Live, suite: Suite, *, why: str) -> int:
    """How many cases passed. Whatever goes wrong once it is served, the release before is served again first."""
    release = planned.release
    try:
        catalog.activate(planned.name, release, who=this_person(), why=why, expected=planned.previous.id)
        says = follows(live, release.digest)
        if says is not None:
            raise Mismatch(f"the service at {live.url} does not follow to release {release.id}; it says: {says}", hint="look into its log")
        tried = suite()
        failed = [case.name for case in tried if case.must and not case.passed]
        if failed:
            named = ", ".join(failed[:_LISTED]) + (", …" if len(failed) > _LISTED else "")
            raise Mismatch(
                f"{len(failed):,} of {sum(case.must for case in tried):,} cases that must pass fail on the running service: {named}",
                hint="`python -m eval behave` shows what was expected",
            )
    except BaseException as error:
        if catalog.served_id(planned.name) == release.id:
            _back(planned, catalog, live, error)
        raise
    return sum(case.passed for case in tried)


def _back(planned: Plan, catalog: Catalog, live: Live, error: BaseException) -> None:
    """Serves the very release that was served before, and says so in the error."""
    name, previous = planned.name, planned.previous
    try:
        catalog.activate(name, previous, who=this_person(), why=_short(error), action="rollback", expected=planned.release.id)
    except RagError as failure:
        raise type(failure)(
            f"{_short(error)}; and {name!r} could not be rolled back: {failure.message}",
            hint=f"do it by hand: rag-service release rollback {name} {previous.id}",
        ) from error
    if isinstance(error, RagError):
        says = follows(live, planned.decision.base.release_digest)
        error.message += f"; release {previous.id} is served again" + ("" if says is None else f", but {live.url} says: {says}")
        error.args = (error.message,)


def _short(error: BaseException) -> str:
    return error.message if isinstance(error, RagError) else type(error).__name__


def _reason(decision: Decision) -> str:
    primary = decision.primary
    if primary is None or primary.base is None or primary.candidate is None:
        return f"decided by run {decision.candidate.run}"
    before, now = shown(primary.metric, primary.base), shown(primary.metric, primary.candidate)
    return f"decided by run {decision.candidate.run}: {primary.metric} {before} → {now}"
