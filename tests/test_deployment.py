"""Where an answer was made: declared, looked up, or unknown with a reason, and never guessed."""

import re

import pytest

from rag_service.deployment import describe_deployment, running_code

BY_DIGEST = "registry.example:5000/team/rag@sha256:" + "0f" * 32


def test_an_image_by_digest_is_taken_apart() -> None:
    image = describe_deployment(environment="dev", declared_image=BY_DIGEST, declared_commit=None).image
    assert image is not None
    assert (image.ref, image.digest, image.source) == (BY_DIGEST, "sha256:" + "0f" * 32, "declared")


def test_an_image_by_tag_and_digest_keeps_both() -> None:
    ref = "registry.example/rag:1.2@sha256:" + "0f" * 32
    image = describe_deployment(environment="dev", declared_image=ref, declared_commit=None).image
    assert image is not None
    assert (image.ref, image.digest) == (ref, "sha256:" + "0f" * 32)


@pytest.mark.parametrize("ref", ["rag", "registry.example/rag:1.0", "rag@latest", "rag@sha256:beef", "rag@sha256:" + "0F" * 32, "rag@"])
def test_what_is_not_a_digest_is_never_given_as_one(ref: str) -> None:
    deployment = describe_deployment(environment="dev", declared_image=ref, declared_commit=None)
    assert deployment.image is not None
    assert (deployment.image.ref, deployment.image.digest) == (ref, None)
    assert "sha256" in deployment.unknown["container_image.digest"]


@pytest.mark.parametrize("declared", [None, ""])
def test_an_image_that_nobody_declared_is_unknown(declared: str | None) -> None:
    deployment = describe_deployment(environment="dev", declared_image=declared, declared_commit=None)
    assert deployment.image is None
    assert "RAG_CONTAINER_IMAGE" in deployment.unknown["container_image"]


def test_a_declared_commit_holds_and_says_nothing_of_changed_files() -> None:
    deployment = describe_deployment(environment="dev", declared_image=None, declared_commit="0123abc")
    assert (deployment.commit, deployment.dirty) == ("0123abc", None)
    assert "code.dirty" in deployment.unknown
    assert "code.commit" not in deployment.unknown


def test_the_fingerprints_are_the_same_each_time_in_one_environment() -> None:
    first, second = (describe_deployment(environment="dev", declared_image=None, declared_commit=None) for _ in range(2))
    assert first == second
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first.fingerprint)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", running_code().digest)
    assert "onnxruntime-" in first.numeric_class
