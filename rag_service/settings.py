"""Every knob, once. Read from `RAG_*` variables and, below them, a TOML file; leaves receive plain values.

The file is `rag.toml` in the working directory, or what `RAG_CONFIG` names. A name that is not listed here stops start-up: a misspelt
setting that is silently ignored is worse than a service that does not start.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from rag_service.embedders.encoder import DEFAULT_ENCODER, Precision
from rag_service.errors import InvalidSettings
from rag_service.languages import Language

PREFIX = "RAG_"
DEFAULT_FILE = Path("rag.toml")


def is_database_url(value: str) -> bool:
    return value.startswith(("postgresql://", "postgres://"))


def _listed(value: object) -> object:
    """A list is written with commas in a variable, and as a list in the TOML file."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _checked_store(value: str) -> str:
    if value not in STORES and not is_database_url(value):
        raise ValueError(f"it must be one of {', '.join(STORES)}, or a URL postgresql://user:password@host/database")
    return value


def _checked_qdrant_url(value: str) -> str:
    parts = urlsplit(value)
    if "@" in parts.netloc:
        raise ValueError("a key does not belong into a URL: set RAG_QDRANT_API_KEY")
    server = parts.scheme in ("http", "https") and parts.hostname is not None
    local = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    if not (server or local) or parts.query or parts.fragment:
        raise ValueError("it must be http(s)://host:port of a server of Qdrant, or file:///folder for the client's local mode")
    return value


def _checked_key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("it must be of printable ASCII characters, without blanks")
    return value


