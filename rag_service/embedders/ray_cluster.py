"""Embeds on the machines of a Ray cluster, through Ray Data. Ray is imported here alone, and only when a cluster is opened.

Each worker gets the files of the encoder, opens them as this machine does, and embeds one text at a time; so a vector is the same bit for
bit wherever it is made, on machines of one numeric class. Machines of another class, or without this very package, get no work and are
named. Ray gives the texts of a worker that died to another one.
"""

import logging
import os
import shutil
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np

from rag_service import __version__
from rag_service.deployment import numeric_class
from rag_service.embedders.encoder import ENCODER_FILE, verified_card
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.errors import InvalidSettings, Mismatch, MissingDependency, RemoteFailed
from rag_service.types import Matrix

logger = logging.getLogger("rag_service.embedders")

BATCH = 64
"""Texts that a worker gets at a time, and loses when it dies."""
_RESTARTS = 8
"""Of one worker; and tries of one batch."""
_STALLED_S = 600.0
"""No vector for so long, and the cluster is given up."""
_LOOK_S = 120.0
"""For a machine to say what it is."""
_CONNECT_S = 10.0

_PATIENCE = {"RAY_raylet_start_wait_time_s": "300", "RAY_agent_register_timeout_ms": "300000"}
"""Ray's own agents take longer than its defaults allow on a machine that is busy, and then it ends itself."""

Tell = Callable[[str], None]
_Batch = tuple[list[int], Matrix]


class RayCluster:
    """A `BulkEmbedder`. Make one with `open`."""

    def __init__(self, ray: Any, files: Any, digest: str, nodes: Mapping[str, int], stalled_s: float) -> None:
        self._ray = ray
        self._files = files
        self._digest = digest
        self._nodes = nodes
        self._stalled_s = stalled_s

    @classmethod
    @contextmanager
    def open(cls, address: str, encoder: Path, *, threads: int, tell: Tell, stalled_s: float = _STALLED_S) -> Iterator["RayCluster"]:
        """Joins the cluster at `address`, or with `local` starts one here of `threads` workers, and ends it afterwards.

        `tell` is told which machines work and which do not. Raises `MissingDependency`, `InvalidSettings`, `RemoteFailed`, and `Mismatch`
        where no machine could give the vectors that this one gives.
        """
        card = verified_card(encoder)
        ray = _imported()
        _join(ray, address, threads)
        try:
            nodes = _usable(ray, tell)
            files = ray.put({name: (encoder / name).read_bytes() for name in (ENCODER_FILE, *card.files)})
            yield cls(ray, files, card.digest, nodes, stalled_s)
        finally:
            ray.shutdown()

    def embed(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        """Raises `RemoteFailed`; what came before can be kept."""
        for numbers, vectors in self._watched(texts):
            yield [texts[number] for number in numbers], vectors

    def _watched(self, texts: Sequence[str]) -> Iterator[_Batch]:
        """The batches that come, in any order, until all have, or none has for too long."""
        arrived: Queue[_Batch | Exception | None] = Queue(maxsize=4)

        def run() -> None:
            try:
                for batch in self._batches(texts):
                    arrived.put(batch)
                arrived.put(None)
            except Exception as error:  # noqa: BLE001 - handed to the thread that waits, which names it
                arrived.put(error)

        threading.Thread(target=run, name="ray-batches", daemon=True).start()
        while True:
            try:
                batch = arrived.get(timeout=self._stalled_s)
            except Empty:
                raise RemoteFailed(
                    f"the Ray cluster has given no vector for {self._stalled_s:g} s",
                    hint="look at `ray status`; build again to go on where it was: what was embedded is kept",
                ) from None
            if batch is None:
                return
            if isinstance(batch, Exception):
                raise _failure(batch) from batch
            yield batch

    def _batches(self, texts: Sequence[str]) -> Iterator[_Batch]:
        import pyarrow

        blocks = [
            pyarrow.table(
                {
                    "number": pyarrow.array(range(first, min(first + BATCH, len(texts))), pyarrow.int64()),
                    "text": pyarrow.array(
                        [text.encode("utf-8", "surrogatepass") for text in texts[first : first + BATCH]], pyarrow.binary()
                    ),
                }
            )
            for first in range(0, len(texts), BATCH)
        ]
        workers = max(min(sum(self._nodes.values()), len(blocks)), 1)
        vectors = self._ray.data.from_arrow(blocks).map_batches(
            _Worker,
            fn_constructor_args=(self._files, self._digest, numeric_class()),
            batch_size=BATCH,
            batch_format="numpy",
            compute=self._ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_cpus=1,
            label_selector={"ray.io/node-id": f"in({','.join(self._nodes)})"},
            ray_remote_args_fn=lambda: {"max_restarts": _RESTARTS, "max_task_retries": _RESTARTS},
        )
        for batch in vectors.iter_batches(batch_size=None, batch_format="numpy"):
            yield [int(number) for number in batch["number"]], np.ascontiguousarray(batch["vector"], np.float32)


class _Worker:
    """Lives on a machine of the cluster, with the encoder open."""

    def __init__(self, files: Any, digest: str, expected_class: str) -> None:
        import ray

        if numeric_class() != expected_class:
            raise Mismatch(f"this machine is {numeric_class()}, not {expected_class}")
        contents: Mapping[str, bytes] = ray.get(files) if isinstance(files, ray.ObjectRef) else files
        self._folder = Path(tempfile.mkdtemp(prefix="rag-encoder-"))
        folder = self._folder / digest.removeprefix("sha256:")[:12]
        folder.mkdir()
        try:
            for name, data in contents.items():
                (folder / name).write_bytes(data)
            self._embedder = OnnxEmbedder.open(folder)  # compares every file with its digest
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        texts = [text.decode("utf-8", "surrogatepass") for text in batch["text"]]
        return {"number": batch["number"], "vector": self._embedder.embed_passages(texts)}


def _imported() -> Any:
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)  # Ray reads them when it is imported
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependency(
            "building on a cluster needs the package ray", hint="install the extra: pip install 'rag-service[ray]'"
        ) from error
    return ray


