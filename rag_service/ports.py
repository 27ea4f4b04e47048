"""The seams. Each Protocol is the whole contract of one replaceable part; `tests/contracts/` runs one suite over every
implementation. All ports are synchronous: `api/` owns the threads.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from rag_service.cancellation import Cancellation
from rag_service.filters import Filter
from rag_service.kept import AnswerEntry, Audit, Feedback, Flaw, Kept, Page, RecordQuery, Retention
from rag_service.record import Lineage, Receipt
from rag_service.types import (
    NO_SAMPLING,
    Chunk,
    ChunkId,
    Completion,
    Document,
    DocumentFacts,
    DocumentId,
    Matrix,
    Positions,
    Prompt,
    QueryTerms,
    Sampling,
    Scalars,
    Selection,
    SentenceMatches,
    Skipped,
    Vector,
)


class Tokenizer(Protocol):
    """Counts and places tokens the way the encoder does."""

    @property
    def window_tokens(self) -> int:
        """The longest input the encoder reads, special tokens included."""

    def count(self, text: str) -> int:
        """Tokens of `text`, special tokens included, never truncated."""


class Embedder(Protocol):
    """Text to unit vectors. A vector depends on its text alone, never on what else is embedded with it."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """`sha256:…` over every file and parameter that determines a vector."""

    @property
    def revision(self) -> str | None:
        """Published revision of the weights, where one is known."""

    @property
    def dimension(self) -> int: ...

    @property
    def runtime(self) -> str:
        """Engine, version and precision, for people."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    def embed_query(self, text: str) -> Vector:
        """Text beyond the window is cut; callers compare `tokenizer.count` with the window and say so."""

    def embed_queries(self, texts: Sequence[str]) -> Matrix:
        """One row per text, in order, each exactly what `embed_query` gives for it."""

    def embed_passages(self, texts: Sequence[str]) -> Matrix:
        """One row per text, in order. Raises `PassageTooLong` rather than cut a text."""