def _place(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


STORES = ("auto", "flat", "hnsw", "ivf", "qdrant")
Store = Annotated[str, AfterValidator(_checked_store)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Settings(BaseModel):
    """Field descriptions are the reference: `rag-service config show` and docs/configuration.md print them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # where
    indexes: Path = Field(Path("indexes"), description="Folder that holds encoders and indexes")
    name: str = Field("demo", description="Index that `serve` and `ask` use when none is named")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")

    # build
    embedder: Literal["onnx", "sentence_transformers", "langchain"] = Field("onnx", description="What runs the encoder")
    encoder: str = Field(
        DEFAULT_ENCODER, description="Encoder: a name, an id in encoders/, a model folder, or provider:model for langchain"
    )
    precision: Precision = Field("int8", description="Weights of an exported encoder")
    device: str = Field("cpu", description="Where sentence_transformers runs, as torch names it")
    chunk_tokens: int = Field(192, description="Longest chunk, in the encoder's tokens, heading context included")
    chunk_overlap_tokens: int = Field(0, description="What consecutive chunks of one section may share")
    chunk_context: Literal["headings", "none"] = Field("headings", description="What precedes a chunk when it is embedded")
    languages: Annotated[tuple[Language, ...], BeforeValidator(_listed)] = Field(
        (), description="Languages of the documents, as en,de; empty: found out from the documents"
    )
    store: Store = Field(
        "auto", repr=False, description="auto, flat, hnsw, ivf, qdrant; or the postgresql:// URL of a database for indexes and records"
    )
    qdrant_url: Annotated[str, AfterValidator(_checked_qdrant_url)] | None = Field(
        None, description="Where Qdrant is, http(s)://host:6333, or file:///folder for its client's local mode; builds and answers need it"
    )
    qdrant_api_key: Annotated[SecretStr, AfterValidator(_checked_key)] | None = Field(
        None, repr=False, description="Key of Qdrant, where it asks for one"
    )
    keep_releases: int = Field(5, ge=0, le=1000, description="Steps back that must stay possible when old versions are removed")
    keep_embeddings: bool = Field(True, description="Keep vectors, so that the next build embeds only what changed")
    build_threads: int = Field(min(os.cpu_count() or 1, 8), ge=1, le=256, description="Texts embedded at once while building")
    max_file_bytes: int = Field(50 * 2**20, ge=1, description="Larger input files are skipped")
    max_document_chars: int = Field(10_000_000, ge=1, description="Longer documents are skipped")

    # release: what an activation puts into a release
    top_k: int = Field(5, ge=1, le=50, description="Passages that reach the generator")
    retrieval: Literal["hybrid", "dense"] = Field("hybrid", description="Search by meaning and by keywords, or by meaning alone")
    per_document: int = Field(3, ge=1, le=50, description="Passages of one document, where others are nearly as good")
    reranker: str = Field("none", description="none, or cross_encoder:<folder of a sentence-transformers CrossEncoder>")
    rerank_depth: int = Field(20, ge=1, le=200, description="Passages that the reranker judges")
    min_confidence: float = Field(
        0.6, ge=0, le=1, description="Confidence, that the documents hold an answer, below which the service abstains"
    )
    support: Literal["flag", "strict"] = Field("flag", description="Sentences that no passage supports: flag them, or withhold the answer")
    prompt: str = Field("answer/2", description="Prompt template, <name>/<version>")
    generator: str = Field("extractive", description="extractive, llamacpp:<path to GGUF>, or <provider>:<model> through LangChain")
    generator_base_url: str | None = Field(None, description="Base URL of an OpenAI-compatible server")
    max_tokens: int = Field(256, ge=1, le=32_768, description="Longest answer of a language model")
    temperature: float | None = Field(0.0, ge=0, le=2, description="Sampling temperature of a language model; none leaves it out")
    seed: int | None = Field(None, ge=0, le=2**32 - 2, description="Sampling seed of a language model; none leaves it out")
    generator_threads: int = Field(2, ge=1, le=64, description="CPU threads of llama.cpp")
    generator_retries: int = Field(0, ge=0, le=5, description="Further tries when a provider's model fails for a moment")
    generator_fallback: Literal["none", "extractive"] = Field(
        "none", description="What answers when the language model fails: none, or extractive"
    )

    # processes
    workers: int = Field(1, ge=1, le=64, description="Processes that answer on one port")

    # object storage
    remote_timeout_s: float = Field(
        30.0, gt=0, le=600, description="Object storage that sends and takes nothing for so long has not answered"
    )

    # opening
    verify: Literal["cached", "full"] = Field("cached", description="Compare files with their digests: those that changed, or all")

    # limits
    max_question_chars: int = Field(4000, ge=1, le=1_000_000, description="Longest question")
    max_history_turns: int = Field(50, ge=0, le=1000, description="Most earlier messages of a conversation")
    max_body_bytes: int = Field(2**20, ge=1024, description="Largest request body")
    max_top_k: int = Field(50, ge=1, le=1000, description="Largest top_k of a request")
    max_batch: int = Field(32, ge=1, le=1000, description="Most questions in one batch")
    timeout_s: float = Field(30.0, gt=0, le=600, description="Time for one answer, from the arrival of its request")
    max_concurrent: int | None = Field(
        None, ge=1, le=1024, description="Answers made at once; not set: the cores, or 64 for a provider's model"
    )
    max_queue: int | None = Field(None, ge=0, le=100_000, description="Requests that may wait; not set: 4 times those made at once")
    max_connections: int = Field(1000, ge=1, le=100_000, description="Open connections; more are refused")
    read_timeout_s: float = Field(10.0, gt=0, le=600, description="Time for a client to send its request, and to take each part of a reply")
    keep_alive_s: float = Field(75.0, gt=0, le=3600, description="Rest between two requests, longer than a proxy in front allows")
    drain_s: float = Field(0.0, ge=0, le=600, description="After SIGTERM: seconds of not ready before the port closes")
    pinned_releases: int = Field(
        2, ge=0, le=100, description="Releases beside the active one that are kept open for requests that name them"
    )
    cache_mib: int = Field(32, ge=0, le=100_000, description="Memory for repeated answers; 0 makes every answer anew")

    # records
    ledger: Annotated[str, BeforeValidator(_place)] | None = Field(
        None, repr=False, description="File or postgresql:// URL of records; not set: in the database of store, or ledger.sqlite"
    )
    records: Literal["full", "digest", "off"] = Field("full", description="What is kept of an answer: all, digests without texts, nothing")
    ledger_strict: bool = Field(False, description="Refuse answers that cannot be recorded, instead of marking them")
    ledger_max_days: float | None = Field(90.0, gt=0, le=36_500, description="Records older than this are dropped; none keeps them")
    ledger_max_mib: int | None = Field(4096, ge=1, le=10**7, description="Oldest records are dropped beyond this size; none keeps them")
    drift_reference: bool = Field(True, description="An activation keeps a reference of drift where its encoder has none")

    # access
    keys: Path | None = Field(None, description="File of API keys; not set: keys.json in the folder of indexes")
    allow_open: bool = Field(False, description="Listen on a public address although there are no keys")
    allowed_hosts: Names = Field((), description="Host names that requests may use; empty: any with keys, else this machine's own")
    cors_origins: Names = Field((), description="Origins of web pages that may call the service")
    public_url: str | None = Field(None, description="Address of the service in links; not set: as the request names it")
    docs: bool = Field(True, description="Show the API reference at /docs")

    # chat front ends
    openwebui_events: bool = Field(False, description="Send source events of Open WebUI on the OpenAI-compatible endpoint")

    # identity of the deployment
    environment: str = Field("dev", description="Name of the environment, for traces")
    container_image: str | None = Field(None, description="Image that runs this service, name@sha256:…")
    code_commit: str | None = Field(None, description="Commit of the code, where there is no git checkout")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Log level")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people or for programs")
    log_requests: bool = Field(True, description="One log line for each request, without its question")
    log_questions: bool = Field(False, description="Put questions into the log as well")


def shown_value(value: object, name: str = "") -> object:
    """For people: nothing of a key, of the URL of a database only where that is, and nothing of one that cannot be read."""
    if name in _SECRETS and value is not None:
        return "…"
    text = str(value)
    if name == "qdrant_url" and any(mark in text for mark in "@?#"):  # none of which belongs there
        return f"{text.partition('://')[0]}://…" if "://" in text else "…"
    if not text.startswith("postgres"):
        return value
    whole, _, query = text.partition("?")
    place = whole.removeprefix("postgresql://").removeprefix("postgres://").rpartition("@")[2]
    known = is_database_url(text) and "@" not in query and place.count(":") == place.count(",") + 1
    return f"postgresql://…@{place}" if known else "postgresql://…"


_SECRETS = frozenset({"qdrant_api_key"})

RELEASE_FIELDS = (
    "top_k", "retrieval", "per_document", "reranker", "rerank_depth", "min_confidence", "support",
    "prompt", "generator", "generator_base_url", "max_tokens", "temperature", "seed", "generator_threads",
    "generator_retries", "generator_fallback",
)  # fmt: skip
"""Settings that only an activation reads: a served answer is made by its release."""


def load_settings(environ: Mapping[str, str] | None = None, **given: object) -> Settings:
    """Settings from, in rising order: defaults, the TOML file, `environ` (default `os.environ`), and `given` (None is not given).

    Raises `InvalidSettings` naming the variable or key, what is wrong with it, and what it may have meant.
    """
    environ = os.environ if environ is None else environ
    from_file, where = _from_file(environ)
    from_environ = _from_environ(environ)
    declared = {"container_image": image} if (image := _image_of_the_resource(environ)) else {}
    values = {**declared, **from_file, **from_environ, **{name: value for name, value in given.items() if value is not None}}
    values = {name: _plain(name, value) for name, value in values.items()}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        if name in given and given[name] is not None:
            shown = f"--{name.replace('_', '-')}"
        else:
            shown = PREFIX + name.upper() if name in from_environ else f"{name} in {where}"
        raise InvalidSettings(
            f"{shown} is {shown_value(values[name], name)!r}: {problem['msg']}", hint=_description(name), param=name
        ) from error
    if settings.indexes.exists() and not settings.indexes.is_dir():
        raise InvalidSettings(f"indexes is {settings.indexes}, which is not a folder", hint=_description("indexes"), param="indexes")
    return settings


def settings_of(values: Mapping[str, object], where: str) -> Settings:
    """Settings of these values alone, neither the environment nor a file having a say. Raises `InvalidSettings` naming `where`."""
    for name in values:
        if name not in Settings.model_fields:
            raise _unknown(f"{name} in {where}", list(Settings.model_fields), asked=name)
    plain = {name: _plain(name, value) for name, value in values.items()}
    try:
        return Settings.model_validate(plain)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        raise InvalidSettings(
            f"{name} in {where} is {shown_value(plain[name], name)!r}: {problem['msg']}", hint=_description(name), param=name
        ) from error


def read_settings_file(path: Path) -> dict[str, Any]:
    """The values in a TOML file of settings, not yet validated. Raises `InvalidSettings`."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be read: {error.strerror}", hint="correct its path or its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path.name} is not TOML: {error}", hint="lines look like: top_k = 5") from error
    for name in values:
        if name not in Settings.model_fields:
            raise _unknown(f"{name} in {path.name}", list(Settings.model_fields), asked=name)
    return values


def _plain(name: str, value: object) -> object:
    """`none` where a setting can be left out, and words in any case."""
    if not isinstance(value, str):
        return value
    if value.lower() == "none" and _may_be_none(name):
        return None
    return value.lower() if name == "log_level" else value


def explicitly_set(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Names that the file or the environment sets."""
    environ = os.environ if environ is None else environ
    return frozenset({*_from_file(environ)[0], *_from_environ(environ)})


def _from_environ(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == "RAG_CONFIG":
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in Settings.model_fields:
            raise _unknown(variable, [PREFIX + field.upper() for field in (*Settings.model_fields, "config")])
        if value != "":  # an empty variable is how compose files and CI spell "not set"
            found[name] = value
    return found


def _may_be_none(name: str) -> bool:
    return NoneType in get_args(Settings.model_fields[name].annotation)


def _image_of_the_resource(environ: Mapping[str, str]) -> str | None:
    """`container.image.repo_digests` of OTEL_RESOURCE_ATTRIBUTES: deployments that set it need not set RAG_CONTAINER_IMAGE too."""
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, _, value = pair.partition("=")
        if key.strip() == "container.image.repo_digests":
            return unquote(value.strip()).strip('[]" ') or None
    return None


def _from_file(environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    path = Path(environ["RAG_CONFIG"]) if environ.get("RAG_CONFIG") else DEFAULT_FILE
    if not path.is_file():
        if environ.get("RAG_CONFIG"):
            raise InvalidSettings(f"RAG_CONFIG names {path}, which is not a file", hint="correct the path or unset RAG_CONFIG")
        return {}, path.name
    return read_settings_file(path), path.name


def _unknown(shown: str, known: list[str], asked: str | None = None) -> InvalidSettings:
    close = difflib.get_close_matches(asked or shown, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else "`rag-service config show` lists every setting"
    return InvalidSettings(f"there is no setting {shown}", hint=hint)


def _description(name: str) -> str:
    field = Settings.model_fields.get(name)
    return f"{name}: {field.description}" if field else ""
