"""Buildah as the tests use it: storage of its own, no daemon, chroot instead of namespaces, nothing pulled that is not named.

Buildah and debootstrap are Debian packages, and both want root. Nothing of the machine's own containers is touched.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.registry_settings import Handed

BASE = "docker.io/library/python:3.11-slim-bookworm"
"""What the Dockerfile starts from, by its full name."""
NEEDED = ("buildah", "debootstrap", "docker-registry")
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"


def missing() -> str | None:
    """Why no image can be built here; None if one can."""
    if absent := [name for name in NEEDED if shutil.which(name) is None]:
        return f"needs Debian's {' and '.join(absent)}"
    return None if os.geteuid() == 0 else "needs root: debootstrap and mounts do"


@dataclass(frozen=True, slots=True)
class Buildah:
    folder: Path
    """Everything is kept in here; what stays from run to run is the base image."""

    def command(self, *arguments: str) -> list[str]:
        storage, run = str(self.folder / "storage"), str(self.folder / "run")
        return ["buildah", "--root", storage, "--runroot", run, "--storage-driver", "vfs", *arguments]

    def call(self, *arguments: str, timeout_s: float = 600) -> str:
        """What the command prints. Raises with its messages if it fails."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, f"buildah {arguments[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done.stdout.strip()

    def clear_away(self) -> None:
        """What an earlier run left behind because it was killed. Mounts first: nothing may be removed through one."""
        for place in _mounts_below(self.folder):
            _output(["umount", place])
        for left in ("registry", "rootfs", "volume"):
            shutil.rmtree(self.folder / left, ignore_errors=True)
        self.call("rm", "--all")

    def has(self, image: str) -> bool:
        return subprocess.run(self.command("inspect", "--type", "image", image), capture_output=True, check=False).returncode == 0

    def described(self, image: str) -> dict[str, Any]:
        """As the image was written: its configuration in Docker's form."""
        found: dict[str, Any] = json.loads(self.call("inspect", "--type", "image", image))["Docker"]
        return found

    def make_base(self) -> None:
        """A Debian bookworm with its own Python 3.11, under the name of the official image, unless it is there from an earlier run.

        It gives what the Dockerfile uses of that image: `python` and `pip` on the PATH, `venv`, certificates, glibc of bookworm.
        """
        if self.has(BASE):
            return
        rootfs = self.folder / "rootfs"
        _output(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(rootfs)])
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(rootfs / cache)
            (rootfs / cache / "partial").mkdir(parents=True)
        (rootfs / "usr/local/bin/python").symlink_to("../../bin/python3")
        container = self.call("from", "scratch")
        _output(["cp", "-a", f"{rootfs}/.", self.call("mount", container)])
        self.call("config", "--env", "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "--cmd", "python3", container)
        self.call("commit", "--rm", "--disable-compression", "--quiet", container, BASE)
        shutil.rmtree(rootfs)

    def build(self, context: Path, tag: str, *, revision: str, handed: Handed) -> None:
        """The Dockerfile as it is. `handed`: what pip is told on this machine, for as long as the build runs."""
        options = ["--isolation", "chroot", "--format", "docker", "--pull-never", "--tag", tag, "--build-arg", f"REVISION={revision}"]
        volumes = [part for place, target in handed.mounts for part in ("--volume", f"{place}:{target}:ro")]
        self.call("bud", *options, *volumes, str(context), timeout_s=2400)

    def push(self, image: str, to: str) -> str:
        """Gives the digest under which the registry keeps it."""
        file = self.folder / "digest"
        self.call("push", "--quiet", "--tls-verify=false", "--digestfile", str(file), image, f"docker://{to}")
        return file.read_text().strip()

    def forget(self, *images: str) -> None:
        self.call("rm", "--all")
        self.call("rmi", "--force", *images)


def _mounts_below(folder: Path) -> list[str]:
    """Deepest first."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((place for place in places if place.startswith(f"{folder}/")), key=len, reverse=True)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
