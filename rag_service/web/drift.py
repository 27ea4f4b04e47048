"""The last report of drift, with a drawing for each signal. Drawings are made of numbers in attributes: no style, no script."""

from dataclasses import dataclass

from rag_service.drift.report import Finding, Report
from rag_service.web.pages import ANYBODY, Viewer, render

_WIDTH, _HEIGHT = 320, 96


@dataclass(frozen=True, slots=True)
class Rectangle:
    x: float
    y: float
    width: float
    height: float
    window: bool
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    window: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    finding: Finding
    bars: tuple[Rectangle, ...]
    dots: tuple[Dot, ...]


def drift_page(name: str, report: Report | None, *, viewer: Viewer = ANYBODY) -> str:
    """`report` is None where none has been made."""
    drawn = tuple(Drawn(finding, _bars(finding), _dots(finding)) for finding in report.findings) if report else ()
    return render(
        "drift.html", viewer=viewer, section="drift", name=name, report=report, drawn=drawn, width=_WIDTH, height=_HEIGHT,
    )  # fmt: skip


def _bars(finding: Finding) -> tuple[Rectangle, ...]:
    """Two beside each other for each class, as high as their share."""
    highest = max((max(bar.reference, bar.window) for bar in finding.bars), default=0.0) or 1.0
    step = _WIDTH / max(len(finding.bars), 1)
    return tuple(
        Rectangle(
            x=round(step * (place + 0.1 + 0.4 * side), 2),
            y=round(_HEIGHT * (1 - share / highest), 2),
            width=round(step * 0.4, 2),
            height=round(_HEIGHT * share / highest, 2),
            window=bool(side),
            label=f"{bar.label.strip()}: {share:.1%} of the {('reference', 'window')[side]}",
        )
        for place, bar in enumerate(finding.bars)
        for side, share in enumerate((bar.reference, bar.window))
    )


def _dots(finding: Finding) -> tuple[Dot, ...]:
    return tuple(
        Dot(round((point.x + 1) / 2 * (_WIDTH - 8) + 4, 1), round((1 - point.y) / 2 * (_HEIGHT - 8) + 4, 1), point.window)
        for point in finding.points
    )
