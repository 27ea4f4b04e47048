"""`python -m eval run`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from eval.cli.chosen import Given, experiment_of, where
from eval.cli.options import (
    BoundsOption,
    CandidatesOption,
    ConfigOption,
    CorpusOption,
    DepthOption,
    FilesArgument,
    HomeOption,
    IndexesOption,
    JobsOption,
    LimitOption,
    MinConfidenceOption,
    NameOption,
    OnlyOption,
    PartOption,
    QuestionsOption,
    RetrievalOnlyOption,
    SplitOption,
    TimingOption,
    TopKOption,
)
from eval.cli.written import check_target, display
from eval.live_release import Live
from eval.questions import read_questions
from eval.results import Run
from eval.runs import DEFAULT_HOME, to_json, write_run
from eval.stages.cache import StageCache
from eval.target import Parity, parity
from rag_service.console import EXIT_ERROR, BarProgress, err, errors_in_words
from rag_service.digests import short_id
from rag_service.durable import write_atomically

_LISTED = 10

NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Do everything anew; what comes out is remembered.")]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="Address of a running service: ask it too, and compare.", show_default=False)
]
KeyOption = Annotated[
    str | None, typer.Option("--key", envvar="EVAL_API_KEY", help="API key of that service, scope ask.", show_default=False)
]
EveryMetricOption = Annotated[bool, typer.Option("--all", help="Show every metric, not only those to look at first.")]
JsonFileOption = Annotated[Path | None, typer.Option("--json", help="Write the whole run to a file.", show_default=False)]


def run(
    files: FilesArgument = None,
    config: ConfigOption = None,
    candidates: CandidatesOption = None,
    questions: QuestionsOption = None,
    corpus: CorpusOption = None,
    name: NameOption = None,
    only: OnlyOption = "*",
    split: SplitOption = None,
    limit: LimitOption = None,
    part: PartOption = None,
    depth: DepthOption = None,
    retrieval_only: RetrievalOnlyOption = False,
    bounds: BoundsOption = None,
    timing: TimingOption = None,
    jobs: JobsOption = None,
    top_k: TopKOption = None,
    min_confidence: MinConfidenceOption = None,
    no_cache: NoCacheOption = False,
    target: TargetOption = None,
    key: KeyOption = None,
    every_metric: EveryMetricOption = False,
    json_file: JsonFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    indexes: IndexesOption = None,
) -> None:
    """Ask every question of a set under every candidate, and score what comes back.

    Without anything: the bundled questions about this project's documentation, with the default settings. With a question set and
    --name: the release that is served. With settings files and --corpus: an index of each is built and asked. With --config: whatever
    eval.yaml says.

    What was done before is not done again: the same command goes on where an interrupted one was.

    Example: python -m eval run

    Example: python -m eval run questions.jsonl --name handbook

    Example: python -m eval run --candidates now.toml other.toml --questions questions.jsonl --corpus documents/

    With --target, a running service is asked the same: exit code 1 where it does not answer what the first candidate answers here.

    Example: python -m eval run -c eval.yaml --only 'top_k=*'
    """
    given = Given(
        config=config,
        files=tuple(files or ()),
        candidates=tuple(candidates or ()),
        questions=questions,
        corpus=corpus,
        name=name,
        indexes=indexes,
        split=split,
        limit=limit,
        part=part,
        depth=depth,
        retrieval_only=retrieval_only,
        bounds=bounds,
        timing=timing,
        jobs=jobs,
        settings={key: value for key, value in {"top_k": top_k, "min_confidence": min_confidence}.items() if value is not None},
    )
    with BarProgress() as progress, errors_in_words(interrupted=lambda: interrupted(progress)):
        check_target(json_file, "json")
        live = None if target is None else Live(target, key)
        found, folder = made(given, home, progress, only=only, no_cache=no_cache)
        same = None if live is None else parity(live, found.candidates[0], progress)
        if json_file is not None:
            write_atomically(json_file, to_json(found).encode())
    show(found, folder, json_file, everything=every_metric)
    if same is not None:
        _show_parity(same)


def made(given: Given, home: Path, progress: BarProgress, *, only: str = "*", no_cache: bool = False) -> tuple[Run, Path]:
    """The run, and the folder that it was written to."""
    from eval.running import Running  # loads FAISS, which reads OMP_NUM_THREADS then
    from rag_service.wiring.stores import open_catalog

    settings = where(given)
    experiment = experiment_of(given, settings)
    question_set = read_questions(experiment.questions, split=experiment.split)
    with StageCache.open(home) as cache:
        if cache.note:
            err.print(f"[yellow]{cache.note}[/yellow]", soft_wrap=True)
        used = cache.forgetful() if no_cache else cache
        running = Running(experiment, question_set, open_catalog(settings), used, progress)
        found = running.run(command=shlex.join(["python", "-m", "eval", *sys.argv[1:]]), only=only)
    return found, write_run(home, found)


def interrupted(progress: BarProgress) -> str:
    """How far a run had come when Ctrl-C ended it."""
    reached = "before the first question" if progress.total is None else f"after {progress.done:,} of {progress.total:,}"
    return f"interrupted {reached}; nothing that was done is lost: the same command goes on from there"


def _show_parity(same: Parity) -> None:
    for identifier, what in same.differing[:_LISTED]:
        display(Text(f"differs: {identifier}: {what}"))
    if same.other_release is not None:
        display(Text(f"{same.url} serves another release: {short_id(same.other_release)}"))
    if not same.holds:
        display(Text(f"{len(same.differing):,} of {same.asked:,} questions are answered otherwise by {same.url}"))
        raise typer.Exit(EXIT_ERROR)
    display(Text(f"{same.url} answers all {same.asked:,} questions as they are answered here"))


def show(run_: Run, folder: Path, json_file: Path | None, *, everything: bool) -> None:
    from eval.reports.table import table

    display(table(run_, everything=everything))
    if json_file is not None:
        err.print(f"[dim]written: {json_file}[/dim]", soft_wrap=True)
    more = "" if everything or len(run_.candidates) > 1 else "all metrics: --all; "
    err.print(f"[dim]{more}run {run_.id} in {folder}; read it: python -m eval report {run_.id} --html report.html[/dim]", soft_wrap=True)
    failed = [candidate for candidate in run_.candidates if candidate.counts.errors == candidate.counts.questions]
    for candidate in failed:
        first = next(row for row in candidate.rows if row.sample.failures).sample.failures[0]
        of = f" of {escape(candidate.name)}" if len(run_.candidates) > 1 else ""
        err.print(f"[bold red]error[/bold red] every question{of} failed; the first: {first.code}: ", end="")
        err.print(first.message, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(EXIT_ERROR)
