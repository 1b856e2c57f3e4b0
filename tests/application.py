"""The application's routes, made once for all tests that go through them."""

from __future__ import annotations

from functools import cache

from litestar import Litestar

from farthing.app import routes_only


@cache
def routed_application() -> Litestar:
    """Every route, without a database. Only to be looked at."""
    return routes_only()
