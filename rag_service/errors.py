"""Everything that goes wrong by name.

    RagError
    ├── InvalidInput            what the caller sent cannot be used
    │   ├── InvalidQuestion     blank, or longer than the limit
    │   ├── InvalidName         an index name that is not a plain name
    │   ├── InvalidSettings     unknown or unusable setting
    │   └── NothingToIndex      a source with no usable document
    ├── NotFound                an index, version, release, encoder or prompt that is not there
    ├── Damaged                 a stored artefact is not what its digest says
    ├── Mismatch                parts that do not belong together (encoder and index, say)
    ├── Unreadable              a document that its parser refuses (skipped and reported by a build)
    ├── PassageTooLong          a text longer than the encoder's window
    ├── ReleaseUnavailable      a release that a request names and that cannot be opened any more
    ├── Conflict                somebody else is doing this right now
    ├── StorageFailed           the disk is full, read-only, or gone
    │   └── NotRecorded         an answer that a strict service does not give, since its record cannot be written
    ├── RemoteFailed            object storage, or a cluster that builds, cannot be reached or refuses
    ├── MissingDependency       an optional package that this choice needs
    ├── EmbedderFailed          a provider of embeddings failed
    ├── GeneratorFailed         the generator broke, or its provider did
    │   ├── PromptRefused       it works, but not with this prompt (in `generators/refused.py`)
    │   └── ProviderRefused     the key, the model's name or the address is wrong (there too)
    ├── GeneratorPaused         the generator failed again and again and is left alone for a while
    ├── DeadlineExceeded        the time for this request is over
    ├── Cancelled               nobody waits for the answer any more
    ├── Unauthorized            no key, or one that is not valid
    ├── Forbidden               a valid key that may not do this
    ├── RateLimited             this key, or this address, asks too often
    ├── QueueFull               more requests wait than can be served soon
    └── NotReady                the service is still starting
        └── ShuttingDown        the service is going away

Every error carries a `code` (stable, for programs), a message that says what is wrong, and a `hint` that says what to do. How
codes become HTTP statuses is known to `api/errors.py` alone.
"""

from typing import ClassVar


class RagError(Exception):
    """Base of the tree. `hint` completes the message: what to do about it."""

    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, hint: str = "", param: str | None = None, stage: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        """The request field or setting that is to blame, if one is."""
        self.stage = stage
        """The stage of an answer in which it happened, if it did in one."""
        self.retry_after_s = retry_after_s
        """When asking again may help, where that is known."""
        self.attempt: object | None = None
        """How far the answer had come, as a `record.Attempt`; set by `ask` when the error passes through it."""


class InvalidInput(RagError):
    code = "invalid_request"


class InvalidQuestion(InvalidInput):
    code = "invalid_question"


class InvalidName(InvalidInput):
    code = "invalid_name"


class InvalidSettings(InvalidInput):
    code = "invalid_settings"


class NothingToIndex(InvalidInput):
    code = "nothing_to_index"


class NotFound(RagError):
    code = "not_found"


class Damaged(RagError):
    code = "damaged"


class Mismatch(RagError):
    code = "mismatch"


class Unreadable(RagError):
    code = "unreadable"


class PassageTooLong(RagError):
    code = "passage_too_long"


class ReleaseUnavailable(RagError):
    code = "release_unavailable"


class Conflict(RagError):
    code = "conflict"


class StorageFailed(RagError):
    code = "storage_failed"


class NotRecorded(StorageFailed):
    code = "not_recorded"


class RemoteFailed(RagError):
    code = "remote_failed"


class MissingDependency(RagError):
    code = "missing_dependency"


class EmbedderFailed(RagError):
    code = "embedder_error"


class GeneratorFailed(RagError):
    code = "generator_error"


class GeneratorPaused(RagError):
    code = "generator_paused"


class DeadlineExceeded(RagError):
    code = "deadline_exceeded"


class Cancelled(RagError):
    code = "client_closed"


class Unauthorized(RagError):
    code = "unauthorized"


class Forbidden(RagError):
    code = "forbidden"


class RateLimited(RagError):
    code = "rate_limited"


class QueueFull(RagError):
    code = "queue_full"


class NotReady(RagError):
    code = "not_ready"


class ShuttingDown(NotReady):
    code = "shutting_down"
