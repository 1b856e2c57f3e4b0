"""Prometheus metrics of what is answered; the counts of processes that serve together add up."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_REQUESTS = Counter("farthing_http_requests_total", "Requests answered", ["method", "route", "status"])
_SECONDS = Histogram(
    "farthing_http_request_seconds",
    "Time from the first byte read to the last byte written",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the library looks for the folder in which processes count together."""


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def known_method(method: str) -> str:
    """`method`, or "other": what a stranger makes up must not become a label, for labels are kept for ever."""
    return method if method in _METHODS else "other"


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request; `method` is a known one and `route` the template, so that labels are few."""
    _answers_of(method, route, status).inc()
    _seconds_of(method, route).observe(seconds)


@cache
def _answers_of(method: str, route: str, status: int) -> Counter:
    """The counter with these labels, which are few; the library looks for it under a lock."""
    return _REQUESTS.labels(method, route, str(status))


@cache
def _seconds_of(method: str, route: str) -> Histogram:
    return _SECONDS.labels(method, route)


def add_up_counts(folder: Path, place: int) -> None:
    """Count in `folder` from now on, in files of this `place`, which no other process has at the same time.

    Nothing may have been counted before, and a counter without labels not have been made. A later process of the same
    place goes on where one that ended stopped, so that no count ever falls.
    """
    os.environ[FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]


class _AddedUp(Collector):
    """The counts of all processes that count in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> list[Metric]:
        files = [str(path) for kind in ("counter", "histogram") for path in self._folder.glob(f"{kind}_*.db")]
        return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]


def page(measured: CollectorRegistry) -> bytes:
    """All metrics in Prometheus' text format; `measured` holds what was brought to now.

    What the library says of one process (its memory, its CPU, its garbage) is left out where several answer.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return generate_latest(measured) + generate_latest(REGISTRY)
    counts = CollectorRegistry()
    counts.register(_AddedUp(Path(folder)))
    return generate_latest(measured) + generate_latest(counts)
