"""Pushed to a shared disk and pulled by a machine that held nothing. What S3 does to it when it fails is in `s3_faults.py`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag_service.catalog import Catalog
from tests.doubles import HOLIDAYS

Cli = Callable[..., Any]


def test_what_was_pushed_answers_the_same_where_it_was_pulled(cli: Cli, own_indexes: Path, elsewhere: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/disk"
    outcome = cli("index", "push", "handbook", url, "--activate", "--indexes", own_indexes)
    assert outcome.code == 0, outcome.err
    outcome = cli("index", "pull", "handbook", url, "--activate", "--indexes", elsewhere)
    assert outcome.code == 0, outcome.err
    here, there = (
        json.loads(cli("ask", HOLIDAYS, "--name", "handbook", "--json", "--indexes", root).out) for root in (own_indexes, elsewhere)
    )
    assert "28 days" in there["answer"]
    assert (here["answer"], here["trace"]["release"]) == (there["answer"], there["trace"]["release"])


def test_what_an_abandoned_pull_left_goes_with_gc(cli: Cli, own_indexes: Path) -> None:
    left = Catalog(own_indexes).pulling_folder("handbook") / "0123456789ab"
    left.mkdir(parents=True)
    (left / ".vectors.faiss.part").write_bytes(b"half")
    assert cli("index", "gc", "--name", "handbook", "--dry-run", "--indexes", own_indexes).code == 0
    assert left.exists()
    assert cli("index", "gc", "--name", "handbook", "--indexes", own_indexes).code == 0
    assert not left.exists()


def test_half_an_id_and_a_version_to_watch_are_wrong_calls(cli: Cli, own_indexes: Path, tmp_path: Path) -> None:
    for arguments in (("push", "handbook@"), ("pull", "../x"), ("pull", "handbook@0123456789ab", "--watch")):
        verb, what, *rest = arguments
        outcome = cli("index", verb, what, f"file://{tmp_path}/disk", *rest, "--indexes", own_indexes)
        assert (outcome.code, outcome.out) == (2, ""), outcome
        assert outcome.err.startswith("error ")
