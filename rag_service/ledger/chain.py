"""The chain that ties the entries of a ledger together, so that none can be changed, inserted or left out unseen. Pure.

    content = SHA-256( length of body ‖ body ‖ vector )
    digest  = SHA-256( "rag.ledger/v1" ‖ digest of the entry before ‖ seq ‖ at_ms ‖ kind ‖ content )

An entry whose content was erased keeps both digests: the chain holds, and an entry of its own says that it was erased. What the chain
alone cannot show is that the newest entries were cut off; a receipt, which every reply carries, shows that.
"""

import hashlib

from rag_service.kept import EntryKind

GENESIS = bytes(32)
"""What the first entry has before it."""


def content_digest(body: bytes, vector: bytes | None) -> bytes:
    """32 bytes."""
    found = hashlib.sha256(len(body).to_bytes(8, "big"))
    found.update(body)
    found.update(vector or b"")
    return found.digest()


def entry_digest(before: bytes, seq: int, at_ms: int, kind: EntryKind, content: bytes) -> bytes:
    """32 bytes. `before` is the digest of entry `seq - 1`."""
    return hashlib.sha256(
        b"rag.ledger/v1" + before + seq.to_bytes(8, "big", signed=True) + at_ms.to_bytes(8, "big", signed=True) + kind.encode() + content
    ).digest()


def shown(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"
