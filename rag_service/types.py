"""The nouns that cross module boundaries. Frozen, without behaviour beyond their own invariants, and without I/O.

Reading order for newcomers: this file, then `ports`, then `ask`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
"""Shape (dim,), unit length."""

Matrix = npt.NDArray[np.float32]
"""Shape (n, dim), every row of unit length."""

Positions = npt.NDArray[np.int64]
"""Shape (n,): row numbers in a vector store; row i of the store is chunk i of the chunk table."""

DocumentId = NewType("DocumentId", str)
ChunkId = NewType("ChunkId", str)

MetadataValue = str | int | float | bool
Metadata = Mapping[str, MetadataValue]

Role = Literal["user", "assistant"]

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """A structural unit of a document. `start` and `end` are character offsets into `Document.text`, end exclusive.

    Blocks are in reading order and do not overlap. `level` is 1 to 6 for a heading and 0 for anything else. `title` is the
    heading's text without markup (a heading's source may hold links and anchors). `page` is 1-based, or None where the format
    has no pages.
    """

    start: int
    end: int
    kind: BlockKind
    level: int = 0
    title: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One input document after decoding and normalisation. `id` is unique within a corpus and stable between builds."""

    id: DocumentId
    text: str
    title: str
    source: str
    """Path below the input folder, in POSIX form; with `#<line or id>` for a row of a table or JSONL file."""
    blocks: tuple[Block, ...]
    metadata: Metadata = field(default_factory=dict)


SkipReason = Literal[
    "unreadable",
    "empty",
    "binary",
    "duplicate",
    "duplicate_id",
    "oversized",
    "unsupported",
    "symlink",
    "invalid_row",
]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input that was left out, and why. `detail` is for people: a parser's message or the document it duplicates."""

    source: str
    reason: SkipReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """What is kept of a document beside its chunks."""

    id: DocumentId
    title: str
    source: str
    metadata: Metadata
    digest: str
    """`sha256:…` over id, title, source, metadata and text."""
    text_digest: str
    """`sha256:…` over the text alone."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: `text == document.text[start:end]`. `embedded_text` is what the encoder saw: heading context, then text."""

    id: ChunkId
    document_id: DocumentId
    ordinal: int
    """0-based position among the chunks of its document."""
    start: int
    end: int
    text: str
    title: str
    heading_path: tuple[str, ...]
    source: str
    page: int | None
    embedded_text: str
    tokens: int
    """Tokens of `embedded_text` by the encoder's tokenizer, special tokens included."""
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The rows of a vector store that a search may return."""

    positions: Positions
    """Ascending."""
    bitmap: npt.NDArray[np.uint8]
    """Bit i % 8, counted from the lowest, of byte i // 8 says whether row i may be returned."""
    documents: int
    """How many documents these rows belong to."""

    def __len__(self) -> int:
        return int(self.positions.shape[0])


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved chunk. `score` is a similarity: higher is better; cosine in [-1, 1] from the vector stores."""

    chunk: Chunk
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit as the generator sees it. `marker` is the 1-based number it is cited by."""

    marker: int
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a generator is given: the rendered messages, and the parts that they were rendered from."""

    system: str
    user: str
    question: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation, before the question."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """What one question asks of a language model; None takes the release's."""

    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None


NO_SAMPLING = Sampling()
"""Everything as the release says."""


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int | None
    completion_tokens: int | None


NOT_COUNTED = Usage(None, None)


@dataclass(frozen=True, slots=True)
class Marker:
    """A citation marker in a text: `text[start:end]` is, say, `[2]` or `[1, 3]`, and `numbers` what it names."""

    start: int
    end: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """A generator's output. `declined` is true when it said that the passages hold no answer; `text` is then empty.

    `markers` are given by a generator that knows where it put them; otherwise they are found in the text. The difference matters where
    quoted text holds brackets of its own.
    """

    text: str
    declined: bool
    finish_reason: Literal["stop", "length"]
    model: str
    usage: Usage
    markers: tuple[Marker, ...] | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker of the answer resolved to a place in a chunk.

    All spans are character offsets, end exclusive: `answer_span` into the answer (the marker itself), `quote_span` into the
    chunk's text, `document_span` into the document's text. `quote == chunk.text[quote_span]`. `verbatim` is true when the
    cited sentence of the answer stands in the chunk word for word.
    """

    marker: int
    chunk: Chunk
    score: float
    answer_span: tuple[int, int]
    quote: str
    quote_span: tuple[int, int]
    document_span: tuple[int, int]
    verbatim: bool


AbstainReason = Literal["no_hits", "below_min_score", "generator_declined", "empty_index"]
WarningCode = Literal[
    "citation_dropped",
    "citation_missing",
    "question_truncated",
    "answer_truncated",
    "context_truncated",
    "parameter_adjusted",
    "follow_up_not_rewritten",
]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the reader of an answer should know. Served as an entry of `warnings`."""

    code: WarningCode
    detail: str
