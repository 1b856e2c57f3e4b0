"""Every route there is, from the application itself and from its OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from farthing.app import read_document
from tests.application import routed_application

APP = routed_application()
DOCUMENT = read_document()
"""As it is served, and kept for this very code: to make it takes every worker seconds."""
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


@dataclass(frozen=True)
class Endpoint:
    """One registered route with one method; `operation` is its part of the OpenAPI document."""

    method: str
    path: str
    handler: Any = field(compare=False)
    operation: dict[str, Any] = field(compare=False)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def id(self) -> str:
        return str(self.operation.get("operationId") or self.name)

    @property
    def public(self) -> bool:
        return bool(self.handler.opt.get("public"))

    @property
    def guards(self) -> list[Any]:
        return [guard for guard in self.handler.resolve_guards() if hasattr(guard, "needs")]

    @property
    def writes(self) -> bool:
        return any(guard.needs is not None and guard.needs[1] == "write" for guard in self.guards)

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"\{([^}:]*)[^}]*\}", self.path)

    @property
    def query(self) -> dict[str, Any]:
        """Query parameter to its schema."""
        given = self.operation.get("parameters", [])
        return {parameter["name"]: parameter["schema"] for parameter in given if parameter["in"] == "query"}

    @property
    def body(self) -> dict[str, Any] | None:
        """The schema of the JSON body, if the route takes one."""
        content = self.operation.get("requestBody", {}).get("content", {})
        found: dict[str, Any] | None = content.get("application/json", {}).get("schema")
        return found

    @property
    def body_optional(self) -> bool:
        return not self.operation.get("requestBody", {}).get("required", False)

    def url(self, value: str = "nobody", **given: str) -> str:
        """A path under /v1 with the ids given, a word where one of a few is meant, and `value` for all others."""
        words = {p["name"]: resolved(p["schema"]).get("enum") for p in self.operation.get("parameters", [])}

        def fill(found: re.Match[str]) -> str:
            choice = words.get(found[1])
            return given.get(found[1]) or (str(choice[0]) if choice else value)

        return re.sub(r"\{([^}:]*)[^}]*\}", fill, self.path.removeprefix("/v1"))


def _endpoints() -> Iterator[Endpoint]:
    for route in APP.routes:
        if not route.path_format.startswith("/v1/"):
            continue
        for handler in getattr(route, "route_handlers", ()):
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                operation = DOCUMENT["paths"].get(route.path_format, {}).get(method.lower(), {})
                yield Endpoint(method, route.path_format, handler, operation)


ENDPOINTS = sorted(_endpoints(), key=lambda endpoint: (endpoint.path, endpoint.method))
BY_ID = {endpoint.id: endpoint for endpoint in ENDPOINTS}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a reference."""
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def branches(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a schema, each resolved; null is one of them where it is allowed."""
    schema = resolved(schema)
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return [part for option in schema[word] for part in branches(option)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": name} for name in schema["type"]]
    return [schema]
