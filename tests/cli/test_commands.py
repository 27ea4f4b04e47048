"""The command line: what each command prints, and what a wrong call gets. Nothing here ends in a traceback (see the fixture `cli`)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_service import __version__
from rag_service.api.documents import DocumentReply
from rag_service.catalog import Catalog
from rag_service.evidence import EVIDENCE_FILES
from rag_service.manifest import Manifest
from rag_service.reply import AskReply

HOLIDAYS = "How many days of paid holiday does an employee have?"

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    "path",
    [
        [], ["ask"], ["serve"], ["index"], ["index", "build"], ["index", "list"], ["index", "show"], ["index", "verify"],
        ["index", "activate"], ["index", "diff"], ["index", "gc"], ["release"], ["release", "list"], ["release", "show"],
        ["release", "activate"], ["release", "rollback"], ["release", "history"],
        ["encoder"], ["encoder", "export"], ["encoder", "list"], ["config"], ["config", "show"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_explains_itself(cli: Cli, path: list[str]) -> None:
    outcome = cli(*path, "--help")
    assert outcome.code == 0
    assert "Usage:" in outcome.out


def test_the_version_is_one_line(cli: Cli) -> None:
    outcome = cli("--version")
    assert (outcome.code, outcome.out) == (0, f"rag-service {__version__}\n")


@pytest.mark.parametrize("path", [[], ["index"], ["release"], ["encoder"], ["config"]], ids=" ".join)
def test_a_group_without_a_command_shows_its_help(cli: Cli, path: list[str]) -> None:
    outcome = cli(*path)
    assert "Usage:" in outcome.out + outcome.err


@pytest.mark.parametrize("call", [["nonsense"], ["index", "biuld"], ["ask"], ["index", "build"], ["index", "list", "--nmae", "x"]])
def test_a_call_that_cannot_be_understood_is_exit_code_2(cli: Cli, call: list[str]) -> None:
    outcome = cli(*call)
    assert outcome.code == 2
    assert outcome.err
    assert outcome.out == ""


def test_the_module_runs_as_a_program(command: Cli, served_indexes: Path) -> None:
    outcome = command("ask", HOLIDAYS, "--name", "handbook", "--indexes", served_indexes)
    assert (outcome.code, outcome.err) == (0, "")
    assert "28 days" in outcome.out


def test_building_tells_what_was_built_and_what_was_skipped_and_how_to_serve_it(cli: Cli, indexes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some [docs]"
    folder.mkdir()
    (folder / "a.md").write_text("# Title\n\nA page about bicycles.\n")
    (folder / "empty [bold].md").touch()
    outcome = cli("index", "build", folder, "--name", "bikes", "--indexes", indexes)
    assert outcome.code == 0
    [version] = Catalog(indexes).versions("bikes")
    assert f"built version {version} of index bikes" in outcome.out
    assert "skipped 1: 1 empty" in outcome.out
    assert "empty [bold].md: empty (0 bytes)" in outcome.out
    assert f"rag-service index activate {version} --name bikes" in outcome.out
    activated = cli("index", "activate", version, "--name", "bikes", "--indexes", indexes)
    assert activated.code == 0
    assert Catalog(indexes).active_id("bikes") in activated.out
    assert cli("ask", "What is the page about?", "--name", "bikes", "--indexes", indexes).code == 0


def test_building_again_says_that_nothing_changed(cli: Cli, own_indexes: Path, handbook: Path) -> None:
    before = Catalog(own_indexes).active_id("handbook")
    outcome = cli("index", "build", handbook, "--name", "handbook", "--activate", "--indexes", own_indexes)
    assert outcome.code == 0
    assert "nothing has changed: this is version" in outcome.out
    assert "active already" in outcome.out
    assert Catalog(own_indexes).active_id("handbook") == before


def test_more_skips_than_are_shown_are_listed_by_the_command_that_is_named(cli: Cli, indexes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("A page about bicycles.")
    for number in range(15):
        (folder / f"empty{number:02}.md").touch()
    outcome = cli("index", "build", folder, "--name", "bikes", "--indexes", indexes)
    [told] = re.findall(r"and 5 more; `rag-service (.*)` lists them", outcome.out)
    shown = cli(*told.split(), "--indexes", indexes)
    assert shown.code == 0
    assert len(json.loads(shown.out)["manifest"]["skipped"]["listed"]) == 15


def test_building_speaks_json_too(cli: Cli, indexes: Path, handbook: Path) -> None:
    outcome = cli("index", "build", handbook, "--name", "handbook", "--activate", "--json", "--indexes", indexes)
    told = json.loads(outcome.out)
    assert Manifest.model_validate(told["manifest"]).version == told["version"]
    assert told["release"] == Catalog(indexes).active_id("handbook")
    assert told["existed"] is False


def test_an_answer_names_file_heading_and_trace(cli: Cli, served_indexes: Path) -> None:
    outcome = cli("ask", HOLIDAYS, "--name", "handbook", "--indexes", served_indexes)
    assert outcome.code == 0
    assert "[1] leave.md · Leave > Holidays" in outcome.out
    for label in ("release", "index", "encoder", "prompt", "generator", "image", "answer", "ms"):
        assert re.search(rf"^{label} +\S", outcome.out, re.MULTILINE)


def test_an_abstention_says_why_and_is_no_error(cli: Cli, served_indexes: Path) -> None:
    outcome = cli("ask", HOLIDAYS, "--min-confidence", "1", "--name", "handbook", "--indexes", served_indexes)
    assert outcome.code == 0
    assert "not sure enough that the documents answer this question" in outcome.out
    assert "needed 1)" in outcome.out


def test_asking_for_json_gives_what_http_gives(cli: Cli, served_indexes: Path) -> None:
    outcome = cli("ask", HOLIDAYS, "--json", "--top-k", "3", "--name", "handbook", "--indexes", served_indexes)
    reply = AskReply.model_validate_json(outcome.out)
    assert reply.model_dump(mode="json", by_alias=True) == json.loads(outcome.out)
    assert len(reply.hits) == 3
    assert reply.status == "answered"


def test_a_declared_image_stands_in_the_trace(cli: Cli, served_indexes: Path) -> None:
    ref = "registry.example/rag@sha256:" + "ab" * 32
    call = ("ask", HOLIDAYS, "--json", "--name", "handbook", "--indexes", served_indexes)
    declared = json.loads(cli(*call, RAG_CONTAINER_IMAGE=ref).out)["trace"]
    assert declared["container_image"] == {"ref": ref, "digest": "sha256:" + "ab" * 32, "source": "declared"}
    tagged = json.loads(cli(*call, RAG_CONTAINER_IMAGE="registry.example/rag:1.0").out)["trace"]
    assert tagged["container_image"]["digest"] is None
    assert "container_image.digest" in tagged["unknown"]


def test_listing_shows_ids_whole_however_narrow_the_pipe(cli: Cli, served_indexes: Path) -> None:
    [version] = Catalog(served_indexes).versions("handbook")
    outcome = cli("index", "list", "--indexes", served_indexes)
    [line] = [line for line in outcome.out.splitlines() if version in line]
    assert re.search(r"handbook +\w{12} +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ +\d+ +\d+ +all-MiniLM-L6-v2 +active", line)


def test_listing_marks_what_is_damaged_and_goes_on(cli: Cli, own_indexes: Path, handbook: Path) -> None:
    assert cli("index", "build", handbook, "--name", "other", "--indexes", own_indexes).code == 0
    [version] = Catalog(own_indexes).versions("handbook")
    (Catalog(own_indexes).version_folder("handbook", version) / "manifest.json").write_text("{}")
    outcome = cli("index", "list", "--indexes", own_indexes)
    assert outcome.code == 0
    assert re.search(rf"handbook +{version} .*damaged", outcome.out)
    assert re.search(rf"other +{version} .*all-MiniLM-L6-v2", outcome.out)


def test_listing_nothing_says_how_to_begin(cli: Cli, indexes: Path) -> None:
    outcome = cli("index", "list", "--indexes", indexes)
    assert outcome.code == 0
    assert "index build" in outcome.err


def test_showing_a_version_gives_its_manifest(cli: Cli, served_indexes: Path) -> None:
    shown = json.loads(cli("index", "show", "--name", "handbook", "--indexes", served_indexes).out)
    manifest = Manifest.model_validate(shown["manifest"])
    assert (manifest.version, manifest.digest) == (shown["version"], shown["digest"])
    assert set(shown["build"]) == {"built_at", "duration_s", "source"}


def test_a_document_is_shown_as_http_shows_it(cli: Cli, served_indexes: Path) -> None:
    document = "security/passwords.md"
    outcome = cli("index", "show", "--document", document, "--name", "handbook", "--indexes", served_indexes)
    assert outcome.code == 0
    shown = DocumentReply.model_validate_json(outcome.out)
    assert shown.model_dump(mode="json") == json.loads(outcome.out)
    assert (shown.document_id, shown.title, shown.source) == (document, "Passwords", document)
    assert shown.index_version == Catalog(served_indexes).versions("handbook")[-1]
    assert re.fullmatch("sha256:[0-9a-f]{64}", shown.digest)
    assert [chunk.ordinal for chunk in shown.chunks] == list(range(len(shown.chunks)))
    assert shown.chunks[0].heading_path == ["Passwords"]


def test_a_document_that_is_gone_is_not_found_and_its_old_version_still_shows_it(
    cli: Cli, own_indexes: Path, two_versions: tuple[str, str]
) -> None:
    first, second = two_versions
    show = ["index", "show", "--name", "handbook", "--indexes", own_indexes, "--document", "travel.md"]
    assert json.loads(cli(*show).out)["index_version"] == first
    assert cli("index", "activate", second, "--name", "handbook", "--indexes", own_indexes).code == 0
    said = failed(cli(*show), 1)
    assert f"there is no document 'travel.md' in version {second}" in said
    assert "ids are paths below the source of the build" in said
    assert json.loads(cli(*show, first).out)["index_version"] == first
    digests = [json.loads(cli(*show[:-1], "leave.md", version).out)["digest"] for version in two_versions]
    assert digests[0] != digests[1], "it is in both, and was changed"


@pytest.mark.parametrize("document", ["nothing.md", "", "LEAVE.md", "../leave.md", "leave.md#1", "x' OR '1'='1", "[bold]leave.md[/bold]"])
def test_a_document_that_never_was_there_is_not_found(cli: Cli, served_indexes: Path, document: str) -> None:
    outcome = cli("index", "show", "--document", document, "--name", "handbook", "--indexes", served_indexes)
    assert outcome.out == ""
    assert f"there is no document {document!r} in version" in failed(outcome, 1)


def test_a_document_of_a_version_that_is_not_there_is_an_error(cli: Cli, served_indexes: Path) -> None:
    here = ["--document", "leave.md", "--name", "handbook", "--indexes", served_indexes]
    assert "there is no index version 000000000000" in failed(cli("index", "show", "0" * 12, *here), 1)


def test_verifying_covers_the_version_and_its_encoder(cli: Cli, served_indexes: Path, encoder_folder: Path) -> None:
    outcome = cli("index", "verify", "--name", "handbook", "--indexes", served_indexes)
    assert outcome.code == 0
    [version] = Catalog(served_indexes).versions("handbook")
    assert f"intact handbook {version}: {4 + len(EVIDENCE_FILES)} files" in outcome.out
    assert f"intact encoder all-MiniLM-L6-v2 {encoder_folder.name}: 3 files" in outcome.out


def test_encoders_are_listed(cli: Cli, served_indexes: Path, encoder_folder: Path) -> None:
    assert re.search(rf"{encoder_folder.name} +all-MiniLM-L6-v2 +int8 +384 +256", cli("encoder", "list", "--indexes", served_indexes).out)
    assert cli("encoder", "export", "--if-missing", "--indexes", served_indexes).code == 0


def test_the_configuration_is_shown_with_every_setting_on_one_line(cli: Cli) -> None:
    lines = cli("config", "show", RAG_TOP_K="7").out.splitlines()
    assert any(re.match(r"RAG_TOP_K +7 +Passages", line) for line in lines)
    assert sum(line.startswith("RAG_") for line in lines) == len(lines) - 1


def test_keys_are_not_shown_with_the_configuration(cli: Cli) -> None:
    out = cli("config", "show", RAG_QDRANT_API_KEY="s3cret").out
    assert re.search(r"^RAG_QDRANT_API_KEY +… +Key of Qdrant", out, re.MULTILINE)
    assert "s3cret" not in out


def failed(outcome: Any, code: int) -> str:
    """The error message and hint of a command that failed as it should; nothing went to stdout."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    [message, hint] = re.findall(r"^error (.+)\n +(\S.*)$", outcome.err, re.MULTILINE)[0]
    return f"{message}\n{hint}"