class BulkEmbedder(Protocol):
    """Embeds passages elsewhere, many at once: each exactly as the embedder here would."""

    def embed(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        """Texts with their vectors, each text once, as they come. Raises `RemoteFailed`."""


class VectorStore(Protocol):
    """Nearest neighbours by cosine over rows 0 … len-1."""

    def __len__(self) -> int: ...

    @property
    def dimension(self) -> int: ...

    def search(self, query: Vector, k: int, within: Selection | None = None) -> tuple[Positions, Vector]:
        """At most `k` rows and their cosines rounded to 1e-5, best first; equal scores in ascending row order.

        Only rows of `within` are looked at, where it is given: `k` of them come back if it holds that many.
        """

    def vectors(self, positions: Sequence[int]) -> Matrix:
        """The stored rows, in the order asked."""


class KeywordIndex(Protocol):
    """BM25 over rows 0 … len-1, by terms (see `terms`)."""

    def __len__(self) -> int: ...

    def look_up(self, terms: Sequence[str]) -> QueryTerms:
        """Each once, in order of appearance."""

    def scores(self, query: QueryTerms) -> Scalars:
        """Shape (len,): the BM25 score of every row; 0 for a row that holds none of the terms."""

    def coverage(self, query: QueryTerms, positions: Positions) -> Scalars:
        """Shape (n,): the share of the query's terms, by weight, that each row holds."""


class SentenceTable(Protocol):
    """The sentences of the chunks of one index version."""

    def match(self, positions: Positions, vector: Vector, query: QueryTerms) -> SentenceMatches:
        """Of the chunks in these rows, in the order asked. `vector` is the question's."""


class Reranker(Protocol):
    """Judges question and passage together: slower than any index, and better."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """`sha256:…` over model files and parameters."""

    def scores(self, question: str, passages: Sequence[str]) -> Scalars:
        """Shape (len(passages),), in [0, 1]; a score depends on its passage alone."""


class ChunkTable(Protocol):
    """The chunks of one index version, by row."""

    def __len__(self) -> int: ...

    def chunks(self, positions: Sequence[int]) -> list[Chunk]:
        """In the order asked."""

    def chunk(self, identifier: ChunkId) -> Chunk | None: ...

    def document(self, identifier: DocumentId) -> DocumentFacts | None: ...

    def chunks_of(self, document: DocumentId, *, first: int, most: int) -> list[Chunk]:
        """At most `most` chunks of a document, in its order, from the one with the ordinal `first` on."""

    def select(self, wanted: Filter) -> Selection:
        """The chunks of the documents that `wanted` allows."""

    def document_ids_by_text(self, text_digest: str) -> list[DocumentId]:
        """Documents whose whole normalised text has this SHA-256 (64 hex digits)."""


class Generator(Protocol):
    """Prompt to text with `[n]` markers."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """`sha256:…` over what determines the output: code or model files, and parameters."""

    @property
    def parameters(self) -> dict[str, str | int | float | None]: ...

    def count_tokens(self, text: str) -> int:
        """Tokens by the generator's own tokenizer, or an upper estimate where it has none."""

    @property
    def context_tokens(self) -> int:
        """Room for the rendered prompt."""

    @property
    def follows_instructions(self) -> bool:
        """Whether it reads the prompt's text, so that it can be asked for something else than an answer."""

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        """Raises `GeneratorFailed`, `DeadlineExceeded`, or `Cancelled` soon after `cancellation` says so.

        `deadline_s` is a `time.monotonic()` instant. `sampling` names only what is among `parameters`, and `max_tokens` no more than
        is there. `write` is given the text as it comes, in the calling thread. A generator may leave it out; one that uses it gives
        it everything: the pieces joined, without white space around them, are the completion's text, or the refusal that made it
        `declined`. What `write` raises ends the run and comes through unchanged.
        """


class Ledger(Protocol):
    """Where records live. What it said it has, it has, whatever becomes of the process.

    Every method but `add` raises `StorageFailed`, `Damaged`, `Mismatch` for a ledger of another schema, and, where it reads, `NotFound`
    while nothing was ever written.
    """

    def check(self) -> None:
        """Makes it if it is not there. Raises what would keep it from being written."""

    def add(self, entry: AnswerEntry) -> "Future[Receipt]":
        """Returns at once. The future has the receipt when the entry is on the disk, or what went wrong."""

    def rate(self, answer_id: str, feedback: Feedback) -> Receipt: ...

    def erase_answers(self, answer_ids: Sequence[str]) -> int:
        """Contents and feedback are gone for good, that there was something stays. How many answers."""

    def erase_key(self, key_id: str) -> int:
        """The same for all that a key asked."""

    def prune(self, retention: Retention, now_ms: int | None = None) -> int:
        """Drops the oldest entries beyond `retention`. How many."""

    def find(self, identifier: str) -> list[Kept]:
        """The record of an answer id, or all of a trace id, oldest first; none where there is none."""

    def rows(self, query: RecordQuery) -> Page: ...

    def records(self, query: RecordQuery) -> Iterator[Kept | Flaw]:
        """All that fit, oldest first; for one that is damaged, what is wrong with it. `query.limit` does not count."""

    def lineages(self) -> list[Lineage]:
        """What the records that are kept were made by, each once."""

    def audit(self, told: Callable[[int], None] = lambda _: None) -> Audit:
        """Looks at every entry. `told` is given how many more it has seen, now and then."""

    def digest_at(self, seq: int) -> str | None:
        """Of entry `seq`, as a receipt has it; None where there is no such entry."""

    def close(self) -> None:
        """What was added is still written."""


class Loader(Protocol):
    """The documents in one file. What one file holds may be one document (a page) or many (rows)."""

    def __call__(self, data: bytes, source: str) -> Iterator[Document | Skipped]:
        """Raises `Unreadable` when the file as a whole cannot be parsed."""


class Chunker(Protocol):
    def __call__(self, document: Document) -> list[Chunk]: ...


class Progress(Protocol):
    """Told how a long job goes. The CLI draws bars; tests and servers pass a silent one."""

    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


class ObjectStore(Protocol):
    """A folder outside this machine, by keys with slashes. All waits are bounded; raises `NotFound` and `RemoteFailed`."""

    @property
    def shown(self) -> str:
        """Its URL, for people."""

    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""

    def read(self, key: str, start: int, most_bytes: int) -> bytes:
        """At most so many bytes from `start` on; empty beyond the end. Raises `NotFound`."""

    def write(self, key: str, data: bytes) -> None:
        """Readers see all of it or nothing."""

    def upload(self, path: Path, key: str, advance: Callable[[int], None]) -> None:
        """As `write`. `advance` is told how many bytes have been sent; a negative number where they are sent once more."""

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in a folder, sorted; empty where there is no such folder."""
