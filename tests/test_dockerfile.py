"""What can be known of the image without building it; `make image-test` builds it."""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.lock import MODEL, SERVING
from rag_service import __version__

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Stage:
    base: str
    name: str
    instructions: tuple[tuple[str, str], ...]

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.instructions if name == instruction]


def parsed(text: str) -> list[Stage]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).replace("\\\n", " ").splitlines()
    instructions = [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]
    starts = [index for index, (name, _) in enumerate(instructions) if name == "FROM"]
    stages = []
    for start, end in zip(starts, [*starts[1:], len(instructions)], strict=True):
        base, _, name = instructions[start][1].partition(" AS ")
        stages.append(Stage(base, name, tuple(instructions[start + 1 : end])))
    return stages


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return parsed((PROJECT / "Dockerfile").read_text("utf-8"))


@pytest.fixture(scope="module")
def final(stages: list[Stage]) -> Stage:
    return stages[-1]


def test_every_stage_has_the_same_base_so_that_the_environment_finds_its_python(stages: list[Stage]) -> None:
    assert {stage.base for stage in stages} == {"python:3.11-slim-bookworm"}


def test_only_the_build_stage_installs_the_build_extra(stages: list[Stage]) -> None:
    assert [stage.name for stage in stages if any("[build]" in command for command in stage.values("RUN"))] == ["build"]


def test_the_final_stage_installs_nothing_and_takes_no_environment_that_holds_torch(stages: list[Stage], final: Stage) -> None:
    assert final.values("RUN") == []
    sources = [re.findall(r"--from=(\w+).* (/\S+) /\S+$", value)[0] for value in final.values("COPY")]
    assert sources == [("install", "/opt/rag"), ("build", "/srv/indexes")]
    install = next(stage for stage in stages if stage.name == "install")
    assert 'install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"' in install.values("RUN")[0]


def test_the_extras_that_serve_are_in_it_and_are_extras_of_the_package(stages: list[Stage]) -> None:
    install = next(stage for stage in stages if stage.name == "install")
    [extras] = [value.removeprefix("EXTRAS=") for value in install.values("ARG")]
    known = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)
    assert not {"build", "dev", "llamacpp"} & set(extras.split(","))


def test_the_build_stage_makes_a_demo_index_that_is_active(stages: list[Stage]) -> None:
    commands = " ".join(stages[0].values("RUN"))
    assert "rag-service encoder export" in commands
    assert "rag-service index build /documents --name demo --activate" in commands


def test_the_image_does_not_run_as_root(final: Stage) -> None:
    assert final.values("USER") == ["10001:10001"]


def test_the_health_check_asks_for_life_and_not_for_readiness(final: Stage) -> None:
    command = json.loads(final.values("HEALTHCHECK")[0].partition(" CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert "/health/live" in command[2]


def test_the_image_is_labelled_with_the_version_of_the_package(final: Stage) -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', final.values("LABEL")[0]))
    assert labels.keys() == {"title", "description", "version", "revision", "licenses"}
    assert f"VERSION={__version__}" in final.values("ARG")


def test_the_service_gets_its_signals_and_writes_nowhere_but_to_the_volume(final: Stage) -> None:
    assert json.loads(final.values("CMD")[0]) == ["rag-service", "serve"]
    assert final.values("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(final.values("VOLUME")[0]) == ["/srv/indexes"]
    environment = dict(re.findall(r"(\w+)=(\S+)", final.values("ENV")[0]))
    assert environment["RAG_INDEXES"] == "/srv/indexes"
    assert environment["RAG_HOST"] == "0.0.0.0"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_what_the_stages_copy_is_there_and_not_ignored(stages: list[Stage]) -> None:
    ignored = {line.strip("/") for line in (PROJECT / ".dockerignore").read_text("utf-8").splitlines()}
    copied = [name for stage in stages for value in stage.values("COPY") if "--from" not in value for name in value.split()[:-1]]
    for name in copied:
        path = name.replace("${DOCS}", "docs")
        assert (PROJECT / path).exists() or path == "hashes*.txt"  # which `make lock` writes
        assert path not in ignored


def test_the_image_lets_nobody_in_without_a_key_until_whoever_runs_it_says_so(stages: list[Stage]) -> None:
    settings = {name for stage in stages for value in stage.values("ENV") for name, _ in re.findall(r"(\w+)=(\S+)", value)}
    assert not {"RAG_ALLOW_OPEN", "RAG_KEYS"} & settings


def test_files_of_a_lock_are_what_the_stages_look_for(stages: list[Stage]) -> None:
    installs = {stage.name: stage.values("RUN")[0] for stage in stages if stage.name in {"build", "install"}}
    assert f"--require-hashes --no-deps -r {MODEL.name}" in installs["build"]
    assert f"--require-hashes --no-deps -r {SERVING.name}" in installs["install"]
