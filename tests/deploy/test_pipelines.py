"""The pipelines follow the schemas of their hosts, and call what there is. They cannot be run here."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
AZURE = PROJECT / "azure-pipelines.yml"
COMPOSE = PROJECT / "deploy" / "compose.yaml"
CHECKED = {
    ".github": ["--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)],
    "azure": [
        "--builtin-schema", "vendor.azure-pipelines", "--data-transform", "azure-pipelines", "--regex-variant", "nonunicode", str(AZURE),
    ],
    "compose": ["--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
}  # fmt: skip


def tool(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=PROJECT)


def targets_called(path: Path) -> set[str]:
    return set(re.findall(r"\bmake ([a-z][a-z-]*)", re.sub(r"#.*", "", path.read_text("utf-8"))))


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load(COMPOSE.read_text("utf-8"))


@pytest.mark.parametrize("which", CHECKED)
def test_it_follows_the_schema_of_its_host(which: str) -> None:
    done = tool("check-jsonschema", *CHECKED[which])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_does_not_follow_the_schema(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text("utf-8").replace("runs-on:", "run-on:", 1))
    assert tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(wrong)).returncode != 0


def test_the_files_are_written_in_one_style() -> None:
    done = tool("yamllint", "--strict", ".github", AZURE.name, "deploy")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*WORKFLOWS, AZURE, PROJECT / ".ci" / "run"], ids=lambda path: path.name)
def test_every_target_that_is_called_is_in_the_makefile(path: Path) -> None:
    known = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert targets_called(path)
    assert targets_called(path) <= known


def test_both_hosts_are_asked_for_the_same() -> None:
    hosted = set().union(*map(targets_called, WORKFLOWS))
    assert hosted == targets_called(AZURE)
    assert {"lint", "test", "behave", "openapi-check", "audit", "sbom", "image-test", "image-push", "deploy", "verify"} <= hosted


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_named_by_commit_and_get_no_more_rights_than_they_need(path: Path) -> None:
    text = path.read_text("utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action) for action in used)
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_the_image_that_is_deployed_is_named_by_the_digest_that_was_pushed_and_tested() -> None:
    steps = [step for job in yaml.safe_load((WORKFLOWS[-1]).read_text("utf-8"))["jobs"].values() for step in job["steps"]]
    runs = [step.get("run", "") for step in steps]
    pushed, tested, deployed, verified = (
        next(number for number, run in enumerate(runs) if f"make {target}" in run)
        for target in ("image-push", "image-test", "deploy", "verify")
    )
    assert pushed < tested < deployed < verified
    assert steps[tested]["env"]["IMAGE"] == "${{ steps.push.outputs.reference }}"
    assert all('IMAGE="$RAG_CONTAINER_IMAGE"' in runs[number] for number in (deployed, verified))


def test_what_compose_mounts_is_there(compose: Any) -> None:
    volumes = [volume.partition(":")[0] for service in compose["services"].values() for volume in service.get("volumes", ())]
    for volume in volumes:
        assert (COMPOSE.parent / volume).is_dir() if volume.startswith(".") else volume in compose["volumes"]
    scraping = yaml.safe_load((COMPOSE.parent / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert all((COMPOSE.parent / "prometheus" / Path(file).name).is_file() for file in scraping["rule_files"])


def test_what_compose_starts_is_read_only_without_rights_and_seen_by_this_machine_alone(compose: Any) -> None:
    for service in compose["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["user"].partition(":")[0] not in {"", "0", "root"}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert service["healthcheck"]


def test_compose_gives_the_service_the_image_that_its_traces_name(compose: Any) -> None:
    service = compose["services"]["rag"]
    assert service["image"].startswith("${RAG_CONTAINER_IMAGE:?")
    assert service["environment"]["RAG_CONTAINER_IMAGE"] == "${RAG_CONTAINER_IMAGE}"


def test_only_the_service_reaches_the_database_and_nobody_outside(compose: Any) -> None:
    database = compose["services"]["postgres"]
    assert "ports" not in database
    assert database["networks"] == ["behind"]
    assert compose["networks"]["behind"] == {"internal": True}
    assert database["profiles"] == ["postgres"]


def test_secrets_come_from_files_or_the_environment_and_none_has_a_default(compose: Any) -> None:
    assert all(secret["file"].endswith(f"./secrets/{name}}}") for name, secret in compose["secrets"].items())
    stated = [(name, value) for service in compose["services"].values() for name, value in service.get("environment", {}).items()]
    passwords = [(name, value) for name, value in stated if "PASSWORD" in name]
    assert passwords
    from_file = {name for name, value in passwords if name.endswith("__FILE") and value.startswith("/run/secrets/")}
    assert all(name in from_file or value == "${POSTGRES_PASSWORD:-}" for name, value in passwords)


def test_the_services_are_called_what_prometheus_and_grafana_are_told(compose: Any) -> None:
    scraping = yaml.safe_load((COMPOSE.parent / "prometheus" / "prometheus.yml").read_text("utf-8"))
    asked = {target for job in scraping["scrape_configs"] for each in job["static_configs"] for target in each["targets"]}
    sources = yaml.safe_load((COMPOSE.parent / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text("utf-8"))
    asked |= {source["url"].removeprefix("http://") for source in sources["datasources"]}
    assert asked == {"rag:8000", "prometheus:9090"}
    assert {name.partition(":")[0] for name in asked} <= set(compose["services"])
    providers = yaml.safe_load((COMPOSE.parent / "grafana" / "provisioning" / "dashboards" / "rag.yml").read_text("utf-8"))
    mounted = {volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]}
    assert {provider["options"]["path"] for provider in providers["providers"]} <= mounted
