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

Scalars = npt.NDArray[np.float32]
"""Shape (n,): one number for each of n things."""

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


@dataclass(frozen=True, slots=True, eq=False)
class QueryTerms:
    """The distinct terms of a question, as a keyword index knows them."""

    terms: tuple[str, ...]
    columns: npt.NDArray[np.int32]
    """Shape (n,): numbers of the terms in the index; -1 for one that no chunk holds."""
    weights: npt.NDArray[np.float64]
    """Shape (n,): how rare each is (its idf); all are positive."""


@dataclass(frozen=True, slots=True, eq=False)
class SentenceMatches:
    """The sentences of some chunks, chunk by chunk and in reading order, as they fit a question. All arrays have m rows."""

    owner: Positions
    """Which of the chunks that were asked for: 0 is the first of them, not row 0 of the index."""
    spans: npt.NDArray[np.int64]
    """Shape (m, 2): character offsets into the chunk's text, end exclusive."""
    similarity: Scalars
    """Cosine with the question."""
    coverage: Scalars
    """Share of the question's terms that the sentence holds, by their weight, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a retrieved chunk, `chunk.text[start:end]`, and how it fits the question (as in `SentenceMatches`)."""

    start: int
    end: int
    similarity: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved chunk. All numbers are higher for what fits better."""

    chunk: Chunk
    score: float
    """What hits are ranked by, about 0 to 1: see `relevance`. With `dense` retrieval the cosine, with a reranker its score."""
    cosine: float = 0.0
    """Of the question's vector and the chunk's, in [-1, 1]."""
    keywords: float = 0.0
    """Share of the question's terms that the chunk holds, by their weight, in [0, 1]."""
    sentences: tuple[Sentence, ...] = field(default=(), compare=False, repr=False)
    """In reading order. Not part of a record: an index version always gives the same."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit as the generator sees it. `marker` is the 1-based number it is cited by."""

    marker: int
    chunk: Chunk
    score: float = field(default=0.0, compare=False)
    sentences: tuple[Sentence, ...] = field(default=(), compare=False, repr=False)
    """As in the hit; empty where nobody compared them with the question."""


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
    notices: tuple["Notice", ...] = ()
    """What the reader of the answer should know of how it was generated."""


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


SupportLevel = Literal["supported", "partly", "unsupported"]


@dataclass(frozen=True, slots=True)
class SentenceSupport:
    """How well one sentence, list item, table row or code block of an answer is supported by passages.

    `span` holds character offsets into the answer, end exclusive. `score` is in [0, 1], higher is better. `passages` are the numbers of
    those that it was compared with, ascending: what it cites, or all that were shown where it cites none (`cited` is then false).
    `reasons` are for people. `claims` is false for what says nothing that a passage could support: a question, "Yes.".
    """

    span: tuple[int, int]
    level: SupportLevel
    score: float
    passages: tuple[int, ...]
    cited: bool
    claims: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Support:
    """Of a whole answer, in its order. `looked_at_chars` is less than the answer has where it was too long to look at all of it."""

    sentences: tuple[SentenceSupport, ...]
    looked_at_chars: int
    notes: tuple[str, ...] = ()
    """What was left out, for people."""


AbstainReason = Literal["no_hits", "low_confidence", "generator_declined", "unsupported", "empty_index"]
WarningCode = Literal[
    "citation_dropped",
    "citation_missing",
    "question_truncated",
    "answer_truncated",
    "context_truncated",
    "parameter_adjusted",
    "follow_up_not_rewritten",
    "sentence_unsupported",
    "support_not_checked",
    "passage_instructs",
    "link_removed",
    "generator_retried",
    "generator_fell_back",
]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the reader of an answer should know. Served as an entry of `warnings`."""

    code: WarningCode
    detail: str
