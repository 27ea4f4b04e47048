"""`python -m eval plan`."""

from rich.table import Table
from rich.text import Text

from eval.cli.chosen import Given, experiment_of, where
from eval.cli.options import (
    CandidatesOption,
    ConfigOption,
    CorpusOption,
    FilesArgument,
    HomeOption,
    IndexesOption,
    LimitOption,
    NameOption,
    OnlyOption,
    PartOption,
    QuestionsOption,
)
from eval.cli.written import display
from eval.counting import counted
from eval.questions import read_questions
from eval.runs import DEFAULT_HOME
from eval.stages.cache import StageCache
from rag_service.console import BarProgress, errors_in_words


def plan(
    files: FilesArgument = None,
    config: ConfigOption = None,
    candidates: CandidatesOption = None,
    questions: QuestionsOption = None,
    corpus: CorpusOption = None,
    name: NameOption = None,
    only: OnlyOption = "*",
    limit: LimitOption = None,
    part: PartOption = None,
    home: HomeOption = DEFAULT_HOME,
    indexes: IndexesOption = None,
) -> None:
    """Say what `run` would do with the same arguments, what of it is done already, and how long the rest may take.

    Example: python -m eval plan -c eval.yaml
    """
    from eval.planning import plan as planned  # loads FAISS, which reads OMP_NUM_THREADS then
    from eval.running import Running
    from rag_service.wiring.stores import open_catalog

    given = Given(
        config=config,
        files=tuple(files or ()),
        candidates=tuple(candidates or ()),
        questions=questions,
        corpus=corpus,
        name=name,
        indexes=indexes,
        limit=limit,
        part=part,
    )
    with BarProgress() as progress, errors_in_words():
        settings = where(given)
        experiment = experiment_of(given, settings)
        with StageCache.open(home) as cache:
            running = Running(
                experiment, read_questions(experiment.questions, split=experiment.split), open_catalog(settings), cache, progress
            )
            bill = planned(running, cache, only=only)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column("", no_wrap=True)
    for heading in ("without sharing", "distinct", "done", "CPU s left"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for line in bill.lines:
        known = "–" if line.known is None else f"{line.known:,}"
        left = "unknown" if line.seconds is None else "–" if line.known is None else f"{line.seconds:,.0f}"
        grid.add_row(line.what, f"{line.most:,}", f"{line.distinct:,}", known, left)
    display(Text(f"{counted(bill.candidates, 'candidate')}, {counted(bill.questions, 'question')}"))
    display(grid)
    if bill.seconds is None:
        display("how long it takes is not known before something like it has been run here")
    elif bill.seconds:
        display(f"about {bill.seconds:,.0f} s of CPU, by what it took before")
    else:
        display("nothing is left to do but scoring")
