"""The service in a container: root file system read-only, one data volume, the user that the image names."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

from tests.image.engine import Buildah
from tests.processes import ServerProcess

VOLUME = "/srv/indexes"
SERVICE = b"/opt/rag/bin/rag-service"


@dataclass(frozen=True, slots=True)
class Container:
    buildah: Buildah
    name: str
    root: Path
    """Its root file system, as this machine sees it."""
    volume: Path

    def command(self, *command: str, environ: Mapping[str, str]) -> list[str]:
        variables = [part for name, value in environ.items() for part in ("--env", f"{name}={value}")]
        return self.buildah.command(
            "run", "--isolation", "chroot", "--volume", f"{self.volume}:{VOLUME}", *variables, self.name, "--", *command
        )

    def run(self, *command: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(*command, environ=environ or {}), capture_output=True, text=True, timeout=120, check=False)

    @contextmanager
    def serving(self, environ: Mapping[str, str]) -> Iterator["Served"]:
        """The command that the image names. It shares the loopback of this machine."""
        command = self.command("rag-service", "serve", environ=environ)
        with Popen(command, stderr=PIPE, stdout=DEVNULL, stdin=DEVNULL, text=True) as runner:
            try:
                yield Served(ServerProcess(runner), service_of(runner.pid))
            finally:
                if runner.poll() is None:
                    for pid in [*descendants(runner.pid)]:
                        os.kill(pid, signal.SIGKILL)
                    runner.wait(timeout=30)


@dataclass(frozen=True, slots=True)
class Served:
    server: ServerProcess
    """`buildah run`, as far as processes go: it says what the service says, and ends with its exit code."""
    pid: int
    """Of the service itself, as this machine counts."""

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


@contextmanager
def container_of(buildah: Buildah, image: str, folder: Path) -> Iterator[Container]:
    """Named like a read-only container of an engine: what the engine itself writes (its notes below /run) goes to a mount of its own."""
    name = buildah.call("from", "--pull-never", image)
    root, volume = Path(buildah.call("mount", name)), folder / "volume"
    shutil.rmtree(volume, ignore_errors=True)
    subprocess.run(["cp", "-a", str(root / VOLUME.lstrip("/")), str(volume)], check=True)  # an engine fills a new volume like this
    (root / "etc/hosts").touch()  # what an engine mounts over
    mount("--bind", str(root), str(root))
    mount("-o", "remount,bind,ro", str(root))
    mount("-t", "tmpfs", "-o", "size=1m,mode=0755", "run", str(root / "run"))
    try:
        yield Container(buildah, name, root, volume)
    finally:
        for place in (root / "run", root):
            subprocess.run(["umount", str(place)], check=True)
        buildah.call("rm", name)
        shutil.rmtree(volume)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def descendants(pid: int) -> Iterator[int]:
    """Deepest first. Any thread of a process may have started some of them."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield from descendants(child)
            yield child


def service_of(pid: int) -> int:
    """The runner has a process in between that names the service in its own arguments, so the innermost is meant."""
    return next(each for each in descendants(pid) if SERVICE in Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0"))
