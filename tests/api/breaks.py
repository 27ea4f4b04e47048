"""Which changes of the OpenAPI document break a client that was written for an earlier one. Run by `make openapi-check`.

A client breaks when a request that was valid is refused or means something else, or when a reply holds what the description that it
was written for does not allow. Errors may get new status codes, replies may get new keys: clients have to expect both.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.api.description import SNAPSHOT, description
from tests.api.schema_fit import Fit

Document = Mapping[str, Any]

PROJECT = Path(__file__).resolve().parents[2]
ACCEPTED = Path(__file__).parent / "accepted_breaks.txt"
"""One break to a line, as the check prints it; the reason above it, after `#`."""


def breaks(old: Document, new: Document) -> list[str]:
    """Each once, as a sentence of where and what."""
    operations = [(path, method) for path, methods in old["paths"].items() for method in methods]
    return list(dict.fromkeys(reason for path, method in operations for reason in _operation(path, method, old, new)))


def _operation(path: str, method: str, old: Document, new: Document) -> Iterator[str]:
    name = f"{method.upper()} {path}"
    before, now = old["paths"][path][method], new["paths"].get(path, {}).get(method)
    if now is None:
        yield f"{name}: is gone"
        return
    if before.get("operationId") != now.get("operationId"):
        yield f"{name}: is called {now.get('operationId')} in generated clients, not {before.get('operationId')}"
    asked = Fit(narrow=old, wide=new, told=False)
    told = Fit(narrow=new, wide=old, told=True)
    yield from _parameters(name, asked, before.get("parameters", []), now.get("parameters", []))
    yield from _body(name, asked, before.get("requestBody", {}), now.get("requestBody", {}))
    for status, reply in before["responses"].items():
        if status in now["responses"]:
            yield from _content(f"{name} {status}", told, reply.get("content", {}), now["responses"][status].get("content", {}))
        elif status < "300":
            yield f"{name} {status}: is gone"
    for status in now["responses"]:
        if status < "300" and status not in before["responses"]:
            yield f"{name} {status}: is new, and no error"


def _parameters(name: str, asked: Fit, before: list[Document], now: list[Document]) -> Iterator[str]:
    old, new = ({(each["in"], each["name"]): each for each in parameters} for parameters in (before, now))
    for key, parameter in old.items():
        if key not in new:
            yield f"{name}: the parameter {key[1]} ({key[0]}) is gone"
        else:
            yield from asked.misfits(parameter["schema"], new[key]["schema"], f"{name} {key[1]}")
            yield from asked.other_default(parameter["schema"], new[key]["schema"], f"{name} {key[1]}")
    for key, parameter in new.items():
        if parameter.get("required") and not old.get(key, {}).get("required"):
            yield f"{name}: the parameter {key[1]} ({key[0]}) has to be given"


def _body(name: str, asked: Fit, before: Document, now: Document) -> Iterator[str]:
    if now.get("required") and not before.get("required"):
        yield f"{name}: the body has to be given"
    for kind, media in before.get("content", {}).items():
        if kind not in now.get("content", {}):
            yield f"{name}: {kind} is not taken"
        else:
            yield from asked.misfits(media["schema"], now["content"][kind]["schema"], f"{name} body")


def _content(at: str, told: Fit, before: Document, now: Document) -> Iterator[str]:
    for kind, media in before.items():
        if kind not in now:
            yield f"{at}: {kind} is gone"
        else:
            yield from told.misfits(now[kind].get("schema", {}), media.get("schema", {}), at)


def document_at(reference: str) -> Document | None:
    """As it was reviewed at a commit; None if there is none, or no such commit."""
    path = SNAPSHOT.relative_to(PROJECT).as_posix()
    shown = subprocess.run(["git", "show", f"{reference}:{path}"], cwd=PROJECT, capture_output=True, text=True, check=False)
    return json.loads(shown.stdout) if shown.returncode == 0 else None


def newest_base() -> str:
    """The last release, else the main branch, else the commit that is checked out."""
    tags = subprocess.run(
        ["git", "tag", "--list", "v*", "--merged", "HEAD", "--sort=-v:refname"], cwd=PROJECT, capture_output=True, text=True
    )
    candidates = [*tags.stdout.split()[:1], "origin/main", "main"]
    return next((each for each in candidates if document_at(each) is not None), "HEAD")


def accepted(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="a commit, branch or tag; by default the last release, else main")
    base = parser.parse_args().base or newest_base()
    if (old := document_at(base)) is None:
        print(f"{base} has no {SNAPSHOT.relative_to(PROJECT)}: name a commit that has, and fetch it first (in CI: the whole history)")
        return 2
    found = breaks(old, description())
    known = accepted(ACCEPTED.read_text("utf-8"))
    for reason in found:
        print(f"{'accepted' if reason in known else 'BREAKS  '} {reason}")
    unaccepted = [reason for reason in found if reason not in known]
    print(
        f"OpenAPI document against {base}: {len(found)} breaking changes, {len(unaccepted)} of them not in {ACCEPTED.relative_to(PROJECT)}"
    )
    return 1 if unaccepted else 0


if __name__ == "__main__":
    sys.exit(main())
