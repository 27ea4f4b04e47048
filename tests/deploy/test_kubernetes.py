"""The manifests for Kubernetes follow its schemas, and agree with themselves and with the service. No cluster has run them."""

import copy
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError, validate

from rag_service.api.gate import OPEN_PATHS
from rag_service.settings import Settings, load_settings
from rag_service.telemetry.metric_catalogue import CATALOGUE
from tests.conftest import PROJECT

FOLDER = PROJECT / "deploy" / "kubernetes"
EXAMPLE = FOLDER / "overlays" / "example"
SCHEMAS = ("1.30", "1.37")
"""The oldest and the newest Kubernetes that the manifests are compared with."""
NOT_OF_KUBERNETES = {"Kustomization", "Component", "ServiceMonitor"}
Manifest = dict[str, Any]


def manifests(text: str) -> list[Manifest]:
    return [found for found in yaml.safe_load_all(text) if found]


def written() -> Iterator[tuple[Path, Manifest]]:
    for path in sorted(FOLDER.rglob("*.yaml")):
        for found in manifests(path.read_text("utf-8")):
            if isinstance(found, dict):  # and not the rules of the adapter
                yield path, found


def written_of(kind: str) -> Manifest:
    elsewhere = {"overlays", "postgres"}
    [found] = [manifest for path, manifest in written() if manifest["kind"] == kind and not elsewhere & {*path.relative_to(FOLDER).parts}]
    return found


@pytest.fixture(scope="module")
def deployment() -> Manifest:
    return written_of("Deployment")


@pytest.fixture(scope="module")
def pod(deployment: Manifest) -> Manifest:
    found: Manifest = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: Manifest) -> Manifest:
    [found] = pod["containers"]
    return found


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    lines = (FOLDER / "base" / "settings.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)  # type: ignore[arg-type]  # of two parts


@pytest.fixture(scope="module")
def example() -> dict[str, Manifest]:
    """Kind → manifest, as `kubectl apply -k` would send it."""
    built = built_from(EXAMPLE)
    assert len({one["kind"] for one in built}) == len(built)
    return {one["kind"]: one for one in built}


def built_from(folder: Path) -> list[Manifest]:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    ended = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return manifests(ended.stdout)


@pytest.mark.parametrize("version", SCHEMAS)
def test_every_manifest_follows_the_schema_of_kubernetes(version: str) -> None:
    checked = 0
    for path, manifest in written():
        if manifest["kind"] not in NOT_OF_KUBERNETES:
            try:
                validate(manifest, version, strict=True)
            except ValidationError as error:
                pytest.fail(f"{path.relative_to(FOLDER)}: {error.message} at {'/'.join(map(str, error.path))}")
            checked += 1
    assert checked == 10


@pytest.mark.parametrize("version", SCHEMAS)
def test_what_the_example_comes_to_follows_the_schema_too(example: dict[str, Manifest], version: str) -> None:
    for kind in example.keys() - NOT_OF_KUBERNETES:
        validate(example[kind], version, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "template", "spec", "terminationGracePeriod"), 47),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), "soon"),
        (("spec", "selector"), None),
    ],
)
def test_a_mistake_in_a_manifest_would_be_found(deployment: Manifest, path: tuple[str, ...], value: object) -> None:
    wrong = copy.deepcopy(deployment)
    place = wrong
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    if value is None:
        del place[path[-1]]
    with pytest.raises(ValidationError):
        validate(wrong, SCHEMAS[-1], strict=True)


def test_a_pod_may_do_nothing_that_it_does_not_need(pod: Manifest, container: Manifest) -> None:
    assert pod["securityContext"] | {"fsGroup": 0, "fsGroupChangePolicy": ""} == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
        "fsGroup": 0,
        "fsGroupChangePolicy": "",
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
    job = written_of("Job")["spec"]["template"]["spec"]
    assert job["containers"][0]["securityContext"] == container["securityContext"]
    assert job["securityContext"]["runAsUser"] == pod["securityContext"]["runAsUser"]


def test_what_is_written_to_is_a_volume_and_the_index_cannot_be(pod: Manifest, container: Manifest, environment: dict[str, str]) -> None:
    mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in mounted.values()} == {volume["name"] for volume in pod["volumes"]}
    assert mounted[environment["RAG_INDEXES"]]["readOnly"] is True
    assert mounted[str(Path(environment["RAG_KEYS"]).parent)]["readOnly"] is True
    assert not mounted[str(Path(environment["RAG_LEDGER"]).parent)].get("readOnly")


