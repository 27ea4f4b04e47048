"""onnxruntime's builds for Linux send events to their vendor unless they are told not to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOADS = "import time; {first}; import onnxruntime; time.sleep(0.5)"


def files_after(code: str, home: Path) -> list[Path]:
    environ = {name: value for name, value in os.environ.items() if name not in {"ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS"}}
    subprocess.run([sys.executable, "-c", code], env={**environ, "HOME": str(home)}, check=True, timeout=60)
    return [path for path in home.rglob("*") if path.is_file()]


def test_the_runtime_keeps_and_sends_nothing_about_its_use(tmp_path: Path) -> None:
    assert files_after(LOADS.format(first="import rag_service.embedders.onnx"), tmp_path) == []


def test_this_would_be_seen(tmp_path: Path) -> None:
    if not files_after(LOADS.format(first="pass"), tmp_path):
        pytest.skip("this build of onnxruntime keeps nothing even if it may")