def _join(ray: Any, address: str, threads: int) -> None:
    _require_listening(address)
    quietly = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=threads, include_dashboard=False, **quietly)
        else:
            ray.init(address=address, **quietly)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise RemoteFailed(
            f"the Ray cluster at {address!r} cannot be joined ({type(error).__name__})",
            hint="check that `ray status` works here, and that RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH holds the cluster's token",
            param="ray",
        ) from None  # what Ray says may hold the token
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _require_listening(address: str) -> None:
    """Ray itself waits for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in {"local", "auto"}:
        return
    if not host or not port.isdecimal():
        raise InvalidSettings(f"{address!r} is no address of a Ray cluster", hint="write local, auto, or HOST:PORT", param="ray")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            pass
    except (OSError, OverflowError) as error:
        raise RemoteFailed(
            f"nothing listens at {address}", hint="check the address; a head node listens on port 6379", param="ray"
        ) from error


def _usable(ray: Any, tell: Tell) -> dict[str, int]:
    """CPUs of the machines that give the vectors that this one gives, by node id."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    mine = (numeric_class(), __version__)
    found: dict[str, int] = {}
    classes: Counter[str] = Counter()
    look = ray.remote(num_cpus=0, max_retries=2)(_described)
    alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    asked = {
        node["NodeID"]: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in alive
    }
    for node in alive:
        where = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        try:
            theirs = ray.get(asked[node["NodeID"]], timeout=_LOOK_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            classes[f"{where} does not run this package ({type(error).__name__})"] += 1
            continue
        if theirs == mine:
            found[node["NodeID"]] = int(node["Resources"]["CPU"])
        else:
            classes[f"{where} is {theirs[0]} with rag-service {theirs[1]}"] += 1
    for why in classes:
        tell(f"left out: {why}")
    if not found:
        raise Mismatch(
            f"no machine of the cluster gives the vectors that this one gives: {'; '.join(classes) or 'none has a CPU to spare'}",
            hint=f"this one is {mine[0]} with rag-service {mine[1]}; build on a machine like those of the cluster",
        )
    tell(f"{len(found)} machines with {sum(found.values())} CPUs embed, all {mine[0]}")
    return found


def _described() -> tuple[str, str]:
    """Runs on another machine."""
    from rag_service import __version__ as theirs
    from rag_service.deployment import numeric_class as its_class

    return its_class(), theirs


def _failure(error: Exception) -> RemoteFailed:
    logger.debug("Ray: %s", type(error).__name__)
    cause: BaseException = error
    with suppress(AttributeError):
        cause = error.cause or error  # type: ignore[attr-defined]  # of a RayTaskError
    return RemoteFailed(
        f"embedding on the Ray cluster failed ({type(cause).__name__})",
        hint="look at the logs of Ray; build again to go on where it was: what was embedded is kept",
    )
