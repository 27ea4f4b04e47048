"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

NameOption = Annotated[str | None, typer.Option("--name", "-n", help="Index; default RAG_NAME or 'demo'.", show_default=False)]
IndexesOption = Annotated[
    Path | None, typer.Option("--indexes", help="Folder of indexes; default RAG_INDEXES or 'indexes'.", show_default=False)
]
GeneratorOption = Annotated[
    str | None,
    typer.Option("--generator", "-g", help="extractive, llamacpp:<GGUF>, or <provider>:<model>.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
