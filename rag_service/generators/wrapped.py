"""What the generators around another generator have in common: everything but `generate` is the other's own."""

from collections.abc import Callable

from rag_service.ports import Generator


class Wrapped:
    """The port `Generator` without `generate`, handed on to `inner`."""

    def __init__(self, inner: Generator) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def digest(self) -> str:
        return self._inner.digest

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        return self._inner.parameters

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    @property
    def context_tokens(self) -> int:
        return self._inner.context_tokens

    @property
    def follows_instructions(self) -> bool:
        return self._inner.follows_instructions


class Heard:
    """`write`, and whether it was ever called: what was told cannot be taken back."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.anything = False

    def __call__(self, piece: str) -> None:
        self.anything = True
        self._write(piece)
