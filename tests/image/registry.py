"""A registry on the loopback (Debian's docker-registry), to push to and pull from as a delivery does."""

import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from urllib.error import URLError

MANIFESTS = ", ".join(f"application/vnd.{kind}+json" for kind in ("docker.distribution.manifest.v2", "oci.image.manifest.v1"))


@contextmanager
def registry(folder: Path, port: int) -> Iterator[str]:
    """Its host and port. What it holds goes away with it."""
    folder.mkdir(parents=True)
    settings = folder / "registry.yml"
    lines = [
        "version: 0.1",
        "log: {level: error}",
        f"storage: {{filesystem: {{rootdirectory: {folder}}}}}",
        f"http: {{addr: '127.0.0.1:{port}'}}",
    ]
    settings.write_text("\n".join(lines))
    with (folder / "log.txt").open("w") as log:
        process = Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=STDOUT, stdin=DEVNULL)
    try:
        deadline_s = time.monotonic() + 30
        while not _answers(f"http://127.0.0.1:{port}/v2/"):
            assert process.poll() is None and time.monotonic() < deadline_s, (folder / "log.txt").read_text()[-2000:]  # noqa: PT018
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        shutil.rmtree(folder)


def digest_kept(host: str, name: str, tag: str) -> str:
    """What the registry itself says is the digest of the image of this name."""
    request = urllib.request.Request(f"http://{host}/v2/{name}/manifests/{tag}", headers={"Accept": MANIFESTS}, method="HEAD")
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(reply.headers["Docker-Content-Digest"])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False
