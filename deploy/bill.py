"""The bill of materials of an image: its Python environment and its Debian packages, as CycloneDX 1.6 (https://cyclonedx.org).

cyclonedx-py reads the environment; the packages of the distribution come from its package database.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ENVIRONMENT = "opt/rag/lib/python3.11/site-packages"


def bill(root: Path | None, environment: Path) -> str:
    """`root`: an unpacked Debian, if there is one. Raises `ValueError` if what comes out is not valid CycloneDX."""
    bom = Bom.from_json(_python_environment(environment))
    for component in debian_packages(root) if root else ():
        bom.components.add(component)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    if faults := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"this is not valid CycloneDX: {faults}")
    return text


def _python_environment(site_packages: Path) -> dict[str, object]:
    """cyclonedx-py asks an interpreter where its packages are. The one of the image cannot run here, so a stand-in answers for it."""
    with TemporaryDirectory() as scratch:
        interpreter = Path(scratch) / "python"
        interpreter.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps([str(site_packages.resolve())])}\nEND\n")
        interpreter.chmod(0o700)
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--sv", "1.6", "--output-reproducible", str(interpreter)]
        found: dict[str, object] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    return found


def debian_packages(root: Path) -> Iterator[Component]:
    """Installed ones, as package URLs (https://github.com/package-url/purl-spec, type deb)."""
    release = dict(line.split("=", 1) for line in (root / "etc/os-release").read_text("utf-8").splitlines() if "=" in line)
    distro = "-".join(release[name].strip('"') for name in ("ID", "VERSION_ID"))
    for stanza in (root / "var/lib/dpkg/status").read_text("utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status") == "install ok installed":
            name, version = fields["Package"], fields["Version"]
            where = PackageURL("deb", "debian", name, version, {"arch": fields["Architecture"], "distro": distro})
            source = Property(name="debian:source", value=fields.get("Source", name))
            reference = f"deb/{name}@{quote(version)}"
            yield Component(type=ComponentType.LIBRARY, name=name, version=version, purl=where, bom_ref=reference, properties=[source])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="to write to")
    parser.add_argument("--root", type=Path, help="where the image's file system is mounted")
    parser.add_argument("--environment", type=Path, help="site-packages; by default those of the image")
    given = parser.parse_args()
    if given.root is None and given.environment is None:
        parser.error("give --root, --environment, or both")
    given.file.parent.mkdir(parents=True, exist_ok=True)
    given.file.write_text(bill(given.root, given.environment or given.root / ENVIRONMENT), encoding="utf-8")
    print(f"{given.file}: {len(json.loads(given.file.read_text('utf-8'))['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
