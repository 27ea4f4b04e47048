"""Releases beside the active one, opened because a request names them, and kept for the next such request."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from rag_service.ask import Pipeline
from rag_service.errors import DeadlineExceeded, NotFound


class Pinned:
    """Keeps the `most` most recently used open; a further one is closed when its last request has ended. Opens one at a time."""

    def __init__(self, open_pipeline: Callable[[str], Pipeline], *, most: int) -> None:
        self._open_pipeline = open_pipeline
        self._most = most
        self._pipelines: OrderedDict[str, Pipeline] = OrderedDict()
        self._change = threading.Lock()
        self._opening = threading.Lock()

    def get(self, release_id: str) -> Pipeline | None:
        """What is open already."""
        with self._change:
            pipeline = self._pipelines.get(release_id)
            if pipeline is not None:
                self._pipelines.move_to_end(release_id)
            return pipeline

    def open(self, release_id: str, *, deadline_s: float | None) -> Pipeline:
        """Takes about a second when it is not open yet. Raises what opening raises, `DeadlineExceeded`, or `NotFound`."""
        if not self._most:
            raise NotFound(
                f"release {release_id} is not the active one", hint="RAG_PINNED_RELEASES is 0: only the active one answers", param="release"
            )
        if (found := self.get(release_id)) is not None:
            return found
        if not self._opening.acquire(timeout=-1 if deadline_s is None else max(0.0, deadline_s - time.monotonic())):
            raise DeadlineExceeded(f"the time was over before release {release_id} was open", stage="open")
        try:
            pipeline = self.get(release_id) or self._open_pipeline(release_id)
            self._keep(release_id, pipeline)  # before the next one looks, who may have waited for the same release
        finally:
            self._opening.release()
        return pipeline

    def _keep(self, release_id: str, pipeline: Pipeline) -> None:
        with self._change:
            self._pipelines[release_id] = pipeline
            self._pipelines.move_to_end(release_id)
            while len(self._pipelines) > self._most:
                self._pipelines.popitem(last=False)
