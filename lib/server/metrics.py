"""Figures about the server in the text format of Prometheus (version 0.0.4).

Counters and histograms only; what can be looked up at any time, a gauge, is handed over when the
text is made. No figure says anything about a patient or a person.

Concurrency contract: ``_lock`` guards all figures and is held for additions only.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""Upper ends in seconds."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REQUESTS, REQUEST_SECONDS = "samed2d_requests_total", "samed2d_request_seconds"
INFER_SECONDS, EMBEDDINGS = "samed2d_infer_seconds", "samed2d_embeddings_total"
HELP: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        REQUESTS: ("counter", "Answers, by method, address and status."),
        REQUEST_SECONDS: ("histogram", "Time from a request to the end of its answer."),
        INFER_SECONDS: ("histogram", "Parts of the time of a segmentation, by model and stage."),
        EMBEDDINGS: ("counter", "Segmented slices, by whether they were in the cache."),
    }
)
"""Name -> type and meaning of what is counted."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gauge:
    """A figure of this moment.

    Attributes:
        name: of it.
        help: meaning.
        value: of this moment.
        labels: what it is about.
    """

    name: str
    help: str
    value: float
    labels: Labels = ()


class Metrics:
    """What was counted since the start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Labels], int] = {}
        self._times: dict[tuple[str, Labels], _Histogram] = {}

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter of `HELP`."""
        key = name, tuple(labels.items())
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add a time to a histogram of `HELP`."""
        key = name, tuple(labels.items())
        with self._lock:
            self._times.setdefault(key, _Histogram()).add(seconds)

    def text(self, gauges: Iterable[Gauge] = ()) -> str:
        """All figures, in the order of their names."""
        lines: dict[str, list[str]] = {}
        with self._lock:
            for (name, labels), number in self._counts.items():
                lines.setdefault(name, []).append(_line(name, labels, number))
            for (name, labels), times in self._times.items():
                lines.setdefault(name, []).extend(times.lines(name, labels))
        heads = dict(HELP)
        for gauge in gauges:
            heads[gauge.name] = ("gauge", gauge.help)
            lines.setdefault(gauge.name, []).append(_line(gauge.name, gauge.labels, gauge.value))
        page = []
        for name in sorted(lines):
            kind, meaning = heads[name]
            page += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *lines[name]]
        return "\n".join(page) + "\n"


class _Histogram:
    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: Labels) -> list[str]:
        found, total = [], 0
        for end, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            found.append(_line(f"{name}_bucket", (*labels, ("le", end)), total))
        found.append(_line(f"{name}_sum", labels, round(self._sum, 6)))
        found.append(_line(f"{name}_count", labels, total))
        return found


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
