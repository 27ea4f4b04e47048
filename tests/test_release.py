from typing import Any

import pytest
from pydantic import ValidationError

from rag_service.digests import digest_bytes
from rag_service.release import Checks, CodeRef, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, RerankerRef, Retrieval


def digest(text: str) -> str:
    return digest_bytes(text.encode())


RELEASE = Release(
    index=IndexRef(version="0123456789ab", digest=digest("index")),
    encoder=NamedDigest(name="small", digest=digest("encoder")),
    chunker=NamedDigest(name="structure", digest=digest("chunker")),
    retrieval=Retrieval(top_k=5, min_confidence=0.25),
    prompt=PromptRef(name="answer", version="1", digest=digest("prompt")),
    generator=GeneratorRef(spec="extractive", options={}, name="extractive", digest=digest("generator"), parameters={"keep": 0.8, "n": 2}),
    code=CodeRef(version="0.1.0", digest=digest("code")),
)

CHANGES: dict[str, list[Any]] = {
    "index": [IndexRef(version="0123456789ac", digest=digest("index")), IndexRef(version="0123456789ab", digest=digest("other"))],
    "encoder": [NamedDigest(name="large", digest=digest("encoder")), NamedDigest(name="small", digest=digest("other"))],
    "chunker": [NamedDigest(name="structure", digest=digest("other"))],
    "retrieval": [Retrieval(top_k=6, min_confidence=0.25), Retrieval(top_k=5, min_confidence=0.26)],
    "reranker": [
        RerankerRef(spec="cross_encoder:/m", name="m", digest=digest("m"), depth=20),
        RerankerRef(spec="cross_encoder:/m", name="m", digest=digest("m"), depth=21),
        RerankerRef(spec="cross_encoder:/m", name="m", digest=digest("other"), depth=20),
    ],
    "checks": [Checks(support="strict")],
    "prompt": [
        PromptRef(name="answer", version="2", digest=digest("prompt")),
        PromptRef(name="answer", version="1", digest=digest("other")),
    ],
    "generator": [
        RELEASE.generator.model_copy(update={"spec": "openai:small"}),
        RELEASE.generator.model_copy(update={"options": {"seed": 1}}),
        RELEASE.generator.model_copy(update={"parameters": {"keep": 0.8, "n": 3}}),
        RELEASE.generator.model_copy(update={"parameters": {"keep": 0.8, "n": None}}),
    ],
    "code": [CodeRef(version="0.1.1", digest=digest("code")), CodeRef(version="0.1.0", digest=digest("other"))],
}


def test_a_release_is_named_by_the_first_12_hex_digits_of_its_bytes() -> None:
    assert RELEASE.digest == digest_bytes(RELEASE.canonical())
    assert RELEASE.id == RELEASE.digest.removeprefix("sha256:")[:12]


def test_a_release_survives_being_written_and_read() -> None:
    again = Release.model_validate_json(RELEASE.canonical())
    assert again == RELEASE
    assert again.canonical() == RELEASE.canonical()


def test_the_digest_changes_with_every_field() -> None:
    assert set(CHANGES) == set(Release.model_fields) - {"schema_"}
    changed = [RELEASE.model_copy(update={field: value}) for field, values in CHANGES.items() for value in values]
    assert len({release.digest for release in (RELEASE, *changed)}) == len(changed) + 1


def test_how_a_number_is_spelled_does_not_change_the_digest() -> None:
    whole = RELEASE.model_copy(update={"retrieval": Retrieval(top_k=5, min_confidence=0)})
    fraction = RELEASE.model_copy(update={"retrieval": Retrieval(top_k=5, min_confidence=0.0)})
    negative = RELEASE.model_copy(update={"retrieval": Retrieval(top_k=5, min_confidence=-0.0)})
    assert whole.digest == fraction.digest == negative.digest


def test_the_digest_of_retrieval_changes_with_each_of_its_settings() -> None:
    first = Retrieval(mode="hybrid", top_k=5, per_document=3, min_confidence=0.25)
    changes: dict[str, Any] = {"mode": "dense", "top_k": 4, "per_document": 2, "min_confidence": 0.2}
    assert set(changes) == set(Retrieval.model_fields)
    assert len({first.digest, *(first.model_copy(update={name: value}).digest for name, value in changes.items())}) == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"surprise": 1},
        {"schema": "rag.release/v1"},
        {"schema": "rag.release/v3"},
        {"index": {"version": "0123456789AB", "digest": digest("index")}},
        {"index": {"version": "../../etc", "digest": digest("index")}},
        {"index": {"version": "0123456789ab", "digest": "0" * 64}},
        {"retrieval": {"mode": "dense", "top_k": 0, "min_confidence": 0.3}},
        {"retrieval": {"mode": "dense", "top_k": 5, "min_confidence": 1.5}},
        {"retrieval": {"mode": "dense", "top_k": 5, "min_confidence": -0.1}},
        {"retrieval": {"mode": "dense", "top_k": 5, "min_score": 0.3}},
        {"retrieval": {"mode": "keywords", "top_k": 5, "min_confidence": 0.3}},
        {"retrieval": {"mode": "hybrid", "top_k": 5, "min_confidence": 0.3, "per_document": 0}},
        {"retrieval": {"mode": "dense", "top_k": 5}},
        {"checks": {"support": "perhaps"}},
        {"reranker": {"spec": "cross_encoder:/m", "name": "m", "digest": digest("m"), "depth": 0}},
        {"encoder": {"name": "small", "digest": digest("encoder"), "surprise": 1}},
    ],
)
def test_a_release_with_anything_unknown_or_out_of_range_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Release.model_validate(RELEASE.model_dump(mode="json", by_alias=True) | changed)


def test_a_release_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        RELEASE.reranker = None  # type: ignore[misc]  # that it is refused is the point
