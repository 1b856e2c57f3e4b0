"""The OpenAPI document, arranged for pages: subjects with their operations, and types with their fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_REFERENCE = "#/components/schemas/"
_OF_A_BODY = "application/json"


_INNER_CAPITAL = re.compile(r"(?<=[a-z])[A-Z](?=[a-z])")


@dataclass(frozen=True, slots=True)
class FieldType:
    """What a field holds, in words; `links` are the types of ours that it is made of."""

    words: str
    links: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field of a type, or a parameter of an operation."""

    name: str
    type: FieldType
    description: str
    is_required: bool
    choices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class OperationPart:
    """One operation, as its page shows it."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: Sequence[FieldRow]
    body: Sequence[FieldRow]
    body_types: Sequence[str]
    example: str
    answer: FieldType | None
    status: str

    @property
    def request(self) -> str:
        """How the operation is called from a shell."""
        command = "curl -s" if self.method == ("POST" if self.example else "GET") else f"curl -s -X {self.method}"
        address = self.path.removeprefix("/v1")
        lines = [f'{command} "$URL{address}" -H "x-api-key: $KEY"']
        if self.example:
            quoted = self.example.replace("'", "'\\''")
            lines.append(f"  -d '{quoted}'")
        return " \\\n".join(lines)


@dataclass(frozen=True, slots=True)
class Subject:
    """A group of operations."""

    name: str
    operations: Sequence[OperationPart]

    @property
    def title(self) -> str:
        """ "Alert settings" for `AlertSettings`; initials stay."""
        return _INNER_CAPITAL.sub(lambda found: f" {found[0].lower()}", self.name)

    @property
    def slug(self) -> str:
        """The subject as a part of an address."""
        return self.name.lower().replace(" ", "-")


@dataclass(frozen=True, slots=True)
class TypePart:
    """One type and its fields, or the values of an enumeration."""

    name: str
    description: str
    fields: Sequence[FieldRow]
    choices: Sequence[str]


@dataclass(frozen=True, slots=True)
class Contents:
    """All pages of the reference."""

    subjects: Mapping[str, Subject]
    types: Mapping[str, TypePart]


def arrange(document: Mapping[str, Any]) -> Contents:
    """The document as subjects and types, both in the order of their names."""
    schemas = document["components"]["schemas"]
    by_subject: dict[str, list[OperationPart]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            subject = operation.get("tags", ["Other"])[0]
            by_subject.setdefault(subject, []).append(_operation(path, method, operation, schemas))
    subjects = (Subject(name, _ordered(parts)) for name, parts in sorted(by_subject.items()))
    types = {
        name: TypePart(name, _sentence(schema.get("description", "")), _fields(schema, schemas), _choices(schema))
        for name, schema in sorted(schemas.items())
    }
    return Contents({subject.slug: subject for subject in subjects}, types)


def _ordered(parts: Sequence[OperationPart]) -> list[OperationPart]:
    return sorted(parts, key=lambda part: (part.path.count("/"), part.path, part.method))


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> OperationPart:
    media = operation.get("requestBody", {}).get("content", {}).get(_OF_A_BODY, {})
    body = _type(media["schema"]) if media else FieldType("")
    status = next(code for code in operation["responses"] if code.startswith("2"))
    answered = operation["responses"][status].get("content", {}).get(_OF_A_BODY, {}).get("schema")
    return OperationPart(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation["description"],
        parameters=[_parameter(parameter, schemas) for parameter in operation.get("parameters", ())],
        body=[row for name in body.links for row in _fields(schemas[name], schemas)],
        body_types=body.links,
        example=json.dumps(media["example"], indent=2, ensure_ascii=False) if "example" in media else "",
        answer=_type(answered) if answered else None,
        status=status,
    )


def _parameter(parameter: Mapping[str, Any], schemas: Mapping[str, Any]) -> FieldRow:
    schema = parameter["schema"]
    return FieldRow(
        parameter["name"],
        _type(schema),
        _sentence(parameter.get("description", "")),
        parameter.get("required", False),
        _choices(schema, schemas),
    )


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[FieldRow]:
    required = set(schema.get("required", ()))
    rows = [
        FieldRow(name, _type(part), _sentence(part.get("description", "")), name in required, _choices(part, schemas))
        for name, part in schema.get("properties", {}).items()
    ]
    return sorted(rows, key=lambda row: not row.is_required)


def _choices(schema: Mapping[str, Any], schemas: Mapping[str, Any] | None = None) -> list[str]:
    """The values that are allowed, where they are listed; also those of the enumeration a field names."""
    if "enum" in schema:
        return [str(value) for value in schema["enum"] if value is not None]
    options = schema.get("anyOf", ())
    inner = [*options, schema["items"]] if "items" in schema else options
    choices = [choice for option in inner for choice in _choices(option, schemas)]
    if schemas is not None and "$ref" in schema:
        choices += _choices(schemas[schema["$ref"].removeprefix(_REFERENCE)])
    return choices


def _type(schema: Mapping[str, Any]) -> FieldType:
    links = list(dict.fromkeys(_links(schema)))
    return FieldType(_words(schema), links)


def _links(schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(_REFERENCE)
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _links(part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _links(schema[key])


def _words(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].removeprefix(_REFERENCE))
    options = schema.get("anyOf") or schema.get("allOf")
    if options:
        return " or ".join(dict.fromkeys(_words(option) for option in options if option.get("type") != "null"))
    if "enum" in schema:
        return "one of"
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(name for name in kind if name != "null")
    if kind == "array":
        return f"list of {_words(schema.get('items', {}))}"
    if kind == "object":
        return "object"
    return {"date-time": "time", "decimal": "decimal"}.get(schema.get("format", ""), str(kind))


def _sentence(text: str) -> str:
    stripped = " ".join(text.split())
    return stripped if not stripped or stripped.endswith(".") else f"{stripped}."
