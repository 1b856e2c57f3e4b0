"""Our OpenAPI document: Litestar's, with query parameters, the error body and credentials added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Litestar

from farthing.api.errors import ErrorResponse
from farthing.api.queries.lists import query_fields
from farthing.api.reference import (
    add_example,
    describe_fields,
    operation_description,
    operation_summary,
    parameter_description,
    path_parameter_description,
)

_ERRORS = {
    "400": "Invalid request",
    "401": "Missing or bad credentials",
    "403": "Not allowed",
    "404": "Not found",
    "405": "Method not allowed",
    "409": "Conflict",
    "429": "Too many requests",
    "500": "Server error",
    "501": "Not implemented",
    "503": "Service unavailable",
}
_SCHEMES = {
    "ApiKeyAuth": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "UserToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}


@dataclass(frozen=True, slots=True)
class ApiDocument:
    """Where our OpenAPI document is read: it is made of the routes, which only the application knows."""

    read: Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class DocumentedWebhook:
    """What the document says of an event that others receive: when it is sent, the type of its body, and a sample."""

    description: str
    body: type
    sample: Any


_REFERENCE = "#/components/schemas/{name}"
_BYTES = {"type": "string", "format": "binary"}


def document(app: Litestar, webhooks: Mapping[str, DocumentedWebhook]) -> dict[str, Any]:
    """The whole document, as JSON-ready values, with the `webhooks` that Farthing sends, by the event's name."""
    made: dict[str, Any] = _one_or_more(app.openapi_schema.to_schema())
    schemas: dict[str, Any] = made.setdefault("components", {}).setdefault("schemas", {})
    (_, parts) = msgspec.json.schema_components([ErrorResponse], ref_template=_REFERENCE)
    schemas.update(parts)
    _fill_in(app, schemas)
    schemas.update(_as_decoded(app))
    made["components"]["securitySchemes"] = _SCHEMES
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            handler = _handler(app, path, method)
            _complete(operation, handler, schemas)
            _describe(operation, handler, path)
    made["webhooks"] = _webhooks(webhooks, schemas)
    describe_fields(schemas)
    return made


def _webhooks(webhooks: Mapping[str, DocumentedWebhook], schemas: dict[str, Any]) -> dict[str, Any]:
    """What is posted to receivers; the schemas of the bodies are added to the others."""
    bodies = [webhook.body for webhook in webhooks.values()]
    found, parts = msgspec.json.schema_components(bodies, ref_template=_REFERENCE)
    for name, part in parts.items():
        schemas.setdefault(name, part)
    return {
        name: {
            "post": {
                "tags": ["Webhook Events"],
                "summary": name,
                "description": webhook.description,
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schema, "example": webhook.sample}},
                },
                "responses": {"2XX": {"description": "The message is taken; any other answer means: send it again"}},
            }
        }
        for (name, webhook), schema in zip(webhooks.items(), found, strict=True)
    }


def _describe(operation: dict[str, Any], handler: Any, path: str) -> None:
    """Say what an operation does, what its parameters mean, and how its body looks."""
    operation["summary"] = operation_summary(operation["operationId"])
    operation["description"] = operation_description(handler)
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        is_path = parameter["in"] == "path"
        text = path_parameter_description(path, name) if is_path else parameter_description(handler, name)
        if text is not None:
            parameter["description"] = text
    if "requestBody" in operation:
        add_example(operation["requestBody"])


def _one_or_more(part: Any) -> Any:
    """`part` with the framework's "exactly one of" as what a union is: a value may fit several of its types."""
    if isinstance(part, dict):
        return {"anyOf" if name == "oneOf" else name: _one_or_more(inner) for name, inner in part.items()}
    return [_one_or_more(inner) for inner in part] if isinstance(part, list) else part


def _as_decoded(app: Litestar) -> dict[str, Any]:
    """The schemas of request bodies from what decodes them: it knows decimals, defaults and limits exactly."""
    bodies = {
        handler.parsed_data_field.annotation
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if handler.resolve_include_in_schema() and handler.parsed_data_field is not None
    }
    return msgspec.json.schema_components(bodies, ref_template=_REFERENCE)[1]


def _fill_in(app: Litestar, schemas: dict[str, Any]) -> None:
    """Let fields that a layer above fills in show what it fills in: the struct of the lower layer names the component
    (`allOf`), which the framework drops."""
    answers = {
        handler.parsed_return_field.annotation
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if handler.resolve_include_in_schema()
        and isinstance(handler.parsed_return_field.annotation, type)
        and issubclass(handler.parsed_return_field.annotation, msgspec.Struct)
    }
    for name, part in msgspec.json.schema_components(answers, ref_template=_REFERENCE)[1].items():
        for field, described in part.get("properties", {}).items():
            options = described.get("anyOf", [described])
            if any("allOf" in option for option in options) and name in schemas:
                schemas[name]["properties"][field] = {"anyOf": options}


def _handler(app: Litestar, path: str, method: str) -> Any:
    for route in app.routes:
        if getattr(route, "path_format", None) == path:
            for handler in getattr(route, "route_handlers", ()):
                if method.upper() in handler.http_methods:
                    return handler
    return None


def _complete(operation: dict[str, Any], handler: Any, schemas: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation.setdefault("responses", {})
    responses.pop("400", None)
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}}
    for status, description in _ERRORS.items():
        responses[status] = {"description": description, **error}
    body = operation.get("requestBody")
    if body is not None and _may_be_null(body):
        body["required"] = False
    responses["414"] = {"description": "The URL is too long for the HTTP server, which answers without a body"}
    guarded = handler is not None and bool(handler.resolve_guards())
    operation["security"] = [{"ApiKeyAuth": []}, {"UserToken": []}] if guarded else []
    if handler is None:
        return
    if "other_media_type" in handler.opt:
        responses["200"]["content"][handler.opt["other_media_type"]] = {"schema": _BYTES}
    struct = handler.opt.get("query")
    if struct is None:
        return
    parameters: list[dict[str, Any]] = operation.setdefault("parameters", [])
    fields = query_fields(struct)
    annotations = [field.annotation for field in fields.values()]
    found, parts = msgspec.json.schema_components(annotations, ref_template=_REFERENCE)
    for name, part in parts.items():
        schemas.setdefault(name, part)
    for (name, field), schema in zip(fields.items(), found, strict=True):
        described = {"name": name, "in": "query", "required": False, "schema": schema}
        if field.is_list:
            described |= {"style": "form", "explode": False}
        parameters.append(described)


def _may_be_null(body: dict[str, Any]) -> bool:
    """Whether a body may be left out: the framework says so by allowing null in its place."""
    options = [media["schema"].get("anyOf", ()) for media in body["content"].values()]
    return any(option.get("type") == "null" for given in options for option in given)
