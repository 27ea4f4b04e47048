"""The documentation says what is so: commands, settings, codes and keys are compared with the program, and the demo index answers."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from eval.cli.app import app as eval_app
from eval.questions import QuestionSet, read_questions
from rag_service.api.errors import STATUS
from rag_service.api.schemas import AskRequest
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.cli.app import app as service_app
from rag_service.drift.folder import DriftFolder
from rag_service.drift.report import Finding, Report, Side, SystemFinding
from rag_service.key_file import SCOPES
from rag_service.question import Question
from rag_service.reply import AskReply
from rag_service.settings import Settings, load_settings
from rag_service.telemetry.drift_metrics import DRIFT_METRICS, DriftMetrics
from rag_service.telemetry.metric_catalogue import CATALOGUE
from rag_service.trace import Trace
from rag_service.types import AbstainReason, SkipReason, WarningCode
from rag_service.wiring.building import build
from rag_service.wiring.releases import make_release, open_release
from tests.api.conftest import desk_on, running

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *PAGES]
BUNDLED_QUESTIONS = PROJECT / "eval" / "datasets" / "docs.jsonl"
MAX_LINE_CHARS = 100
NOT_METRICS = {"rag_service", "rag_serving", "rag_key"}
"""What else begins as metrics do: the package, a role of a database, the beginning of every API key."""

every_text = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)


def code_lines(text: str) -> Iterator[str]:
    """Lines of shell blocks, continued ones joined, and what stands in backticks."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def calls(text: str, program: str) -> list[list[str]]:
    """Arguments of every line that calls `program`, whatever variables are set before it."""
    pattern = re.compile(rf"(?:[A-Z_]+=\S+\s+)*(?:\.venv/bin/)?{re.escape(program)}(?:\s+(.*))?")
    found = [pattern.fullmatch(line.strip()) for line in code_lines(text)]
    return [shlex.split(match[1] or "", comments=True) for match in found if match]


def problem_with(app: typer.Typer, arguments: list[str]) -> str | None:
    """What is wrong with a call of a Typer application: a command or an option that is not there."""
    command: Any = typer.main.get_command(app)
    options = [argument.partition("=")[0] for argument in arguments if re.fullmatch(r"-[a-z]|--[a-z-]+(?:=.*)?", argument)]
    for argument in arguments:
        children = getattr(command, "commands", None)
        if not children or argument.startswith("-"):
            break
        if argument not in children:
            return f"there is no command {argument!r}"
        command = children[argument]
    known = {"--help", "--version", *(name for parameter in command.params for name in parameter.opts)}
    unknown = [option for option in options if option not in known]
    return f"{command.name} has no option {unknown[0]}" if unknown else None


