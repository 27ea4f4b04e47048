"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="What is compared, and how: eval.yaml.", show_default=False)]
CandidatesOption = Annotated[
    list[Path] | None,
    typer.Option("--candidates", help="Settings files, as the service is started with; the first is the base.", show_default=False),
]
QuestionsOption = Annotated[Path | None, typer.Option("--questions", "-q", help="Question set; also as an argument.", show_default=False)]
FilesArgument = Annotated[
    list[Path] | None, typer.Argument(help="Question set (JSONL, SQuAD JSON, BEIR folder), and settings files (.toml).", show_default=False)
]
CorpusOption = Annotated[
    str | None, typer.Option(help="Documents that candidates' indexes are built from: file, folder or pattern.", show_default=False)
]
NameOption = Annotated[str | None, typer.Option("--name", "-n", help="Index; default RAG_NAME or 'demo'.", show_default=False)]
IndexesOption = Annotated[
    Path | None, typer.Option("--indexes", help="Folder of indexes; default RAG_INDEXES or 'indexes'.", show_default=False)
]
HomeOption = Annotated[Path, typer.Option("--home", help="Where runs and what is remembered are kept.")]
OnlyOption = Annotated[str, typer.Option("--only", help="Run candidates whose name fits this pattern.")]
SplitOption = Annotated[str | None, typer.Option(help="Judgements of a BEIR folder; default the only ones.", show_default=False)]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Ask the first N questions only.", show_default=False)]
PartOption = Annotated[str | None, typer.Option("--part", help="all, dev or test.", show_default=False)]
DepthOption = Annotated[
    int | None, typer.Option(min=10, max=10_000, help="Chunks to look at for retrieval metrics; 50.", show_default=False)
]
RetrievalOnlyOption = Annotated[bool, typer.Option("--retrieval-only", help="Search, but ask for no answers.")]
BoundsOption = Annotated[
    str | None, typer.Option("--bounds", help="oracle, closed_book, exact_index, separated by commas; or none.", show_default=False)
]
TimingOption = Annotated[
    int | None, typer.Option("--timing", min=0, help="Take times: of N questions, one by one, nothing remembered.", show_default=False)
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", min=1, max=64, help="Questions asked at once; for models elsewhere.", show_default=False)
]
TopKOption = Annotated[int | None, typer.Option("--top-k", "-k", help="Passages to answer from.", show_default=False)]
MinConfidenceOption = Annotated[float | None, typer.Option(help="Confidence below which to abstain, 0 to 1.", show_default=False)]
