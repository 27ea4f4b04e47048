"""All commands together."""

import typer

from eval.cli import cache
from eval.cli.aa import aa
from eval.cli.behave import behave
from eval.cli.compare import compare
from eval.cli.export import export
from eval.cli.gate import choose, gate
from eval.cli.importing import import_
from eval.cli.lint import lint
from eval.cli.plan import plan
from eval.cli.power import power
from eval.cli.promote import promote, rollback, status
from eval.cli.report import report
from eval.cli.run import run
from eval.cli.show import show

app = typer.Typer(
    name="python -m eval",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold documents and keys
    help="Measure how well candidates answer, decide between them, and serve the one that was decided on.",
    epilog="Begin with: python -m eval run",
)

_MEASURE, _LOOK, _DECIDE, _QUESTIONS = "Measure", "Look into a run", "Decide and serve", "Questions"

app.command(rich_help_panel=_MEASURE)(run)
app.command(rich_help_panel=_MEASURE)(plan)
app.command(rich_help_panel=_MEASURE)(behave)
app.command(rich_help_panel=_MEASURE)(aa)
app.add_typer(cache.app, name="cache", rich_help_panel=_MEASURE)
app.command(rich_help_panel=_LOOK)(report)
app.command(rich_help_panel=_LOOK)(compare)
app.command(rich_help_panel=_LOOK)(show)
app.command(rich_help_panel=_LOOK)(export)
app.command(rich_help_panel=_DECIDE)(choose)
app.command(rich_help_panel=_DECIDE)(gate)
app.command(rich_help_panel=_DECIDE)(promote)
app.command(rich_help_panel=_DECIDE)(rollback)
app.command(rich_help_panel=_DECIDE)(status)
app.command(rich_help_panel=_QUESTIONS)(lint)
app.command("import", rich_help_panel=_QUESTIONS)(import_)
app.command(rich_help_panel=_QUESTIONS)(power)
