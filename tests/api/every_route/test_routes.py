"""What holds for every route there is, without naming one."""

from __future__ import annotations

import re

from tests.api.endpoints import DOCUMENT, ENDPOINTS, SCHEMAS, branches


def test_every_route_is_guarded_or_public_by_name() -> None:
    wrong = [endpoint.name for endpoint in ENDPOINTS if len(endpoint.guards) != (0 if endpoint.public else 1)]
    assert wrong == []


def test_a_route_that_reads_demands_no_body() -> None:
    assert [endpoint.name for endpoint in ENDPOINTS if endpoint.method == "GET" and endpoint.body is not None] == []


def test_every_operation_has_its_own_id() -> None:
    ids = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    assert len(ids) == len([endpoint for endpoint in ENDPOINTS if endpoint.handler.resolve_include_in_schema()])


def test_every_path_parameter_is_described() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.operation:
            described = {p["name"] for p in endpoint.operation.get("parameters", []) if p["in"] == "path"}
            assert described == set(endpoint.path_parameters), endpoint.name


def test_every_reference_leads_somewhere() -> None:
    found = set(re.findall(r"'#/components/schemas/([^']+)'", repr(DOCUMENT)))
    assert found <= set(SCHEMAS)


def test_a_body_that_may_be_left_out_is_not_demanded() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.body is not None and any(part.get("type") == "null" for part in branches(endpoint.body)):
            assert endpoint.body_optional, endpoint.name
