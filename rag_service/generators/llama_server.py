"""One llama.cpp server inside this process, spoken to over a private Unix socket (Linux and macOS).

The wheel `xllamacpp` opens an HTTP door whether it is wanted or not, by default on a TCP port and without a key. Here that door
is a socket in a folder which only this user can enter, and everything goes through it rather than through the wheel's own
`handle_completions`, because only the door can tokenize, and because llama.cpp looks every second whether the caller has hung up
and then drops the run, even while it still reads the prompt: that is how a deadline is kept.
"""

import importlib
import importlib.metadata
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rag_service.cancellation import Cancellation
from rag_service.errors import Damaged, DeadlineExceeded, GeneratorFailed, InvalidSettings, MissingDependency, StorageFailed
from rag_service.generators.llama_run import Run, asked, refusal, run, told
from rag_service.generators.places import Places
from rag_service.generators.transcript import Transcript
from rag_service.generators.unix_http import UnixConnection

_SOCKET_PATH_BYTES = 100
"""Systems allow 104 (macOS) or 108 bytes (Linux) for the path of a socket."""
_TOKENIZE_TIMEOUT_S = 60.0
_HTTP_THREADS = 4
"""One run at a time, a few that were hung up on and are ending, and tokenizing. They sleep; they do not compute."""
_BATCH_TOKENS = 256
"""Tokens of a prompt that are read in one go: a run can be stopped only between batches. Larger ones were no faster."""
_WAIT_POLICY = "OMP_WAIT_POLICY"
_GGUF_MAGIC = b"GGUF"
_SETTLE_S = 0.1


