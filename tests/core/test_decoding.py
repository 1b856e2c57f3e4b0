"""What is said of a body that cannot be read: every field at once, in the words of JSON."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from farthing.core.encoding.decoding import UNREADABLE, json_decoder, unreadable
from farthing.core.encoding.shapes import shape_of, unknown_paths
from farthing.core.encoding.times import Moment
from farthing.core.encoding.wire import Request


class Colour(StrEnum):
    RED = "RED"
    BLUE = "BLUE"


class Line(Request):
    amount: Decimal
    quantity: Annotated[int, Meta(ge=1)] = 1


class Order(Request):
    name: Annotated[str, Meta(min_length=1, max_length=5)]
    external_id: Annotated[str, Meta(pattern=r"\S")]
    colour: Colour | None = None
    at: Moment | None = None
    paid: bool | None = None
    lines: list[Line] | None = None
    by_name: dict[str, Line] | None = None
    metadata: dict[str, str] | None = None
    properties: dict[str, Any] | None = None
    first: Line | None = None


WHOLE = {"name": "x", "external_id": "a"}


def problems(body: bytes) -> dict[str, Any]:
    try:
        json_decoder(Order).decode(body)
    except UNREADABLE as error:
        failure = unreadable(error, body, Order)
        field, reason = next(iter(failure.details.items()))
        assert failure.message == f"{field}: {reason}"
        return failure.details
    raise AssertionError("it was read")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {"name": "is required", "external_id": "is required"}, id="every missing field"),
        pytest.param(
            {"name": "x", "lines": [{"amount": "abc"}, {"quantity": 0}]},
            {
                "external_id": "is required",
                "lines[0].amount": "invalid decimal string",
                "lines[1].amount": "is required",
                "lines[1].quantity": "must be an integer >= 1",
            },
            id="fields within lists, by their place",
        ),
        pytest.param(
            {**WHOLE, "colour": "GREEN"}, {"colour": "must be one of RED, BLUE; not 'GREEN'"}, id="what an enum allows"
        ),
        pytest.param(
            {**WHOLE, "colour": 5}, {"colour": "must be one of RED, BLUE, not an integer"}, id="no text at all"
        ),
        pytest.param(
            {**WHOLE, "metadata": {"a": 5}, "paid": "yes"},
            {"paid": "must be a boolean or null, not a string", "metadata.a": "must be a string, not an integer"},
            id="types in the words of JSON",
        ),
        pytest.param(
            {**WHOLE, "lines": {}, "first": []},
            {"lines": "must be an array or null, not an object", "first": "must be an object or null, not an array"},
            id="an object for a list and a list for an object",
        ),
        pytest.param(
            {**WHOLE, "by_name": {"a": {"amount": "1", "quantity": 1.5}}},
            {"by_name.a.quantity": "must be an integer, not a number"},
            id="fields within maps",
        ),
        pytest.param({**WHOLE, "external_id": "  "}, {"external_id": "must not be blank"}, id="blanks"),
        pytest.param(
            {**WHOLE, "first": {"amount": "NaN"}, "metadata": {"a": "b\x00"}},
            {"first.amount": "must be a finite number"},
            id="a check of a nested struct",
        ),
        pytest.param(
            {**WHOLE, "at": "2026-01-01T00:00:00"},
            {"at": "must carry a time zone, for example 2024-03-20T15:04:05Z"},
            id="a time without a zone",
        ),
    ],
)
def test_every_field_is_named_at_once(given: dict[str, Any], expected: dict[str, str]) -> None:
    """Rule: docs/rules/conventions.md#errors"""
    assert problems(msgspec.json.encode(given)) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "is not valid JSON"),
        (b"null", "must be an object, not null"),
        (b"[]", "must be an object, not an array"),
        (b'"x"', "must be an object, not a string"),
        (b"[" * 100_000, "is not valid JSON"),
    ],
)
def test_a_body_that_is_no_object_is_named_as_the_body(body: bytes, reason: str) -> None:
    said = problems(body)
    assert list(said) == ["body"]
    assert said["body"] in {reason, "must be an object, not an array"}


def test_unknown_fields_are_found_at_every_depth_and_not_where_anything_goes() -> None:
    """Rule: docs/rules/conventions.md#unknown-fields"""
    values = {
        **WHOLE,
        "shade": 1,
        "lines": [{"amount": "1"}, {"amount": "1", "colour": 2}],
        "by_name": {"a": {"amount": "1", "b": {}}},
        "metadata": {"anything": "goes"},
        "properties": {"any": {"thing": ["goes"]}},
        "first": {"amount": "1", "x": {"y": 1}},
    }
    body = msgspec.json.encode(values)
    assert unknown_paths(body, shape_of(Order), 20) == ["shade", "lines[1].colour", "by_name.a.b", "first.x"]
    assert unknown_paths(body, shape_of(Order | None), 2) == ["shade", "lines[1].colour"]


@pytest.mark.parametrize("number", [b"1e400", b"1e99999999999999999999", b"1" * 400])
def test_a_number_that_nothing_can_keep_in_an_unknown_field_hides_nothing(number: bytes) -> None:
    assert problems(b'{"name": 5, "external_id": "a", "shade": ' + number + b"}")["name"] == (
        "must be a string, not an integer"
    )
    whole = b'{"name": "x", "external_id": "a", "shade": ' + number + b"}"
    assert unknown_paths(whole, shape_of(Order), 20) == ["shade"]