def test_the_cluster_waits_as_long_as_the_service_takes_to_end(pod: Manifest, container: Manifest, environment: dict[str, str]) -> None:
    drains_s = float(environment["RAG_DRAIN_S"])
    assert drains_s >= 5, "the cluster takes some seconds to send nobody any more"
    assert pod["terminationGracePeriodSeconds"] >= drains_s + float(environment["RAG_TIMEOUT_S"]) + 5
    probe = container["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < drains_s


def test_probes_ask_what_is_open_to_everybody_and_a_restart_needs_more_than_being_busy(container: Manifest) -> None:
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert set(paths.values()) <= OPEN_PATHS
    assert paths["livenessProbe"] == "/health/live"
    assert paths["readinessProbe"] == paths["startupProbe"] == "/health/ready"
    alive = container["livenessProbe"]
    assert alive["timeoutSeconds"] >= 5
    assert alive["periodSeconds"] * alive["failureThreshold"] >= 30
    starting = container["startupProbe"]
    assert starting["periodSeconds"] * starting["failureThreshold"] >= 300
    ports = {port["name"] for port in container["ports"]}
    assert {container[name]["httpGet"]["port"] for name in paths} <= ports


def test_the_settings_are_settings_of_the_service(environment: dict[str, str], container: Manifest) -> None:
    example = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text("utf-8"))
    overlaid = dict(line.split("=", 1) for line in example["configMapGenerator"][0]["literals"])
    given = {**environment, **overlaid, **{one["name"]: one["value"] for one in container["env"]}}
    assert {name.removeprefix("RAG_").lower() for name in given} <= Settings.model_fields.keys()
    settings = load_settings(given)
    assert settings.max_concurrent == int(container["resources"]["requests"]["cpu"])


def test_a_replica_is_counted_among_its_own_by_every_one_who_counts(deployment: Manifest, pod: Manifest) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        written_of("Service")["spec"]["selector"],
        written_of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        written_of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod["topologySpreadConstraints"]),
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    job = written_of("Job")["spec"]["template"]["metadata"]["labels"]
    assert not selectors[0].items() <= job.items(), "nobody sends questions to the job"


def test_the_autoscaler_goes_by_a_number_that_the_service_has(deployment: Manifest) -> None:
    scaler = written_of("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"], "it would take away what the autoscaler gave"
    [metric] = [one["pods"]["metric"]["name"] for one in scaler["metrics"] if one["type"] == "Pods"]
    assert metric in {entry.name for entry in CATALOGUE if entry.type == "gauge"}
    [rule] = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text("utf-8"))
    assert rule["name"]["as"] == metric
    assert rule["seriesQuery"].startswith(metric + "{")
    assert scaler["minReplicas"] >= 2


def test_a_restart_takes_no_replica_away_before_another_is_ready(deployment: Manifest) -> None:
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert deployment["spec"]["minReadySeconds"] > 0


def test_the_image_that_runs_is_the_one_that_stands_in_every_trace(example: dict[str, Manifest]) -> None:
    [container] = example["Deployment"]["spec"]["template"]["spec"]["containers"]
    [declared] = [one["value"] for one in container["env"] if one["name"] == "RAG_CONTAINER_IMAGE"]
    assert declared == container["image"]
    assert "@sha256:" in declared


def test_the_example_is_of_one_piece(example: dict[str, Manifest]) -> None:
    [container] = example["Deployment"]["spec"]["template"]["spec"]["containers"]
    named = container["envFrom"][0]["configMapRef"]["name"]
    assert named == example["ConfigMap"]["metadata"]["name"]
    assert named != "rag-service", "a change of settings is a new name, and so a restart"
    assert len({one["metadata"]["namespace"] for one in example.values()}) == 1
    service = example["Service"]
    ports = {port["name"] for port in service["spec"]["ports"]}
    [endpoint] = example["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["port"] in ports
    assert example["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [rule] = example["Ingress"]["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert (backend["name"], backend["port"]["name"]) == (service["metadata"]["name"], "http")
    assert example["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 3


def test_the_address_of_a_database_in_the_secret_stands_before_the_file_of_the_settings(
    container: Manifest, environment: dict[str, str]
) -> None:
    """Of two sources that name a variable, Kubernetes takes the later one."""
    [settings, secret] = container["envFrom"]
    assert settings["configMapRef"]["name"] == "rag-service"
    assert secret["secretRef"]["name"] == "rag-service-environment"
    assert "RAG_LEDGER" not in {one["name"] for one in container["env"]}, "it would stand before both"
    url = "postgresql://rag:secret@db.internal/rag"
    assert load_settings({**environment, "RAG_LEDGER": url}).ledger == url


def test_the_policy_for_a_database_is_for_the_pods_that_serve_and_opens_its_port_alone(deployment: Manifest) -> None:
    [policy] = manifests((FOLDER / "components" / "postgres" / "networkpolicy.yaml").read_text("utf-8"))
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert chosen.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert policy["spec"]["policyTypes"] == ["Egress"]
    [rule] = policy["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]


def test_pods_with_records_in_a_database_do_not_start_without_its_address(tmp_path: Path) -> None:
    at = {name: os.path.relpath(FOLDER / name, tmp_path.resolve()) for name in ("base", "components/postgres")}
    overlay = {"resources": [at["base"]], "components": [at["components/postgres"]]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    built = built_from(tmp_path)
    [deployment] = [one for one in built if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"][1]["secretRef"] == {"name": "rag-service-environment", "optional": False}
    assert {one["metadata"]["name"] for one in built if one["kind"] == "NetworkPolicy"} == {"rag-service", "rag-service-postgres"}
    for one in built:
        validate(one, SCHEMAS[-1], strict=True)
