"""The document speaks: every operation, parameter and field is described, and every request has an example."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import farthing
from farthing.api.reference import described_structs, references
from farthing.core.encoding.decoding import json_decoder
from tests.api.endpoints import DOCUMENT
from tests.application import routed_application

SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[Any]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield pytest.param(operation, id=f"{method} {path}")


def test_every_operation_says_what_it_does() -> None:
    for parameter in operations():
        (operation,) = parameter.values
        assert operation["description"].endswith("."), parameter.id
        assert operation["summary"], parameter.id


def test_every_parameter_is_described() -> None:
    bare = [
        f"{parameter.id}: {asked['name']}"
        for parameter in operations()
        for asked in parameter.values[0].get("parameters", ())
        if not asked.get("description")
    ]
    assert bare == [], "describe them in the reference.toml of the package"


def test_every_field_is_described() -> None:
    bare = [
        f"{component}.{field}"
        for component, schema in SCHEMAS.items()
        for field, described in schema.get("properties", {}).items()
        if not described.get("description")
    ]
    assert bare == [], "describe them in the reference.toml of the package"


def bodies() -> Iterator[Any]:
    for route in routed_application().routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.resolve_include_in_schema() and handler.parsed_data_field is not None:
                yield pytest.param(handler, id=handler.operation_id)


def _id_of_case(case: Any) -> str:
    return str(case.id)


def example_in_document(operation_id: str) -> Any:
    for parameter in operations():
        (operation,) = parameter.values
        if operation["operationId"] == operation_id:
            (media,) = operation["requestBody"]["content"].values()
            return media["example"]
    raise AssertionError(operation_id)


@pytest.mark.parametrize("handler", sorted(bodies(), key=_id_of_case))
def test_every_request_has_an_example_that_the_server_takes(handler: Any) -> None:
    example = example_in_document(handler.operation_id)
    struct = json_decoder(handler.parsed_data_field.annotation).decode(msgspec.json.encode(example))
    assert set(example) <= set(struct.__struct_encode_fields__), "a field that the request does not have"


def test_nothing_is_described_that_does_not_exist() -> None:
    fields = {field for schema in SCHEMAS.values() for field in schema.get("properties", {})}
    fields |= {asked["name"] for given in operations() for asked in given.values[0].get("parameters", ())}
    structs = set(described_structs())
    for package, reference in references().items():
        assert set(reference.fields) <= fields, package
        assert set(reference.of_structs) <= structs, package
        for component, texts in reference.of_structs.items():
            assert set(texts) <= fields, component
        assert set(reference.examples) <= structs, package


@pytest.mark.parametrize(
    "file", sorted(Path(farthing.__file__).parent.rglob("reference.toml")), ids=lambda file: file.parent.name
)
def test_what_is_written_is_a_phrase(file: Path) -> None:
    content = tomllib.loads(file.read_text()).get("fields", {})
    for name, text in content.items():
        for phrase in text.values() if isinstance(text, dict) else [text]:
            assert phrase == phrase.strip(), name
            assert not phrase.endswith("."), name
            assert phrase[0].isupper() or phrase[0] == "`", name
