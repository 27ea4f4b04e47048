"""`python -m eval behave`."""

from pathlib import Path
from typing import Annotated

import typer

from eval.behaviours import Original, bundled_cases, little_indexes, live_cases, read_cases, run_behaviours, run_live
from eval.behaviours.case import Case
from eval.behaviours.report import Behaved, behaved, table, to_json
from eval.candidate import Candidate, candidate_of_file
from eval.cli.options import HomeOption, IndexesOption, NameOption
from eval.cli.written import check_target, display, write
from eval.runs import DEFAULT_HOME
from rag_service.console import EXIT_ERROR, BarProgress, errors_in_words
from rag_service.errors import InvalidInput, InvalidSettings
from rag_service.settings import load_settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings file, as the service is started with.", show_default=False)
]
UrlOption = Annotated[str | None, typer.Option("--url", help="A running service, asked over HTTP.", show_default=False)]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", envvar="EVAL_API_KEY", help="API key of that service, of the scope ask.", show_default=False),
]
CasesOption = Annotated[list[Path] | None, typer.Option("--cases", help="Files of cases; default the bundled ones.", show_default=False)]
JsonFileOption = Annotated[Path | None, typer.Option("--json", help="Write every verdict to a file.", show_default=False)]
JunitFileOption = Annotated[Path | None, typer.Option("--junit", help="Write them as JUnit XML, for a build server.", show_default=False)]


def behave(
    name: NameOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    cases: CasesOption = None,
    json_file: JsonFileOption = None,
    junit_file: JunitFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    indexes: IndexesOption = None,
) -> None:
    """Try the behaviour suite: paraphrases, typing errors, negations, questions without an answer, instructions in documents, and more.

    Little corpora are built and asked with the default settings, with those of a file (--config), or the way the active release of an
    index answers (--name). With --url, a running service is asked what can be asked of any. Exit code 1 where a case fails that must pass.

    Example: python -m eval behave

    Example: python -m eval behave --config candidate.toml --json behaviours.json

    Example: python -m eval behave --url http://127.0.0.1:8000
    """
    with BarProgress() as progress, errors_in_words():
        if sum(given is not None for given in (name, config, url)) > 1:
            raise InvalidSettings("--name, --config and --url name different things to try", hint="give one of them")
        check_target(json_file, "json")
        check_target(junit_file, "junit")
        tried = _cases(cases, live=url is not None)
        found = _live(url, tried, key, progress) if url is not None else _little(name, config, tried, home, indexes, progress)
        if json_file is not None:
            write(json_file, to_json(found))
        if junit_file is not None:
            from eval.reports.junit import behaviours_junit

            write(junit_file, behaviours_junit(found.verdicts))
    display(table(found))
    if not found.passed:
        raise typer.Exit(EXIT_ERROR)


def _cases(files: list[Path] | None, *, live: bool) -> tuple[Case, ...]:
    """Those that can be asked here. Raises what reading raises, and `InvalidInput` where none is left."""
    if not files:
        return live_cases() if live else bundled_cases()
    found = [case for case in read_cases(files) if (case.kind == "live") is live]
    if not found:
        where = "of a running service" if live else "of little corpora"
        raise InvalidInput(f"no case in {', '.join(map(str, files))} is asked {where}", hint="cases of kind: live are asked with --url")
    return tuple(found)


def _live(url: str, cases: tuple[Case, ...], key: str | None, progress: BarProgress) -> Behaved:
    return behaved(url, run_live(url, cases, key, progress=progress))


def _little(
    name: str | None, config: Path | None, cases: tuple[Case, ...], home: Path, indexes: Path | None, progress: BarProgress
) -> Behaved:
    from rag_service.wiring.stores import open_catalog  # loads FAISS, which reads OMP_NUM_THREADS then

    of_machine = load_settings(indexes=indexes)
    candidate = candidate_of_file(config) if config is not None else Candidate("defaults", "the default settings")
    settings, like, of = candidate.settings(of_machine.indexes), None, candidate.origin
    if name is not None:
        catalog = open_catalog(of_machine)
        release = catalog.release(name, catalog.active_id(name))
        like = Original.of(catalog, name, release)
        of = f"release {release.id} of {name}"
    with little_indexes(settings, home=home, like=like) as little:
        return behaved(of, run_behaviours(cases, little.ask, progress))
