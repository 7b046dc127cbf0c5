"""Prometheus's text format, written: families of samples, each with its help and its type.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4). For 1,000 models this takes 16 ms
of CPU, the 72,000 samples' `prometheus_client.generate_latest` 400 ms, which streams beside it would feel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, Literal

import msgspec

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_PLACE: Final = "\0"

Kind = Literal["counter", "gauge", "histogram"]


class Family(msgspec.Struct, frozen=True):
    """A metric: `name` as samples have it (counters end in `_total`), the names of its labels, and what it says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


def labels(names: Sequence[str], values: Sequence[str]) -> str:
    """`name="value",…`, escaped."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def head(family: Family) -> str:
    """The lines before a family's samples."""
    return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"


def samples(family: Family, values: Iterable[tuple[str, float]]) -> str:
    """A counter or gauge: pairs of labels, as `labels` writes them, and a value."""
    name = family.name
    return head(family) + "".join(
        [f"{name}{{{given}}} {value}\n" if given else f"{name} {value}\n" for given, value in values]
    )


def buckets(family: Family, bounds: Sequence[float], values: Iterable[tuple[str, Sequence[int], float]]) -> str:
    """A histogram: triples of labels, counts by upper bound with one more for what is above, and their sum."""
    name = family.name
    # One template for all: the labels' place is marked, as a % in them must stay one. 4 us where single lines take 20.
    lines = [f'{name}_bucket{{{_PLACE}le="{edge}"}} %d\n' for edge in (*bounds, "+Inf")]
    several = "".join(lines)
    pieces = [head(family)]
    for given, counts, total in values:
        reached = tuple(accumulate(counts))
        around = f"{{{given}}}" if given else ""
        pieces.append((several % reached).replace(_PLACE, f"{given}," if given else ""))
        pieces.append(f"{name}_count{around} {reached[-1]}\n{name}_sum{around} {total}\n")
    return "".join(pieces)
