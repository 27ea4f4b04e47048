"""How the content of an entry is packed, zstd, frame by frame, and read back only as what was written."""

import zstandard

from rag_service.errors import Damaged
from rag_service.ledger import chain

DAMAGED_HINT = "`rag-service trace verify` names what is damaged, `trace export` saves the rest; move the file away to begin a new one"

_LEVEL = 1
"""A prompt repeats its passages, which even the quickest level finds: higher ones gain a few percent for twice the time."""
_MOST_BYTES = 256 * 2**20
"""What is unpacked at most of one entry: a damaged length must not take the memory."""


class Packer:
    """For one thread."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)

    def pack(self, body: bytes) -> bytes:
        return self._compressor.compress(body)


def content_of(seq: int, packed: bytes, vector: bytes | None, digest: bytes) -> bytes:
    """The content of entry `seq`, whose digest this is. Raises `Damaged`: a frame has no checksum of its own."""
    body = _unpacked(seq, packed)
    if chain.content_digest(body, vector) != digest:
        raise Damaged(f"entry {seq} of the ledger is damaged: its content is not what was written", hint=DAMAGED_HINT)
    return body


def _unpacked(seq: int, packed: bytes) -> bytes:
    try:
        if zstandard.get_frame_parameters(packed).content_size <= _MOST_BYTES:
            return zstandard.ZstdDecompressor().decompress(packed)
        reason: Exception = ValueError("it is too long")
    except zstandard.ZstdError as error:
        reason = error
    raise Damaged(f"entry {seq} of the ledger is damaged: its content cannot be unpacked", hint=DAMAGED_HINT) from reason
