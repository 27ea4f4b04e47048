"""`python -m eval gate` and `python -m eval choose`."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from eval.cli.named import PAIR, PAIR_HELP, Named, named_pair
from eval.cli.options import HomeOption, IndexesOption
from eval.cli.written import check_target, display, write
from eval.comparable import decided_part, questions_digest
from eval.counting import counted
from eval.decision import Decision, decision_json, write_decision
from eval.gate import decide_between, obstacles
from eval.looks import look, looks_with
from eval.policy import Behaviours, Policy, read_policy
from eval.rules import Case
from eval.runs import DECISION_FILE, DEFAULT_HOME, read_run, run_folder
from rag_service.console import EXIT_USAGE, BarProgress, err, errors_in_words, tell
from rag_service.errors import InvalidInput, RagError
from rag_service.settings import load_settings

PolicyOption = Annotated[
    Path | None, typer.Option("--policy", "-p", help="What is asked of a candidate; default: more right answers.", show_default=False)
]
JsonFileOption = Annotated[Path | None, typer.Option("--json", help="Write the decision to a file as well.", show_default=False)]
MdFileOption = Annotated[Path | None, typer.Option("--md", help="Write it as Markdown, for a pull request.", show_default=False)]
JunitFileOption = Annotated[Path | None, typer.Option("--junit", help="Write it as JUnit XML, for a build server.", show_default=False)]


def gate(
    names: Annotated[
        list[str],
        typer.Argument(metavar=PAIR, help=PAIR_HELP),
    ],
    policy: PolicyOption = None,
    json_file: JsonFileOption = None,
    md_file: MdFileOption = None,
    junit_file: JunitFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    indexes: IndexesOption = None,
) -> None:
    """Decide whether a candidate may take the place of the base.

    PROMOTE (exit code 0), REJECT (1), INCONCLUSIVE with the number of questions that would tell (3), or INVALID with the field for which
    the two cannot be compared (4). A wrong call is 2. The decision stands in the folder of the run; `promote` acts on it.

    Example: python -m eval gate served small --policy policy.yaml

    Example: python -m eval gate 3f2a served 'top_k=3' --md decision.md
    """
    with BarProgress() as progress, _wrong_calls():
        for file, option in ((json_file, "json"), (md_file, "md"), (junit_file, "junit")):
            check_target(file, option)
        asked = read_policy(policy)
        base, candidate = named_pair(home, names)
        decision = _decided(base, candidate, asked, home, indexes, progress)
        kept = write_decision(candidate.folder, decision)
        _write(decision, json_file, md_file, junit_file)
    _show(decision, candidate, kept=kept)
    raise typer.Exit(decision.exit_code)


def choose(
    names: Annotated[list[str], typer.Argument(metavar="[RUN] BASE", help="Run (default the latest), and the candidate to beat.")],
    policy: PolicyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Choose, among all candidates of a run, the one to take to the test part.

    Of those that beat the base, corrected for how many there are, and break no guardrail: the cheapest that is as good as the best within
    one standard error. Exit code 1 where none beats the base.

    Example: python -m eval choose served --policy policy.yaml
    """
    from eval.choosing import choose as chosen_of
    from eval.cli.decision_table import choice_table

    with _wrong_calls():
        if len(names) > 2:
            raise InvalidInput(f"{counted(len(names), 'name')} given", hint="give BASE, or RUN and BASE", param="names")
        run = read_run(run_folder(home, names[0] if len(names) == 2 else "latest"))
        choice = chosen_of(run, names[-1], read_policy(policy))
    display(choice_table(choice))
    raise typer.Exit(0 if choice.chosen else 1)


@contextmanager
def _wrong_calls() -> Iterator[None]:
    """What goes wrong ends with 2: 1 says that a candidate was rejected."""
    with errors_in_words():
        try:
            yield
        except RagError as error:
            tell(error)
            raise typer.Exit(EXIT_USAGE) from error


def _decided(base: Named, candidate: Named, policy: Policy, home: Path, indexes: Path | None, progress: BarProgress) -> Decision:
    one, other = (base.run, base.name), (candidate.run, candidate.name)
    why_not = obstacles(*one, *other, policy)  # says which names there are before these are looked up
    pair = base.measured.release.digest, candidate.measured.release.digest
    test = questions_digest(candidate.run, policy) if decided_part(candidate.run, policy) == "test" else None
    looked = 0 if test is None else looks_with(home, test, *pair)
    why_not = why_not or obstacles(*one, *other, policy, looks=looked)
    tried = None if policy.behaviours is None or why_not else _tried(candidate, policy.behaviours, home, indexes, progress)
    decision = decide_between(*one, *other, policy, behaviours=tried, looks=looked)
    if test is not None and decision.verdict != "INVALID":
        look(home, test, *pair)
    command = shlex.join(["python", "-m", "eval", *sys.argv[1:]])
    return replace(decision, decided_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), command=command)


def _tried(candidate: Named, asked: Behaviours, home: Path, indexes: Path | None, progress: BarProgress) -> Sequence[Case]:
    """The suite, over little corpora that are answered as the candidate answers."""
    from eval.behaviours import Original, bundled_cases, little_indexes, read_cases, run_behaviours  # loads FAISS
    from rag_service.wiring.stores import open_catalog

    measured = candidate.measured
    cases = bundled_cases() if asked.file is None else [case for case in read_cases([asked.file]) if case.kind != "live"]
    settings = load_settings(indexes=indexes)
    original = Original.of(open_catalog(settings), measured.index.name, measured.release.content)
    with little_indexes(settings, home=home, like=original) as little:
        return run_behaviours(cases, little.ask, progress)


def _write(decision: Decision, json_file: Path | None, md_file: Path | None, junit_file: Path | None) -> None:
    if json_file is not None:
        write(json_file, decision_json(decision))
    if md_file is not None:
        from eval.reports.markdown import decision_markdown

        write(md_file, decision_markdown(decision))
    if junit_file is not None:
        from eval.reports.junit import decision_junit

        write(junit_file, decision_junit(decision))


def _show(decision: Decision, candidate: Named, *, kept: bool) -> None:
    from eval.cli.decision_table import decision_table

    display(decision_table(decision))
    said = "written" if kept else "what was decided before stands"
    err.print(f"[dim]{said}: {candidate.folder / DECISION_FILE}[/dim]", soft_wrap=True)
    if decision.verdict == "PROMOTE":
        err.print(f"[dim]serve it: python -m eval promote {decision.candidate.run}[/dim]", soft_wrap=True)
