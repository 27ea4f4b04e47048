"""Numbers of things, for people."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 question`, `2 questions`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
