"""What holds for every route there is, without naming one."""

from __future__ import annotations

import re

import pytest

from tests.api.endpoints import DOCUMENT, DOORS, SCHEMAS, Door, branches

ENTRIES = [pytest.param(door, id=door.name) for door in DOORS]


@pytest.mark.parametrize("door", ENTRIES)
def test_every_route_is_guarded_or_public_by_name(door: Door) -> None:
    assert len(door.guards) == (0 if door.public else 1)


@pytest.mark.parametrize("door", ENTRIES)
def test_a_route_that_reads_demands_no_body(door: Door) -> None:
    if door.method == "GET":
        assert door.body is None


def test_every_operation_has_its_own_id() -> None:
    ids = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    assert len(ids) == len([door for door in DOORS if door.handler.resolve_include_in_schema()])


def test_every_path_parameter_is_described() -> None:
    for door in DOORS:
        if door.operation:
            described = {p["name"] for p in door.operation.get("parameters", []) if p["in"] == "path"}
            assert described == set(door.path_parameters), door.name


def test_every_reference_leads_somewhere() -> None:
    found = set(re.findall(r"'#/components/schemas/([^']+)'", repr(DOCUMENT)))
    assert found <= set(SCHEMAS)


def test_a_body_that_may_be_left_out_is_not_demanded() -> None:
    for door in DOORS:
        if door.body is not None and any(part.get("type") == "null" for part in branches(door.body)):
            assert door.body_optional, door.name
