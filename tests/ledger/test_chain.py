"""The digests that tie entries together, worked out from their published definition."""

import hashlib

import pytest

from rag_service.ledger.chain import GENESIS, content_digest, entry_digest, shown


def test_a_digest_is_over_what_the_definition_says_in_that_order() -> None:
    content = hashlib.sha256(bytes.fromhex("0000000000000004") + b"body" + b"vector").digest()
    assert content_digest(b"body", b"vector") == content
    expected = hashlib.sha256(
        b"rag.ledger/v1" + bytes(32) + bytes.fromhex("0000000000000001") + bytes.fromhex("00000000000003e8") + b"answer" + content
    ).digest()
    assert entry_digest(GENESIS, 1, 1000, "answer", content) == expected
    assert shown(expected) == f"sha256:{expected.hex()}"


def test_where_a_body_ends_and_a_vector_begins_counts() -> None:
    assert content_digest(b"ab", b"c") != content_digest(b"a", b"bc")
    assert content_digest(b"ab", None) == content_digest(b"ab", b"")


@pytest.mark.parametrize(
    "changed",
    [
        {"before": bytes(31) + b"\1"},
        {"seq": 2},
        {"at_ms": 1001},
        {"kind": "feedback"},
        {"content": bytes(31) + b"\1"},
    ],
)
def test_each_part_of_an_entry_counts(changed: dict[str, object]) -> None:
    entry: dict[str, object] = {"before": GENESIS, "seq": 1, "at_ms": 1000, "kind": "answer", "content": GENESIS}
    assert entry_digest(**{**entry, **changed}) != entry_digest(**entry)  # type: ignore[arg-type]  # as named


def test_any_number_that_a_file_may_hold_has_a_digest() -> None:
    digests = {entry_digest(GENESIS, seq, at_ms, "answer", GENESIS) for seq in (-(2**63), 0, 2**63 - 1) for at_ms in (-1, 0, 2**62)}
    assert len(digests) == 9
