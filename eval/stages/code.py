"""What code a stage runs: the sources of a module and of all that it imports, directly or not, within the service; and the libraries."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from rag_service.digests import digest_json

_ROOT = "rag_service"
_LIBRARIES = ("PyStemmer", "bm25s", "faiss-cpu", "numpy", "onnxruntime", "tokenizers")
"""Those that compute; as `deployment.running_code` has them."""


@cache
def code_digest(*modules: str) -> str:
    """`sha256:…` over what these modules of the service run. Found by their imports, wherever in the source these stand: what is added
    to a stage belongs to its key without anybody having to think of it.
    """
    sources = {name: hashlib.sha256(_path(name).read_bytes()).hexdigest() for name in sorted(_closure(modules))}
    return digest_json({"sources": sources, "libraries": {package: version(package) for package in _LIBRARIES}})


def _closure(modules: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = [name for name in modules if name.split(".")[0] == _ROOT]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imported(name))
    return found


@cache
def _imported(name: str) -> tuple[str, ...]:
    packages = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
    return tuple(module for module in dict.fromkeys([*packages, *_named(ast.parse(_path(name).read_bytes()))]) if _is_ours(module))


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)  # a name may be a module of the package


@cache
def _is_ours(name: str) -> bool:
    if name.split(".")[0] != _ROOT:
        return False
    try:
        _path(name)
    except ModuleNotFoundError:  # a class of a module is no module
        return False
    return True


def _path(name: str) -> Path:
    """Found without importing anything but the package itself: what is looked at need not be installed whole."""
    package = importlib.util.find_spec(_ROOT)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(_ROOT)
    place = Path(package.origin).parent.joinpath(*name.split(".")[1:])
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            return path
    raise ModuleNotFoundError(name)
