"""Numbers as people read them: every number of a kind with the same digits, so that they stand below each other."""

from eval.scores import Undefined, Value

_ONE_DECIMAL = ("_ms", "_tokens", "_chars", "_words", "_sentences", "_mb")
"""What ends so is no share of 1."""


def figure(name: str, value: Value, *, decimals: int = 4) -> str:
    """Of a metric. `decimals` are those of a score; milliseconds and tokens have one."""
    return "undefined" if isinstance(value, Undefined) else f"{value:,.{_decimals(name, decimals)}f}"


def change(name: str, value: float, *, decimals: int = 4) -> str:
    """Of a metric, with its sign. What rounds to nothing is `0.0000`, without one."""
    shown = f"{value:+,.{_decimals(name, decimals)}f}"
    return shown[1:] if not any(digit in "123456789" for digit in shown) else shown


def change_interval(name: str, low: float, high: float, *, decimals: int = 4) -> str:
    return f"{change(name, low, decimals=decimals)} to {change(name, high, decimals=decimals)}"


def p_value(p: float) -> str:
    """`<0.001` below that."""
    return "<0.001" if p < 0.001 else f"{min(p, 1.0):.3f}"


def milliseconds(value: float) -> str:
    return f"{value / 1000:,.1f} s" if value >= 10_000 else f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms"


def seconds(value: float) -> str:
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else f"{value:.1f} s"


def _decimals(name: str, decimals: int) -> int:
    return 1 if name.endswith(_ONE_DECIMAL) else decimals
