"""Whether a deployment serves the image that it was given. Run by `make verify` after every deployment and every rollback.

Waits until the service is ready, then asks one question: the trace of the answer has to name the image. A key with the scope `ask` is
read from KEY. Needs nothing but Python.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError


class NotAsDeployed(Exception):
    """Says what is served in place of what was deployed."""


@dataclass(frozen=True, slots=True)
class Deployment:
    url: str
    key: str | None
    within_s: float

    def wait_until_ready(self) -> None:
        deadline_s, last = time.monotonic() + self.within_s, "no reply"
        while time.monotonic() < deadline_s:
            try:
                self._read("/health/ready")
                return
            except HTTPError as error:
                last = f"HTTP {error.code}: {error.read(500).decode(errors='replace')}"
            except (URLError, OSError) as error:
                last = str(error)
            time.sleep(min(1.0, self.within_s / 10))
        raise NotAsDeployed(f"{self.url} is not ready after {self.within_s:g} s ({last})")

    def trace_of(self, question: str) -> Mapping[str, Any]:
        trace: Mapping[str, Any] = self._read("/ask", {"question": question})["trace"]
        return trace

    def _read(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        data = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=30) as reply:
            return json.load(reply)


def verify(deployment: Deployment, image: str, question: str) -> str:
    """One line on what is served. Raises `NotAsDeployed`."""
    deployment.wait_until_ready()
    try:
        trace = deployment.trace_of(question)
    except HTTPError as error:
        raise NotAsDeployed(f"POST {deployment.url}/ask: HTTP {error.code}: {error.read(500).decode(errors='replace')}") from error
    except (URLError, OSError) as error:
        raise NotAsDeployed(f"POST {deployment.url}/ask: {error}") from error
    served = trace["container_image"]
    if served is None or served["ref"] != image:
        declared = "no image: RAG_CONTAINER_IMAGE is not set" if served is None else served["ref"]
        raise NotAsDeployed(f"{deployment.url} serves {declared}, not {image}")
    return f"{deployment.url} serves {image}, release {trace['release']['id']}, index version {trace['index']['version']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("image", help="name@sha256:…")
    parser.add_argument("--question", default="What is this about?")
    parser.add_argument("--within", type=float, default=120.0, help="seconds to wait until it is ready")
    given = parser.parse_args()
    try:
        print(verify(Deployment(given.url.rstrip("/"), os.environ.get("KEY"), given.within), given.image, given.question))
    except NotAsDeployed as error:
        print(f"not as deployed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
