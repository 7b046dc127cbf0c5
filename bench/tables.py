"""Plain text tables, the few statistics that stand in them, and bars with their verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first and the last are words and flush left, the others flush right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    words = (0, len(head) - 1)

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if at in words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    # the last column may hold a long reason
    rule = "  ".join("-" * width for width in (*widths[:-1], min(widths[-1], 20)))
    return "\n".join((f"\n{title}", line(head), rule, *(line(row) for row in rows)))


def median(values: Iterable[float | None]) -> float | None:
    """The median of those that are there; None when none is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def number(value: float | None, digits: int = 0) -> str:
    """The value with thousands separated; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


@dataclass(frozen=True)
class Bar:
    """A limit that the design sets and what was found; `at_least` when the figure is to reach it, not to stay below."""

    text: str
    found: float | None
    limit: float
    at_least: bool = False

    def row(self) -> list[str]:
        bar = f"{'>=' if self.at_least else '<='} {self.limit:g}"
        if self.found is None:
            return [self.text, "-", bar, "not measured"]
        passed = self.found >= self.limit if self.at_least else self.found <= self.limit
        by = f" ({(self.found / self.limit - 1) * 100:+.0f} %)" if self.limit else ""
        return [self.text, f"{self.found:.2f}", bar, f"{'pass' if passed else 'MISS'}{by}"]


def bars_table(bars: Iterable[Bar]) -> str:
    """Each bar with its verdict and by how much."""
    return table("bars of the design", ["figure", "found", "bar", "verdict"], [bar.row() for bar in bars])
