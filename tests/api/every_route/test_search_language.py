"""The search language on every search there is.

Rule: docs/rules/conventions.md#search-conditions
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.account import Account
from tests.api.endpoints import ENDPOINTS, Endpoint, branches
from tests.api.tour.building import build
from tests.api.tour.calls import OverHttp


def _searches() -> list[Endpoint]:
    found = []
    for endpoint in ENDPOINTS:
        named = {name for part in branches(endpoint.body or {}) for name in part.get("properties", {})}
        if endpoint.method == "POST" and endpoint.path.endswith("/search") and {"filters", "sort"} <= named:
            found.append(endpoint)
    return found


SEARCHES = _searches()
EVERY_SEARCH = pytest.mark.parametrize("endpoint", [pytest.param(endpoint, id=endpoint.name) for endpoint in SEARCHES])


def condition(field: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "data_type": kind, "value": {kind: value}}


ID = condition("id", "eq", "string", "x")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": (condition("password", "eq", "string", "x"), "field"),
    "a column that may not be searched": (condition("tenant_id", "eq", "string", "x"), "field"),
    "SQL for a field": (condition("id; drop table", "eq", "string", "x"), "field"),
    "an unknown operator": (condition("id", "like", "string", "x"), "operator"),
    "an operator of another type": (condition("id", "gt", "string", "x"), "operator"),
    "a range for a list": (condition("created_at", "in", "date", "2026-01-01T00:00:00Z"), "operator"),
    "part of a number": (condition("created_at", "contains", "string", "2"), "operator"),
    "text for a time": (condition("created_at", "eq", "string", "soon"), "value"),
    "a number for a time": (condition("created_at", "gt", "number", 1), "value"),
    "a number for text": (condition("id", "eq", "number", 1), "value"),
    "a time for text": (condition("id", "before", "date", "2026-01-01T00:00:00Z"), "value"),
    "times in a list that are none": (condition("created_at", "in", "array", ["soon"]), "value"),
    "a naive time": (condition("created_at", "after", "date", "2026-01-01T00:00:00"), "value.date"),
    "another member than the type's": ({**ID, "value": {"number": 1}}, "value"),
    "no value": ({**ID, "value": {}}, "value"),
    "an unknown type": ({**ID, "data_type": "uuid"}, "data_type"),
    "too long a list": (condition("id", "in", "array", ["x"] * 1001), "value.array"),
    **{f"no {part}": ({k: v for k, v in ID.items() if k != part}, part) for part in ID},
}


CALLED_OTHERWISE = {"/v1/workflows/search": {"id": "run_id", "created_at": "start_time"}}
"""What a search calls these fields, where its rows have neither id nor time of creation."""


def renamed(endpoint: Endpoint, given: dict[str, Any]) -> dict[str, Any]:
    """A condition or order with the name that the search gives its field."""
    names = CALLED_OTHERWISE.get(endpoint.path, {})
    return {**given, "field": names.get(given["field"], given["field"])} if "field" in given else given


def test_there_are_searches() -> None:
    assert len(SEARCHES) >= 12


@EVERY_SEARCH
async def test_what_cannot_be_applied_is_refused_never_ignored(account: Account, endpoint: Endpoint) -> None:
    for name, (given, where) in REFUSED.items():
        answer = await account.post(endpoint.url(), {"filters": [renamed(endpoint, given)]}, expect=400)
        assert any(key.endswith(where) for key in answer["details"]), f"{name}: {answer}"


@EVERY_SEARCH
async def test_a_search_has_limits(account: Account, endpoint: Endpoint) -> None:
    level = renamed(endpoint, {"field": "id", "direction": "asc"})
    for body, where in (
        ({"filters": [renamed(endpoint, ID)] * 51}, "filters"),
        ({"sort": [level] * 21}, "sort"),
        ({"sort": [{"field": "password", "direction": "asc"}]}, "field"),
        ({"sort": [{**level, "direction": "up"}]}, "sort[0].direction"),
        ({"sort": [{"field": level["field"]}]}, "sort[0].direction"),
        ({"limit": 1001}, "limit"),
        ({"limit": -1}, "limit"),
        ({"offset": -1}, "offset"),
        ({"status": "gone"}, "status"),
    ):
        answer = await account.post(endpoint.url(), body, expect=400)
        assert any(key.endswith(where) for key in answer["details"]), f"{body}: {answer}"
    for values, status in ((100, 200), (101, 400)):  # 5,000 values of all conditions together
        widest = {
            "filters": [renamed(endpoint, condition("id", "in", "array", [f"{n}" for n in range(values)]))] * 50,
            "sort": [level] * 20,
        }
        answer = await account.post(endpoint.url(), widest, expect=status)
        assert status == 400 or rows(answer) == []


def rows(answer: dict[str, Any]) -> list[Any]:
    """The items of a page; connections call theirs otherwise."""
    found: list[Any] = answer["connections"] if "connections" in answer else answer["items"]
    return found


async def found(account: Account, endpoint: Endpoint, *filters: dict[str, Any], **more: Any) -> list[str]:
    answer = await account.post(endpoint.url(), {"filters": list(filters), "limit": 1000, **more}, expect=200)
    assert answer.get("pagination", answer)["total"] >= len(rows(answer))
    return [str(item["id"]) for item in (_flat(item) for item in rows(answer))]


def _flat(item: dict[str, Any]) -> dict[str, Any]:
    """An item itself, where a list wraps each."""
    return item if "id" in item else next(value for value in item.values() if isinstance(value, dict))


@pytest.mark.slow
async def test_every_search_answers_the_same_language(account: Account) -> None:
    """Against rows of the tour: the operators, and each with its opposite."""
    await build(OverHttp(account))
    early, late = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
    seen = 0
    # what is done in the background changes while it is looked at
    for endpoint in (each for each in SEARCHES if not each.path.startswith("/v1/workflows/")):
        every = await found(account, endpoint)
        if not every:
            continue
        seen += 1
        one = every[-1]
        others = [id for id in every if id != one]
        assert await found(account, endpoint, condition("id", "eq", "string", one)) == [one], endpoint.name
        assert await found(account, endpoint, condition("id", "eq", "string", one.lower())) == [], endpoint.name
        assert await found(account, endpoint, condition("id", "in", "array", [one, "nobody"])) == [one], endpoint.name
        assert await found(account, endpoint, condition("id", "not_in", "array", [one])) == others, endpoint.name
        assert await found(account, endpoint, condition("id", "in", "array", [])) == [], endpoint.name
        assert await found(account, endpoint, condition("id", "not_in", "array", [])) == every, endpoint.name
        assert await found(account, endpoint, condition("id", "contains", "string", one[-12:].lower())) == [one], (
            endpoint.name
        )
        assert await found(account, endpoint, condition("id", "not_contains", "string", one)) == others, endpoint.name
        for literal in ("%", "\\", "' OR ''='"):
            assert await found(account, endpoint, condition("id", "contains", "string", literal)) == [], endpoint.name
        assert await found(account, endpoint, condition("created_at", "after", "date", early)) == every, endpoint.name
        assert await found(account, endpoint, condition("created_at", "before", "date", early)) == [], endpoint.name
        between = condition("created_at", "after", "date", early), condition("created_at", "before", "date", late)
        assert await found(account, endpoint, *between) == every, endpoint.name
        ascending = await found(account, endpoint, sort=[{"field": "id", "direction": "asc"}])
        assert ascending == sorted(every), endpoint.name
        assert await found(account, endpoint, sort=[{"field": "id", "direction": "desc"}]) == ascending[::-1], (
            endpoint.name
        )
        pages = [await found(account, endpoint, limit=1, offset=n) for n in range(len(every))]
        assert [id for part in pages for id in part] == every, endpoint.name
    assert seen >= 10