class LlamaServer:
    """A loaded model. Any thread may call it; runs take turns, because a run in a batch with another may round differently."""

    def __init__(self, handle: object, socket_path: Path) -> None:
        self._handle: object | None = handle
        self._socket_path = socket_path
        self._turn = Places(1)
        self._change = threading.Condition()
        self._open_calls: set[UnixConnection] = set()
        self._closed = False

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`, without one for the beginning. With `special` false, `<|im_end|>` in `text` is so many letters, so
        no document can end its own turn. Lone surrogates count as `?`. Raises `GeneratorFailed`.
        """
        content = text.encode("utf-8", "replace").decode()
        body = {"content": content, "add_special": False, "parse_special": special}
        reply = self._post("/tokenize", body, wanted="tokens", timeout_s=_TOKENIZE_TIMEOUT_S)
        return [int(token) for token in reply["tokens"]]

    def complete(
        self,
        tokens: Sequence[int],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Run:
        """Continue `tokens`, from an empty cache. Waiting for one's turn counts towards the deadline (a `time.monotonic()`
        instant). Raises `DeadlineExceeded`, `Cancelled`, what `write` raises, or `GeneratorFailed` when the engine refuses or the
        server is closed meanwhile.
        """
        cancellation = cancellation or Cancellation()
        body = {
            "prompt": list(tokens),
            "n_predict": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "cache_prompt": False,
            # Also when nobody reads along: a run that is cut within a character ends differently where llama.cpp does not stream.
            "stream": True,
            "response_fields": ["content", "stop_type", "tokens_evaluated", "tokens_predicted"],
        }
        if not self._turn.take(deadline_s=deadline_s, cancellation=cancellation):
            raise DeadlineExceeded("the time was over before the model was free", stage="generate")
        try:
            with self._call(deadline_s) as connection, cancellation.hanging_up(connection.hang_up):
                return run(connection, body, Transcript(write), deadline_s, cancellation)
        finally:
            self._turn.give_back()

    def close(self) -> None:
        """Hang up on every call, then free the model. Safe to call twice and while calls run: those raise `GeneratorFailed`."""
        with self._change:
            self._closed = True
            while self._open_calls:
                for connection in self._open_calls:
                    connection.hang_up()
                self._change.wait(timeout=0.1)  # and again: a call may have been about to connect
            # llama.cpp joins its threads here with the GIL held: with a caller still connected this would never return, nor where one of
            # them is just about to take the GIL, so those that served a call until now get time to end.
            time.sleep(_SETTLE_S)
            self._handle = None

    def _post(self, path: str, body: Mapping[str, object], *, wanted: str, timeout_s: float) -> dict[str, Any]:
        with self._call(time.monotonic() + timeout_s) as connection, told(Cancellation()), asked(connection, path, body) as response:
            status, reply = response.status, json.loads(response.read())
        if status != HTTPStatus.OK or not isinstance(reply, dict) or wanted not in reply:
            raise refusal(status, reply)
        return reply

    @contextmanager
    def _call(self, deadline_s: float | None) -> Iterator[UnixConnection]:
        connection = UnixConnection(self._socket_path, deadline_s)
        with self._change:
            if self._closed:
                raise GeneratorFailed("the model has been closed", stage="generate")
            self._open_calls.add(connection)
        try:
            yield connection
        finally:
            connection.hang_up()
            connection.close()
            with self._change:
                self._open_calls.discard(connection)
                self._change.notify_all()


@contextmanager
def open_server(path: Path, *, context_tokens: int, threads: int) -> Iterator[LlamaServer]:
    """Load the GGUF at `path` on the CPU with `threads` threads and free it at the end. The chat template inside the file is
    neither parsed nor run.

    Raises `MissingDependency`, `Damaged` when the file is not a GGUF that this llama.cpp can load, `StorageFailed` when there is
    nowhere to put the socket, and `InvalidSettings` on a system without Unix sockets.
    """
    engine = _engine()
    if not hasattr(socket, "AF_UNIX"):
        raise InvalidSettings("llama.cpp in process needs Unix sockets, which this system lacks", hint="use another generator")
    with path.open("rb") as file:
        if file.read(len(_GGUF_MAGIC)) != _GGUF_MAGIC:
            raise Damaged(f"{path.name} is not a GGUF file", hint="download the model again and compare its SHA-256")
    with _socket_path() as socket_path:
        try:
            handle = engine.Server(_params(engine, path, socket_path, context_tokens=context_tokens, threads=threads))
        except RuntimeError as error:  # the only thing it says is that it failed
            raise Damaged(
                f"llama.cpp {engine_version()} cannot load {path.name}",
                hint="it is incomplete, newer than this llama.cpp, or too large for the memory; compare its SHA-256",
            ) from error
        server = LlamaServer(handle, socket_path)
        del handle  # the server's is the last reference, so that close() frees the model
        try:
            yield server
        finally:
            server.close()


def engine_version() -> str:
    """Version of the wheel `xllamacpp`; it contains the build number of llama.cpp. Raises `MissingDependency`."""
    try:
        return importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing() from error


def _engine() -> Any:
    with _waiting_without_spinning():
        try:
            return importlib.import_module("xllamacpp")
        except ImportError as error:
            raise _missing() from error


@contextmanager
def _waiting_without_spinning() -> Iterator[None]:
    """llama.cpp's threads spin while they wait for each other, unless OpenMP is told otherwise when its library is loaded, which
    is when the wheel is first imported. On two cores shared with other work an answer took 8 s of CPU and 12 s with spinning,
    and 2.7 s of CPU and 4.5 s without. A policy that the environment sets already is kept.
    """
    if _WAIT_POLICY in os.environ:
        yield
        return
    os.environ[_WAIT_POLICY] = "passive"
    try:
        yield
    finally:
        os.environ.pop(_WAIT_POLICY, None)


def _missing() -> MissingDependency:
    return MissingDependency("xllamacpp is not installed", hint="pip install 'rag-service[llamacpp]'")


def _params(engine: Any, path: Path, socket_path: Path, *, context_tokens: int, threads: int) -> Any:
    params = engine.CommonParams()
    params.model.path = str(path)
    params.n_ctx = context_tokens
    params.n_parallel = 1
    params.n_batch = _BATCH_TOKENS
    params.n_ubatch = _BATCH_TOKENS
    params.n_gpu_layers = 0
    params.fit_params = False  # would choose settings by the memory that is free now
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = 0
    params.chat_template = "chatml"  # a constant, in place of the file's own template
    params.use_jinja = False
    params.offline = True
    params.hostnames = [str(socket_path)]
    params.n_threads_http = _HTTP_THREADS
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    params.verbosity = -1  # silent; a failure to load is reported by an exception
    return params


@contextmanager
def _socket_path() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="rag-llama-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageFailed(f"no temporary folder for llama.cpp: {error.strerror}", hint="point TMPDIR to a writable folder") from error
    with folder as name:
        path = Path(name, "llama.sock")  # llama.cpp knows a Unix socket by this ending
        if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
            raise StorageFailed("the temporary folder's path is too long for a socket", hint="point TMPDIR to a shorter path")
        yield path
