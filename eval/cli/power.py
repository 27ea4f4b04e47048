"""`python -m eval power`."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.cli.chosen import Given, experiment_of, where
from eval.cli.options import ConfigOption, LimitOption, PartOption, SplitOption
from eval.cli.written import display
from eval.clusters import cluster_of
from eval.questions import EvalQuestion, read_questions
from eval.splits import part as part_of
from eval.statistics.grouped import FEWEST_CLUSTERS, mean_cluster
from eval.statistics.power import detectable, questions_needed, sd_of_discordance
from rag_service.console import errors_in_words
from rag_service.errors import InvalidInput, InvalidSettings

DISCORDANCES = (0.02, 0.05, 0.1, 0.2, 0.3)
ALIKE = (0.0, 0.02, 0.1, 0.5)
"""Intraclass correlations of differences. Between ways to search, those of nDCG@10 were 0.01 to 0.02 on squad2 (questions about whole
articles), 0.04 to 0.17 on anthropic-docs (about pages), and 0.5 to 0.6 on scifact (claims about one abstract).
"""

Among = Literal["all", "answerable", "unanswerable"]


@dataclass(frozen=True, slots=True)
class Level:
    """How much answers may differ."""

    shown: str
    sd: float
    """Of the differences."""
    most: float
    """No difference can be larger."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whom a metric is asked about."""

    name: str
    clusters: Sequence[str]
    """One a question."""

    @property
    def n(self) -> int:
        return len(self.clusters)


def power(
    questions: Annotated[
        Path | None, typer.Argument(help="JSONL file, SQuAD JSON file, or BEIR folder; default the bundled ones.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    discordance: Annotated[
        float | None, typer.Option(min=0.001, max=1.0, help="Share of answers that become right or wrong.", show_default=False)
    ] = None,
    sd: Annotated[
        float | None, typer.Option(min=1e-6, help="Standard deviation of the differences; for metrics between 0 and 1.", show_default=False)
    ] = None,
    intracluster: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="How alike differences of one cluster are.", show_default=False)
    ] = None,
    effect: Annotated[float, typer.Option(min=1e-6, max=1.0, help="The difference that must not be missed, at most 1.")] = 0.02,
    among: Annotated[Among, typer.Option(help="Those that the metric is about: all, answerable or unanswerable.")] = "all",
    part: PartOption = None,
    split: SplitOption = None,
    limit: LimitOption = None,
) -> None:
    """Say how small a difference between two candidates a question set can show, and how many questions a difference needs, before
    anything is asked.

    A difference is shown if it is found in four of five repetitions of the evaluation, by a two-sided test at 5 %.

    Example: python -m eval power questions.jsonl --effect 0.05

    Example: python -m eval power -c eval.yaml --part test --among answerable
    """
    with errors_in_words():
        if discordance is not None and sd is not None:
            raise InvalidSettings("--discordance and --sd are two ways to say one thing", hint="give the one or the other", param="sd")
        given = Given(config=config, files=(questions,) if questions else (), part=part, split=split, limit=limit)
        chosen = _chosen(given, among)
    alike = ALIKE if intracluster is None else (intracluster,)
    display(_shown(chosen, _levels(discordance, sd), alike, effect))


def _chosen(given: Given, among: Among) -> Chosen:
    experiment = experiment_of(given, where(given))
    found = read_questions(experiment.questions, split=experiment.split)
    asked = part_of(found.questions, experiment.part, test_share=experiment.test_share, seed=experiment.seed)[: experiment.limit]
    clusters = [cluster_of(question) for question in asked if _is_among(question, among)]
    if not clusters:
        which = f"the {experiment.part} part of {found.name}" if experiment.part != "all" else found.name
        raise InvalidInput(
            f"{which} holds no{'' if among == 'all' else f' {among}'} question", hint="choose others with --among and --part"
        )
    kind = "questions" if among == "all" else f"{among} questions"
    return Chosen(f"{kind} of {found.name}{'' if experiment.part == 'all' else f', part {experiment.part}'}", clusters)


def _is_among(question: EvalQuestion, among: Among) -> bool:
    return among == "all" or question.answerable is (among == "answerable")


def _levels(discordance: float | None, sd: float | None) -> list[Level]:
    if sd is not None:
        return [Level(f"sd {sd:g}", sd, math.inf)]
    shares = DISCORDANCES if discordance is None else (discordance,)
    return [Level(f"{share:.3g}", sd_of_discordance(share), share) for share in shares]


def _shown(chosen: Chosen, levels: Sequence[Level], alike: Sequence[float], effect: float) -> RenderableType:
    size, sizes = mean_cluster(chosen.clusters), Counter(chosen.clusters)

    def smallest(level: Level, icc: float) -> str:
        found = detectable(level.sd, chosen.n, mean_cluster=size, intracluster=icc)
        return f"{found:.3f}" if found <= level.most else "–"

    def needed(level: Level, icc: float) -> str:
        found = questions_needed(effect, level.sd, mean_cluster=size, intracluster=icc)
        return f"{found:,}" if effect <= level.most else "–"

    if size == 1:
        alike = (0.0,)
    alone = "each a cluster of its own" if size == 1 else f"in {len(sizes):,} clusters, the largest of {max(sizes.values()):,}"
    parts: list[RenderableType] = [
        Text(f"{chosen.n:,} {chosen.name}, {alone}"),
        Text("\nsmallest difference that so many questions show", style="bold"),
        _table(levels, alike, smallest),
        Text(f"\nquestions that a difference of {effect:g} needs", style="bold"),
        _table(levels, alike, needed),
        Text(),
        *(Text(line) for line in _legend(levels, alike)),
    ]
    if len(sizes) < FEWEST_CLUSTERS:
        parts.append(Text(f"warning  with fewer than {FEWEST_CLUSTERS} clusters no gate promotes anything", style="yellow"))
    return Group(*parts)


def _table(levels: Sequence[Level], alike: Sequence[float], cell: Callable[[Level, float], str]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    made.add_column("" if math.isinf(levels[0].most) else "share of answers that change", min_width=28, no_wrap=True)
    for icc in alike:
        made.add_column(f"alike {icc:g}" if len(alike) > 1 or icc else "", justify="right", min_width=9, no_wrap=True)
    for level in levels:
        made.add_row(level.shown, *(cell(level, icc) for icc in alike))
    return made


def _legend(levels: Sequence[Level], alike: Sequence[float]) -> list[str]:
    lines = []
    if any(alike):
        lines.append("alike: how far differences of one cluster agree, 0 not at all, 1 wholly;")
        lines.append("a comparison of two candidates says how far they did")
    if any(not math.isinf(level.most) for level in levels):
        lines.append("–: no difference can be larger than the share of answers that change")
    return lines
