"""Known vulnerabilities of everything in constraints.txt, as pip-audit finds them. Run by `make audit`.

pip-audit ends well where it could look up nothing, so what it could not look up is counted here. Exit codes: 0 no known vulnerability,
1 there is one, 3 not everything could be looked up (0 with --unless-offline if it was nothing at all, and said so).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PINNED = Path(__file__).resolve().parents[1] / "constraints.txt"
IGNORED = Path(__file__).parent / "audit-ignored.txt"
"""Vulnerabilities that do not concern this service: an id to a line, after it `#` and why not."""


@dataclass(frozen=True, slots=True)
class Findings:
    audited: int
    vulnerable: tuple[str, ...]
    """package version: id (fixed in …)"""
    unaudited: tuple[str, ...]
    """package: why it could not be looked up"""


def findings(report: Mapping[str, Any]) -> Findings:
    """`report`: what `pip-audit --format json` prints."""
    vulnerable, unaudited = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unaudited.append(f"{package['name']}: {package['skip_reason']}")
        for found in package.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            vulnerable.append(f"{package['name']} {package['version']}: {found['id']} (fixed in {fixed})")
    return Findings(len(report["dependencies"]) - len(unaudited), tuple(vulnerable), tuple(unaudited))


def verdict(found: Findings, *, unless_offline: bool) -> tuple[int, list[str]]:
    """Exit code and what to print."""
    lines = [f"VULNERABLE  {each}" for each in found.vulnerable]
    if not found.audited:
        lines.append(f"NOT AUDITED: none of {len(found.unaudited)} packages could be looked up ({found.unaudited[0]})")
        return (0 if unless_offline else 3), lines
    lines += [f"NOT AUDITED {each}" for each in found.unaudited]
    lines.append(f"{found.audited} packages audited, {len(found.vulnerable)} known vulnerabilities, {len(found.unaudited)} not looked up")
    return (1 if found.vulnerable else 3 if found.unaudited else 0), lines


def ignored(text: str) -> list[str]:
    """Raises `ValueError` for one without a reason."""
    stated = [line.partition("#") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if bare := [name.strip() for name, _, reason in stated if not reason.strip()]:
        raise ValueError(f"{IGNORED.name} gives no reason for {', '.join(bare)}")
    return [name.strip() for name, _, _ in stated]


def _audited(pinned: Path, ignore: Sequence[str]) -> Mapping[str, Any]:
    """What pip-audit reports; every package as not looked up if its service cannot be reached at all."""
    without_resolving = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--desc", "off", "--format", "json"]
    options = [*without_resolving, *(part for each in ignore for part in ("--ignore-vuln", each))]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--requirement", str(pinned), *options],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.stdout.lstrip().startswith("{"):
        report: Mapping[str, Any] = json.loads(done.stdout)
        return report
    names = [line.partition("==")[0] for line in pinned.read_text("utf-8").splitlines() if "==" in line and not line.startswith("#")]
    reason = (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
    return {"dependencies": [{"name": name, "skip_reason": reason} for name in names]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unless-offline", action="store_true", help="end with 0 where nothing at all can be looked up")
    given = parser.parse_args()
    code, lines = verdict(findings(_audited(PINNED, ignored(IGNORED.read_text("utf-8")))), unless_offline=given.unless_offline)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
