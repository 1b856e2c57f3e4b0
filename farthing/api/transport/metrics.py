"""Prometheus metrics of the requests that this process answers."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_REQUESTS = Counter("farthing_http_requests_total", "Requests answered", ["method", "route", "status"])
_SECONDS = Histogram(
    "farthing_http_request_seconds",
    "Time from the first byte read to the last byte written",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def known_method(method: str) -> str:
    """`method`, or "other": what a stranger makes up must not become a label, for labels are kept for ever."""
    return method if method in _METHODS else "other"


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request; `method` is a known one and `route` the template, so that labels are few."""
    _REQUESTS.labels(method, route, str(status)).inc()
    _SECONDS.labels(method, route).observe(seconds)
