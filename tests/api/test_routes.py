"""What holds for every route there is, without naming one."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.app import routes_only

APP = routes_only()
ROUTES = sorted(
    {
        (method, route.path_format, handler)
        for route in APP.routes
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods
        if route.path_format.startswith("/v1/") and method != "OPTIONS"
    },
    key=lambda entry: (entry[1], entry[0]),
)


@pytest.mark.parametrize(("method", "path", "handler"), [pytest.param(*r, id=f"{r[0]} {r[1]}") for r in ROUTES])
def test_every_route_is_guarded_or_public_by_name(method: str, path: str, handler: Any) -> None:
    guards = [guard for guard in handler.resolve_guards() if hasattr(guard, "needs")]
    public = handler.opt.get("public", False)
    assert len(guards) == (0 if public else 1), f"{method} {path}"


def test_every_operation_has_its_own_id() -> None:
    from farthing.api.openapi import document

    ids = [operation["operationId"] for item in document(APP)["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    assert len(ids) == len(ROUTES)