def section(page: str, heading_part: str) -> str:
    """The text below the one heading of a page that holds `heading_part`."""
    sections = re.split(r"^## ", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE)
    found = [text for text in sections if heading_part in text.partition("\n")[0]]
    assert len(found) == 1, f"{page} has {len(found)} sections about {heading_part!r}"
    return found[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the table rows in a text, without the header and the backticks."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[1:]]


@every_text
def test_every_command_that_a_page_shows_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    problems = [
        (program, arguments, problem)
        for app, program in ((service_app, "rag-service"), (eval_app, "python -m eval"))
        for arguments in calls(text, program)
        if (problem := problem_with(app, arguments))
    ]
    assert problems == []


def test_the_check_of_commands_finds_what_is_wrong() -> None:
    text = '`rag-service index bild x`\n```bash\nRAG_TOP_K=3 rag-service ask "a?" \\\n  --nmae demo\n```\n'
    assert [problem_with(service_app, arguments) for arguments in calls(text, "rag-service")] == [
        "ask has no option --nmae",
        "there is no command 'bild'",
    ]


@every_text
def test_every_make_target_that_a_page_shows_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = {arguments[0] for arguments in calls(path.read_text("utf-8"), "make") if arguments}
    assert shown <= targets


def test_the_readme_begins_with_the_two_commands_that_do_everything() -> None:
    beginning = (PROJECT / "README.md").read_text("utf-8").splitlines()[:8]
    assert [line.split()[:2] for line in beginning if line.startswith("make ")] == [["make", "run"], ["make", "test"]]


@every_text
def test_no_page_mentions_a_setting_that_does_not_exist(path: Path) -> None:
    known = {"RAG_CONFIG", *(f"RAG_{name.upper()}" for name in Settings.model_fields)}
    assert set(re.findall(r"RAG_[A-Z_]*[A-Z]", path.read_text("utf-8"))) <= known


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {row[0]: row[1] for row in rows((DOCS / "configuration.md").read_text("utf-8")) if row[0].startswith("RAG_")}
    defaults = {
        f"RAG_{name.upper()}": {None: "not set", (): "empty"}.get(field.default, str(field.default))
        for name, field in Settings.model_fields.items()
    }
    assert documented == {**defaults, "RAG_BUILD_THREADS": "the cores, at most 8"}


def test_the_table_of_metrics_is_that_of_the_service() -> None:
    documented = [(name, kind, labels, level) for name, kind, labels, level, _ in rows(section("monitor.md", "Which metrics"))]
    shown = [(entry.name, entry.type, "`, `".join(entry.labels) or "none", entry.level) for entry in CATALOGUE]
    assert documented == shown


def a_report() -> Report:
    """Of drift, with a signal that has all its numbers."""
    side = Side(since="2026-10-01T00:00:00Z", until="2026-11-01T00:00:00Z", records=1, questions=1, conversations=1, releases={})
    found = Finding(
        feature="language", title="", about="questions", kind="categories", state="quiet", effect=0.1, effect_name="JS", floor=0.1,
        p_value=0.5, p_adjusted=1.0,
    )  # fmt: skip
    return Report(
        made_at=side.until, index="handbook", encoder="", reference_id="0" * 12, reference=side, window=side, alpha=0.01, draws=1, seed=1,
        least=1, findings=(found,), system=SystemFinding(state="same"),
    )  # fmt: skip


def test_the_tables_of_metrics_are_what_a_service_exports(own_indexes: Path) -> None:
    """Of a service that has just started, and has a report of drift."""
    documented = {row[0] for page in ("monitor.md", "drift.md") for row in rows(section(page, "Which metrics"))}
    DriftFolder(Catalog(own_indexes).drift_folder("handbook")).write_report(a_report())
    with running(desk_on(own_indexes)) as client:
        exported = set(re.findall(r"^# HELP (rag_\w+) ", client.get("/metrics").body.decode(), re.MULTILINE))
    assert documented == exported == {entry.name for entry in CATALOGUE} | DRIFT_METRICS.keys()


def test_the_table_of_drift_metrics_has_the_labels_that_they_have() -> None:
    documented = {name: labels for name, labels, _ in rows(section("drift.md", "Which metrics"))}
    families = DriftMetrics(a_report).collect()
    assert documented == {one.name: ", ".join({label for sample in one.samples for label in sample.labels}) or "none" for one in families}


def test_no_page_names_a_metric_that_is_not_exported() -> None:
    exported = {entry.name for entry in CATALOGUE} | DRIFT_METRICS.keys()
    named = {name for page in PAGES for name in re.findall(r"\b(rag_[a-z_]*[a-z])(?:_bucket|_count|_sum)?\b", page.read_text("utf-8"))}
    assert named - exported <= NOT_METRICS


def test_the_table_of_errors_is_that_of_the_service() -> None:
    documented = {code: int(status) for code, status, _ in rows(section("ask.md", "Which error codes"))}
    assert documented == STATUS


@pytest.mark.parametrize(
    ("page", "heading_part", "names"),
    [
        ("ask.md", "What does abstain mean?", get_args(AbstainReason)),
        ("ask.md", "Which warnings", get_args(WarningCode)),
        ("ask.md", "Which fields does a request have", AskRequest.model_fields),
        ("ask.md", "Which fields does a reply have", AskReply.model_fields),
        ("indexes.md", "reasons for skipping", get_args(SkipReason)),
        ("stream.md", "Which events", ("meta", "sources", "delta", "citation", "done", "error")),
        ("keys.md", "Which scopes", SCOPES),
    ],
)
def test_every_name_that_a_client_can_meet_is_explained_and_no_other(page: str, heading_part: str, names: tuple[str, ...]) -> None:
    explained = re.findall(r"^(?:\| |- )`(\w+)`", section(page, heading_part), re.MULTILINE)
    assert sorted(explained) == sorted(names)


def _models_below(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_below(argument)]


@pytest.mark.parametrize("field", Trace.model_fields)
def test_every_key_of_the_trace_has_a_section_that_explains_it(field: str) -> None:
    declared = Trace.model_fields[field]
    key = declared.alias or field
    text = section("trace.md", f"`{key}`")
    below = [name for model in _models_below(declared.annotation) for name in model.model_fields]
    assert [name for name in below if f"`{key}.{name}`" not in text] == []


@every_text
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        aim = path.parent / target if target else path
        assert aim.is_file(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", aim.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@every_text
def test_lines_are_short_enough_to_read(path: Path) -> None:
    long = [line for line in path.read_text("utf-8").splitlines() if len(line) > MAX_LINE_CHARS and not line.startswith("|")]
    assert long == []


def test_the_first_page_links_to_every_other() -> None:
    text = (DOCS / "index.md").read_text("utf-8")
    assert [page.name for page in PAGES if page.name != "index.md" and f"({page.name})" not in text] == []


@pytest.fixture(scope="module")
def questions() -> QuestionSet:
    return read_questions(BUNDLED_QUESTIONS)


class _Silent:
    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Pipeline:
    """The demo index as `make run` builds it, with default settings."""
    root = tmp_path_factory.mktemp("indexes")
    (root / "encoders").symlink_to(encoder_folder.parent)
    settings = load_settings({}, indexes=root, name="demo")
    catalog = Catalog(root)
    built = build(settings, catalog, "demo", str(DOCS), _Silent())
    release = make_release(settings, catalog, "demo", built.manifest.version)
    return open_release(settings, catalog, "demo", release).pipeline


def test_the_demo_index_says_how_to_roll_back(demo: Pipeline) -> None:
    record = demo.ask(Question("How do I roll back to the previous release?"))
    assert record.answer is not None
    assert "rag-service release rollback handbook" in record.answer
    assert record.citations[0].chunk.source == "releases.md"


def test_the_demo_index_finds_the_page_of_nearly_every_bundled_question(demo: Pipeline, questions: QuestionSet) -> None:
    found = []
    for question in questions.questions:
        pages = {place.document for group in question.places for place in group}
        if pages:
            hits = demo.search(Question(question.question, top_k=5)).hits
            found.append(bool(pages & {hit.chunk.document_id for hit in hits}))
    assert len(found) > 100
    assert sum(found) >= 0.9 * len(found)  # some are hard on purpose


def test_the_demo_index_abstains_on_what_has_nothing_to_do_with_it(demo: Pipeline) -> None:
    assert demo.ask(Question("What is the capital of France?")).status == "abstained"
