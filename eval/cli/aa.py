"""`python -m eval aa`."""

import typer
from rich.table import Table
from rich.text import Text

from eval.cli.chosen import Given, experiment_of, where
from eval.cli.options import (
    ConfigOption,
    CorpusOption,
    FilesArgument,
    HomeOption,
    IndexesOption,
    LimitOption,
    NameOption,
    OnlyOption,
    QuestionsOption,
)
from eval.cli.run import interrupted
from eval.cli.written import display
from eval.questions import read_questions
from eval.results import Row
from eval.runs import DEFAULT_HOME
from eval.stages.cache import StageCache
from rag_service.console import EXIT_ERROR, BarProgress, errors_in_words

_LISTED = 10


def aa(
    files: FilesArgument = None,
    config: ConfigOption = None,
    questions: QuestionsOption = None,
    corpus: CorpusOption = None,
    name: NameOption = None,
    only: OnlyOption = "*",
    limit: LimitOption = None,
    home: HomeOption = DEFAULT_HOME,
    indexes: IndexesOption = None,
) -> None:
    """Ask each candidate twice, the second time with nothing remembered, and say where it differs from itself.

    Whatever differs is no difference between candidates. Exit code 1 where anything does.

    Example: python -m eval aa -c eval.yaml --limit 100
    """
    from eval.running import Running  # loads FAISS, which reads OMP_NUM_THREADS then
    from rag_service.wiring.stores import open_catalog

    given = Given(config=config, files=tuple(files or ()), questions=questions, corpus=corpus, name=name, indexes=indexes, limit=limit)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("candidate", overflow="fold")
    for heading in ("questions", "other status", "other answer", "other passages"):
        table.add_column(heading, justify="right", no_wrap=True)
    differing: list[str] = []
    with BarProgress() as progress, errors_in_words(interrupted=lambda: interrupted(progress)):
        settings = where(given)
        experiment = experiment_of(given, settings)
        question_set, catalog = read_questions(experiment.questions, split=experiment.split), open_catalog(settings)
        with StageCache.open(home) as cache:
            first, second = (
                Running(experiment, question_set, catalog, used, progress).run(command="aa", only=only)
                for used in (cache, cache.forgetful())
            )
    for one, other in zip(first.candidates, second.candidates, strict=True):
        pairs = list(zip(one.rows, other.rows, strict=True))
        status = [row.id for row, again in pairs if row.sample.status != again.sample.status]
        answer = [row.id for row, again in pairs if row.sample.answer != again.sample.answer]
        passages = [row.id for row, again in pairs if _passages(row) != _passages(again)]
        table.add_row(Text(one.name), *(f"{number:,}" for number in (len(pairs), len(status), len(answer), len(passages))))
        differing.extend(f"{one.name}: {identifier}" for identifier in dict.fromkeys([*status, *answer, *passages]))
    display(table)
    for line in differing[:_LISTED]:
        display(Text(f"differs: {line}"))
    if differing:
        display(Text(f"{len(differing):,} questions differ between two runs of the same candidate"))
        raise typer.Exit(EXIT_ERROR)
    display("the same candidate twice differs in nothing")


def _passages(row: Row) -> list[str]:
    return [hit.chunk_id for hit in row.sample.hits]