def test_an_unknown_index_names_those_that_there_are(cli: Cli, served_indexes: Path) -> None:
    for command in (["ask", "x"], ["serve"], ["index", "show"], ["index", "verify"]):
        said = failed(cli(*command, "--name", "handbok", "--indexes", served_indexes), 1)
        assert "no index 'handbok'" in said
        assert "there are: handbook" in said
    assert "no version" in failed(cli("index", "activate", "--name", "handbok", "--indexes", served_indexes), 1)


def test_an_index_whose_first_build_failed_is_none(cli: Cli, own_indexes: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").touch()
    failed(cli("index", "build", tmp_path / "docs", "--name", "new", "--indexes", own_indexes), 1)
    assert not (own_indexes / "new").exists()
    assert "there are: handbook." in failed(cli("ask", "x", "--name", "new", "--indexes", own_indexes), 1)


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "Üb", "encoders", ".", "x" * 65])
@pytest.mark.parametrize(
    "command",
    [
        ["ask", "x"], ["serve"], ["index", "build", "."], ["index", "show"], ["index", "verify"], ["index", "activate"], ["index", "gc"],
        ["index", "diff", "0" * 12, "1" * 12],
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_exit_code_2(cli: Cli, served_indexes: Path, command: list[str], name: str) -> None:
    assert "cannot name an index" in failed(cli(*command, "--name", name, "--indexes", served_indexes), 2)


@pytest.mark.parametrize("version", ["../../x", "nope", "0" * 12, "0" * 13])
@pytest.mark.parametrize("command", ["show", "verify", "activate"])
def test_a_version_that_is_not_there_is_an_error(cli: Cli, served_indexes: Path, command: str, version: str) -> None:
    assert version in failed(cli("index", command, version, "--name", "handbook", "--indexes", served_indexes), 1)


@pytest.mark.parametrize("source", ["missing.md", "missing/", "missing/*.md", "", "  "])
def test_a_source_that_is_missing_or_blank_is_an_error_and_nothing_is_written(cli: Cli, indexes: Path, source: str) -> None:
    failed(cli("index", "build", source, "--name", "new", "--indexes", indexes), 1)
    assert [path.name for path in indexes.iterdir()] == ["encoders"]


def test_an_empty_folder_is_an_error(cli: Cli, indexes: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    failed(cli("index", "build", tmp_path / "nothing", "--name", "new", "--indexes", indexes), 1)


def test_an_unknown_encoder_names_the_known(cli: Cli, indexes: Path, handbook: Path) -> None:
    said = failed(cli("index", "build", handbook, "--name", "new", "--encoder", "nope", "--indexes", indexes), 1)
    assert "no encoder 'nope'" in said
    assert "all-MiniLM-L6-v2" in said
    assert "no encoder 'nope'" in failed(cli("encoder", "export", "nope", "--indexes", indexes), 1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--chunk-tokens", "1000"], "chunk_tokens"),
        (["--chunk-tokens", "1"], "chunk_tokens"),
        (["--store", "btree"], "--store"),
    ],
)
def test_a_setting_that_does_not_fit_is_exit_code_2_and_named(
    cli: Cli, indexes: Path, handbook: Path, options: list[str], named: str
) -> None:
    assert named in failed(cli("index", "build", handbook, "--name", "new", *options, "--indexes", indexes), 2)
    assert [path.name for path in indexes.iterdir()] == ["encoders"]


@pytest.mark.parametrize(
    "command", [["config", "show"], ["index", "list"], ["ask", "x"], ["serve"], ["index", "build", "."], ["encoder", "list"]]
)
def test_a_misspelt_variable_stops_every_command_with_what_it_may_have_meant(cli: Cli, command: list[str]) -> None:
    said = failed(cli(*command, RAG_TOPK="3"), 2)
    assert "RAG_TOPK" in said
    assert "did you mean RAG_TOP_K?" in said


@pytest.mark.parametrize("question", ["", "   ", "\u200b"])
def test_a_blank_question_is_an_error(cli: Cli, served_indexes: Path, question: str) -> None:
    assert "blank" in failed(cli("ask", question, "--name", "handbook", "--indexes", served_indexes), 1)


def test_a_question_of_100_000_characters_is_an_error_that_does_not_repeat_it(cli: Cli, served_indexes: Path) -> None:
    outcome = cli("ask", "q" * 100_000, "--name", "handbook", "--indexes", served_indexes)
    assert "100,000 characters" in failed(outcome, 1)
    assert len(outcome.err) < 500


@pytest.mark.parametrize("options", [["--top-k", "0"], ["--top-k", "51"], ["--min-confidence", "2"], ["--min-confidence", "-0.1"]])
def test_an_option_out_of_range_is_exit_code_2_and_named(cli: Cli, served_indexes: Path, options: list[str]) -> None:
    assert options[0] in failed(cli("ask", "x", *options, "--name", "handbook", "--indexes", served_indexes), 2)


@pytest.mark.parametrize(("generator", "code"), [("nope", 2), ("llamacpp:no/such.gguf", 1)])
def test_a_generator_that_is_not_there_is_an_error_and_changes_nothing(cli: Cli, own_indexes: Path, generator: str, code: int) -> None:
    before = Catalog(own_indexes).active_path("handbook").read_bytes()
    failed(cli("ask", "x", "--generator", generator, "--name", "handbook", "--indexes", own_indexes), code)
    failed(cli("index", "activate", "--generator", generator, "--name", "handbook", "--indexes", own_indexes), code)
    assert Catalog(own_indexes).active_path("handbook").read_bytes() == before


def test_a_folder_of_indexes_that_is_a_file_is_an_error(cli: Cli, tmp_path: Path, handbook: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for call in (["index", "build", handbook], ["index", "list"], ["ask", "What?"]):
        outcome = cli(*call, "--indexes", tmp_path / "file")
        assert outcome.code == 2
        assert "is not a folder" in outcome.err


def test_trying_another_generator_leaves_the_active_release_as_it_is(cli: Cli, own_indexes: Path) -> None:
    before = sorted(path.name for path in (own_indexes / "handbook" / "releases").iterdir())
    assert cli("ask", HOLIDAYS, "--generator", "extractive", "--name", "handbook", "--indexes", own_indexes).code == 0
    assert sorted(path.name for path in (own_indexes / "handbook" / "releases").iterdir()) == before


def test_trying_another_generator_changes_the_generator_alone(cli: Cli, own_indexes: Path) -> None:
    here = ["--name", "handbook", "--indexes", own_indexes]
    assert cli("index", "activate", *here, RAG_MIN_CONFIDENCE="1").code == 0
    plain, tried = (json.loads(cli("ask", HOLIDAYS, "--json", *more, *here).out) for more in ([], ["--generator", "extractive"]))
    assert plain["status"] == tried["status"] == "abstained"
    assert plain["trace"]["release"] == tried["trace"]["release"]


def test_what_changed_since_the_activation_is_said_and_the_release_that_answered_can_be_looked_up(cli: Cli, own_indexes: Path) -> None:
    catalog = Catalog(own_indexes)
    active = catalog.release("handbook", catalog.active_id("handbook"))
    older = active.model_copy(update={"code": active.code.model_copy(update={"version": "0.0.9"})})
    catalog.activate("handbook", older)
    outcome = cli("ask", HOLIDAYS, "--json", "--name", "handbook", "--indexes", own_indexes)
    assert f"code changed since release {older.id} was activated" in outcome.err
    answered_by = json.loads(outcome.out)["trace"]["release"]["id"]
    assert answered_by == active.id != older.id
    assert catalog.release("handbook", answered_by) == active


def test_a_build_of_what_is_there_already_makes_it_the_newest(cli: Cli, own_indexes: Path, handbook: Path, tmp_path: Path) -> None:
    here = ["--name", "handbook", "--indexes", own_indexes]
    first = Catalog(own_indexes).versions("handbook")[-1]
    (tmp_path / "other.md").write_text("# Other\n\nAnother handbook altogether.\n")
    assert cli("index", "build", tmp_path / "other.md", *here).code == 0
    assert Catalog(own_indexes).versions("handbook")[-1] != first
    assert f"there already: this is version {first}" in cli("index", "build", handbook, *here).out
    assert f"of version {first}" in cli("index", "activate", *here).out


@pytest.mark.parametrize("encoder", ["someone/all-MiniLM-L6-v2", "folder/all-MiniLM-L6-v2"])
def test_an_encoder_that_is_only_called_like_another_is_not_taken_for_it(
    cli: Cli, indexes: Path, handbook: Path, tmp_path: Path, encoder: str
) -> None:
    (tmp_path / "folder" / "all-MiniLM-L6-v2").mkdir(parents=True)
    outcome = cli("index", "build", handbook, "--name", "x", "--encoder", encoder, "--indexes", indexes, HF_HUB_OFFLINE="1")
    assert outcome.code == 1
    assert encoder in outcome.err


@pytest.fixture
def two_versions(cli: Cli, own_indexes: Path, tmp_path: Path) -> tuple[str, str]:
    """The active one, and another of a page that says the opposite."""
    (tmp_path / "leave.md").write_text("# Leave\n\n## Holidays\n\nEvery employee has 30 days of paid holiday a year.\n")
    assert cli("index", "build", tmp_path / "leave.md", "--name", "handbook", "--indexes", own_indexes).code == 0
    first, second = Catalog(own_indexes).versions("handbook")
    return first, second


def test_a_diff_names_documents_and_settings(cli: Cli, own_indexes: Path, two_versions: tuple[str, str], handbook: Path) -> None:
    here = ["--name", "handbook", "--indexes", own_indexes]
    outcome = cli("index", "diff", *two_versions, *here)
    assert outcome.code == 0
    assert f"{two_versions[0]} → {two_versions[1]}: documents 0 added, 1 changed, 5 removed, 0 as they were" in outcome.out
    assert "changed leave.md" in outcome.out
    assert "removed travel.md" in outcome.out
    assert "setting" not in outcome.out
    assert cli("index", "build", handbook, "--chunk-tokens", "64", *here).code == 0
    third = Catalog(own_indexes).versions("handbook")[-1]
    assert "setting chunker.parameters.max_tokens: 192 → 64" in cli("index", "diff", two_versions[0], third, *here).out
    same = cli("index", "diff", two_versions[0], two_versions[0], *here)
    assert "the same documents and chunks" in same.out


def test_a_diff_with_questions_tells_which_answers_change(
    cli: Cli, own_indexes: Path, two_versions: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "questions.txt").write_text(f"{HOLIDAYS}\nWhat is the capital of Mongolia?\n")
    here = ["--name", "handbook", "--indexes", own_indexes, "--questions", tmp_path / "questions.txt"]
    told = json.loads(cli("index", "diff", *two_versions, "--json", *here).out)
    assert (told["a"], told["b"], told["changed_ids"]) == (*two_versions, ["leave.md"])
    questions = told["questions"]
    assert (questions["same_answers"], questions["texts"][0]) == ({"count": 1, "of": 2}, HOLIDAYS)
    [changed] = [pair for pair in questions["changed"] if not pair["same_answer"]]
    assert (changed["number"], changed["headline"].partition(";")[0]) == (0, "other passages, other text")
    outcome = cli("index", "diff", *two_versions, *here)
    assert outcome.code == 0
    assert re.search(rf"1\. {re.escape(HOLIDAYS)}\n   other passages, other text", outcome.out)
    nothing = cli("index", "diff", *two_versions, "--name", "handbook", "--indexes", own_indexes, "--questions", tmp_path / "none.txt")
    assert "none.txt" in failed(nothing, 1)


@pytest.mark.parametrize("versions", [("0" * 12, None), (None, "0" * 12), ("../../x", None)])
def test_a_diff_with_a_version_that_is_not_there_is_an_error(
    cli: Cli, own_indexes: Path, two_versions: tuple[str, str], versions: tuple[str | None, str | None]
) -> None:
    asked = [given or there for given, there in zip(versions, two_versions, strict=True)]
    said = failed(cli("index", "diff", *asked, "--name", "handbook", "--indexes", own_indexes), 1)
    assert next(given for given in versions if given) in said


def test_a_sweep_says_first_what_would_go_and_then_removes_it(cli: Cli, own_indexes: Path, two_versions: tuple[str, str]) -> None:
    here = ["--name", "handbook", "--indexes", own_indexes, "--keep", "0", "--ledger", own_indexes / "none.sqlite"]
    assert cli("index", "activate", two_versions[1], "--name", "handbook", "--indexes", own_indexes).code == 0
    dry = cli("index", "gc", "--dry-run", *here)
    assert dry.code == 0
    assert re.search(rf"version +handbook +{two_versions[0]} .*would go", dry.out)
    assert re.search(rf"version +handbook +{two_versions[1]} .*stays: active", dry.out)
    assert "nothing was removed" in dry.out
    assert Catalog(own_indexes).versions("handbook") == [*two_versions]
    assert re.search(r"\d+\.\d kB free", cli("index", "gc", *here).out)
    assert Catalog(own_indexes).versions("handbook") == [two_versions[1]]
    assert "nothing to remove" in cli("index", "gc", *here).out
    assert cli("ask", HOLIDAYS, "--name", "handbook", "--indexes", own_indexes).code == 0


def test_a_sweep_keeps_what_records_need(cli: Cli, own_indexes: Path, two_versions: tuple[str, str]) -> None:
    here = ["--name", "handbook", "--indexes", own_indexes]
    assert cli("ask", HOLIDAYS, *here).code == 0
    assert cli("index", "activate", two_versions[1], *here).code == 0
    assert re.search(rf"{two_versions[0]} .*stays: records need it", cli("index", "gc", "--keep", "0", *here).out)
    assert Catalog(own_indexes).versions("handbook") == [*two_versions]


@pytest.mark.parametrize("options", [["--keep", "-1"], ["--keep", "many"]])
def test_a_sweep_that_cannot_be_meant_is_exit_code_2(cli: Cli, own_indexes: Path, options: list[str]) -> None:
    outcome = cli("index", "gc", "--name", "handbook", "--indexes", own_indexes, *options)
    assert (outcome.code, outcome.out) == (2, "")


def test_a_sweep_of_an_index_that_is_not_there_is_an_error(cli: Cli, own_indexes: Path) -> None:
    assert "no version" in failed(cli("index", "gc", "--name", "nowhere", "--indexes", own_indexes), 1)


def test_an_activation_that_fails_a_check_names_it_and_changes_nothing(cli: Cli, own_indexes: Path, two_versions: tuple[str, str]) -> None:
    before = Catalog(own_indexes).active_path("handbook").read_bytes()
    Catalog(own_indexes).canaries_path("handbook").write_text(f'{{"question": "{HOLIDAYS}", "contains": "28 days"}}\n')
    said = failed(cli("index", "activate", two_versions[1], "--name", "handbook", "--indexes", own_indexes), 1)
    assert "the check `questions` failed: 1 of 1 canary questions failed" in said
    assert Catalog(own_indexes).active_path("handbook").read_bytes() == before
