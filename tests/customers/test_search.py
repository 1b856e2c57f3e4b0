"""Lists and searches of customers: pages, filters, sorts, ranges, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import Boolean, Integer, Numeric, column, select, values

from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers.tables import Customer
from farthing.storage.queries.search import Condition, Operator, Value, apply_conditions
from tests.account import Account
from tests.customers.conftest import new_customer

START = datetime(2026, 1, 1, tzinfo=UTC)


def row(external_id: str, created_at: datetime = START, **given: Any) -> Customer:
    return Customer(id=new_id(Kind.CUSTOMER), external_id=external_id, name=external_id, created_at=created_at, **given)


@pytest.fixture
async def five(account: Account) -> Account:
    """Customers a to e, one day apart, of whom only some have a contact."""
    async with account.transaction() as session:
        session.add_all(
            [
                row("a", START, email="ada@acme.example", address_city="100%", contact="1", meta={"k": "v", "x": "1"}),
                row("b", START + timedelta(days=1), email="bob@acme.example", address_city="100_", contact="2"),
                row("c", START + timedelta(days=2), email="cid@other.example", address_city="1000", meta={"k": "v"}),
                row("d", START + timedelta(days=3), email="", address_city="Zürich", timezone="Europe/Zurich"),
                row("e", START + timedelta(days=4), email="", address_city="zurich"),
            ]
        )
    return account


async def found(account: Account, **body: Any) -> str:
    """The external ids of a search's page, in order, as one word."""
    items = (await account.post("/customers/search", body, expect=200))["items"]
    return "".join(customer["external_id"] for customer in items)


async def test_a_thousand_customers_of_one_moment_are_each_visited_once(account: Account) -> None:
    async with account.transaction() as session:
        session.add_all([row(f"c{n:04}") for n in range(1000)])
    seen: list[str] = []
    offset = 0
    while True:
        answer = await account.get("/customers", limit=70, offset=offset)
        assert answer["pagination"] == {"total": 1000, "limit": 70, "offset": offset + 70}
        if not answer["items"]:
            break
        seen += [customer["external_id"] for customer in answer["items"]]
        offset = answer["pagination"]["offset"]
    assert len(seen) == 1000
    assert sorted(seen) == [f"c{n:04}" for n in range(1000)]
    by_name = [
        (await found(account, limit=500, offset=n, sort=[{"field": "status", "direction": "asc"}])) for n in (0, 500)
    ]
    assert sorted("".join(by_name).split("c")) == ["", *(f"{n:04}" for n in range(1000))]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        pytest.param({}, (50, 50), id="nothing asked: fifty, and the next page starts at fifty"),
        pytest.param({"limit": 0}, (50, 50), id="a limit of nought means fifty"),
        pytest.param({"limit": 2}, (2, 2), id="the offset answered is the offset asked plus the limit"),
        pytest.param({"limit": 2, "offset": 3}, (2, 5), id="from the fourth on"),
        pytest.param({"limit": 1000, "offset": 7}, (1000, 1007), id="the largest page"),
    ],
)
async def test_the_offset_answered_is_where_the_next_page_starts(
    five: Account, asked: dict[str, int], answered: tuple[int, int]
) -> None:
    for answer in (await five.get("/customers", **asked), await five.post("/customers/search", asked, expect=200)):
        limit, offset = answered
        assert answer["pagination"] == {"total": 5, "limit": limit, "offset": offset}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": 10**30}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": 2**63}, "offset"),
        ({"status": "gone"}, "status"),
        ({"order": "up"}, "order"),
        ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2026-01-02T00:00:00"}, "start_time"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"sort": "tenant_id"}, "field"),
        ({"email": "nobody"}, "email"),
        ({"expand": "subscriptions"}, "field"),
    ],
    ids=str,
)
async def test_a_bad_parameter_is_refused_by_name(account: Account, asked: dict[str, Any], field: str) -> None:
    for answer in (
        await account.get("/customers", expect=400, **asked),
        await account.post("/customers/search", asked, expect=400),
    ):
        assert answer["code"] == "validation_error"
        assert field in answer["details"]


async def test_an_empty_search_body_is_an_empty_filter(five: Account) -> None:
    for body in (b"", b"{}", b'{"customer_ids":[],"external_ids":[],"filters":[],"sort":[],"metadata":{}}'):
        answer = await five.http.post("/customers/search", content=body)
        assert answer.status_code == 200
        assert [c["external_id"] for c in answer.json()["items"]] == list("edcba")


class TestNarrowing:
    async def test_comma_and_repeated_lists_are_the_same(self, five: Account) -> None:
        for query in (
            "external_ids=a,c",
            "external_ids=a&external_ids=c",
            "external_ids=a,,c&external_ids=",
            "external_ids=a&external_ids=c,c",
        ):
            items = (await five.http.get(f"/customers?{query}")).json()["items"]
            assert [customer["external_id"] for customer in items] == ["c", "a"]
        ids = [customer["id"] for customer in items]
        assert (await five.get("/customers", customer_ids=",".join(ids)))["items"] == items
        assert (await five.get("/customers", customer_ids=ids))["items"] == items
        assert (await five.get("/customers", customer_ids=""))["pagination"]["total"] == 5

    async def test_all_conditions_must_hold(self, five: Account) -> None:
        assert await found(five, external_ids=["a", "b"], email="bob@acme.example") == "b"
        assert await found(five, external_id="a", email="bob@acme.example") == ""
        assert await found(five, metadata={"k": "v"}) == "ca"
        assert await found(five, metadata={"k": "v", "x": "1"}) == "a"
        assert await found(five, metadata={"k": "V"}) == ""

    async def test_the_time_range_includes_both_ends(self, five: Account) -> None:
        ends: dict[str, Any] = {"start_time": "2026-01-02T01:00:00+01:00", "end_time": "2026-01-04T00:00:00Z"}
        assert await found(five, **ends) == "dcb"
        items = (await five.get("/customers", **ends))["items"]
        assert [customer["external_id"] for customer in items] == ["d", "c", "b"]

    async def test_too_many_ids_are_refused(self, account: Account) -> None:
        body = {"external_ids": [str(n) for n in range(1001)]}
        assert "external_ids" in (await account.post("/customers/search", body, expect=400))["details"]


class TestSorting:
    async def test_levels_apply_in_order_and_absent_values_come_last(self, five: Account) -> None:
        assert await found(five, sort=[{"field": "contact", "direction": "asc"}]) == "abedc"
        assert await found(five, sort=[{"field": "contact", "direction": "desc"}]) == "baedc"
        levels = [{"field": "timezone", "direction": "asc"}, {"field": "name", "direction": "desc"}]
        assert await found(five, sort=levels) == "decba"

    async def test_a_plain_name_and_an_order_do_as_well(self, five: Account) -> None:
        by_name: dict[str, Any] = {"sort": "name"}
        for asked, expected in ((by_name | {"order": "asc"}, "abcde"), (by_name, "edcba")):
            items = (await five.get("/customers", **asked))["items"]
            assert "".join(customer["external_id"] for customer in items) == expected
        assert await found(five, order="asc") == "abcde"

    @pytest.mark.parametrize(
        "level",
        [
            {"field": "name"},
            {"direction": "asc"},
            {"field": "name", "direction": "up"},
            {"field": "x", "direction": "asc"},
        ],
        ids=str,
    )
    async def test_half_a_level_is_refused(self, account: Account, level: dict[str, str]) -> None:
        await account.post("/customers/search", {"sort": [level]}, expect=400)


def where(field: str, operator: str, data_type: str, value: Any, member: str | None = None) -> list[dict[str, Any]]:
    return [{"field": field, "operator": operator, "data_type": data_type, "value": {member or data_type: value}}]


DAY_TWO = "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param(where("name", "eq", "string", "a"), "a", id="equal"),
        pytest.param(where("name", "eq", "string", "A"), "", id="equal heeds case"),
        pytest.param(where("email", "contains", "string", "ACME"), "ba", id="contains ignores case"),
        pytest.param(where("address_city", "contains", "string", "0%"), "a", id="a percent sign is literal"),
        pytest.param(where("address_city", "contains", "string", "0_"), "b", id="an underscore is literal"),
        pytest.param(where("address_city", "contains", "string", "\\"), "", id="a backslash is literal"),
        pytest.param(where("address_city", "contains", "string", "ZÜR"), "d", id="contains folds letters beyond ASCII"),
        pytest.param(where("email", "not_contains", "string", "acme"), "edc", id="does not contain"),
        pytest.param(where("contact", "not_contains", "string", "1"), "edcb", id="null does not contain anything"),
        pytest.param(where("name", "in", "array", ["a", "e", "x"]), "ea", id="in"),
        pytest.param(where("name", "in", "array", []), "", id="in nothing matches nothing"),
        pytest.param(where("name", "not_in", "array", ["a", "e"]), "dcb", id="not in"),
        pytest.param(where("name", "not_in", "array", []), "edcba", id="not in nothing matches everything"),
        pytest.param(where("contact", "not_in", "array", ["1"]), "edcb", id="null is not in a list"),
        pytest.param(where("created_at", "before", "date", DAY_TWO), "a", id="before is strict"),
        pytest.param(where("created_at", "after", "date", DAY_TWO), "edc", id="after is strict"),
        pytest.param(where("created_at", "eq", "date", "2026-01-02T05:30:00+05:30"), "b", id="the same instant"),
        pytest.param(where("status", "eq", "string", "published"), "edcba", id="an enumeration"),
        pytest.param(where("status", "in", "array", ["published", "archived"]), "edcba", id="in an enumeration"),
        pytest.param(
            [*where("email", "contains", "string", "acme"), *where("name", "eq", "string", "b")],
            "b",
            id="both must hold",
        ),
    ],
)
async def test_a_condition_selects(five: Account, filters: list[dict[str, Any]], expected: str) -> None:
    assert await found(five, filters=filters) == expected


ALLOWED = {
    "eq": {"string", "number", "date"},
    "contains": {"string"},
    "not_contains": {"string"},
    "gt": {"number"},
    "lt": {"number"},
    "gte": {"number"},
    "lte": {"number"},
    "in": {"array"},
    "not_in": {"array"},
    "before": {"date"},
    "after": {"date"},
}
VALUES = {"string": "2", "number": 2, "date": DAY_TWO, "array": ["2"]}
FIELD_OF = {"string": "name", "array": "name", "date": "created_at"}
"""A customer's column that each data type can be compared with; customers have no numeric column."""


@pytest.mark.parametrize("data_type", VALUES)
@pytest.mark.parametrize("operator", ALLOWED)
async def test_each_operator_with_each_data_type_is_applied_or_refused(
    account: Account, operator: str, data_type: str
) -> None:
    filters = where(FIELD_OF.get(data_type, "name"), operator, data_type, VALUES[data_type])
    allowed = data_type in ALLOWED[operator] and data_type != "number"
    answer = await account.post("/customers/search", {"filters": filters}, expect=200 if allowed else 400)
    if not allowed:
        assert answer["code"] == "validation_error"
        assert {"operator", "value"} & answer["details"].keys()


@pytest.mark.parametrize(
    ("operator", "data_type", "value", "expected"),
    [
        ("eq", "number", 2.5, {"2.5"}),
        ("gt", "number", 2.5, {"3"}),
        ("gte", "number", 2.5, {"2.5", "3"}),
        ("lt", "number", 2.5, {"1"}),
        ("lte", "number", 2.5, {"1", "2.5"}),
        ("in", "array", ["1", "3.0"], {"1", "3"}),
        ("not_in", "array", ["1", "3.0"], {"2.5"}),
        ("contains", "string", "2", None),
        ("not_contains", "string", "2", None),
        ("before", "date", DAY_TWO, None),
        ("after", "date", DAY_TWO, None),
        ("eq", "string", "2.5", {"2.5"}),
        ("eq", "string", "two", None),
        ("eq", "string", "NaN", None),
        ("in", "array", ["two"], None),
        ("eq", "date", DAY_TWO, None),
    ],
)
async def test_numbers_are_compared_exactly_and_with_nothing_else(
    account: Account, operator: str, data_type: str, value: Any, expected: set[str] | None
) -> None:
    amounts = values(column("amount", Numeric), name="amounts").data([(Decimal(text),) for text in ("1", "2.5", "3")])
    given: Any = {"date": datetime(2026, 1, 2, tzinfo=UTC), "number": Decimal("2.5")}.get(data_type, value)
    condition = Condition(
        field="amount",
        operator=Operator(operator),
        data_type=data_type,  # type: ignore[arg-type]  # one of the four
        value=Value(**{data_type: given}),
    )
    columns: Any = {"amount": amounts.c.amount}
    if expected is None:
        with pytest.raises(ValidationFailed):
            apply_conditions(select(amounts.c.amount), [condition], columns)
        return
    statement = apply_conditions(select(amounts.c.amount), [condition], columns)
    async with account.transaction(read_only=True) as session:
        assert {str(amount) for amount in await session.scalars(statement)} == expected


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param({"operator": "eq", "data_type": "string", "value": {"string": "a"}}, id="no field"),
        pytest.param({"field": "name", "data_type": "string", "value": {"string": "a"}}, id="no operator"),
        pytest.param({"field": "name", "operator": "eq", "value": {"string": "a"}}, id="no data type"),
        pytest.param({"field": "name", "operator": "eq", "data_type": "string"}, id="no value"),
        pytest.param(where("name", "eq", "string", 1, "number")[0], id="the member of another data type"),
        pytest.param(where("name", "eq", "string", None)[0], id="a null value"),
        pytest.param(where("name", "eq", "boolean", True)[0], id="an unknown data type"),
        pytest.param(where("name", "eq", "string", True, "boolean")[0], id="a boolean against a text"),
        pytest.param(where("created_at", "eq", "string", "soon")[0], id="a text against a time"),
        pytest.param(where("created_at", "contains", "string", "2026")[0], id="a substring of a time"),
        pytest.param(where("created_at", "in", "array", ["x"])[0], id="a time in a list of texts"),
        pytest.param(where("created_at", "after", "date", "2026-01-01")[0], id="a date without time"),
        pytest.param(where("created_at", "after", "date", "2026-01-01T00:00:00")[0], id="a time without zone"),
        pytest.param(where("status", "eq", "string", "gone")[0], id="an unknown word of an enumeration"),
        pytest.param(where("status", "contains", "string", "publ")[0], id="a substring of an enumeration"),
        pytest.param(where("status", "in", "array", ["published", "x"])[0], id="an unknown word in a list"),
        pytest.param(where("tenant_id", "eq", "string", "x")[0], id="a column that is nobody's business"),
        pytest.param(where("metadata", "eq", "string", "x")[0], id="a column that is no plain value"),
        pytest.param(where("name; DROP TABLE customers", "eq", "string", "x")[0], id="SQL as a field"),
        pytest.param(where("name", "like", "string", "x")[0], id="an unknown operator"),
        pytest.param(where("name", "in", "array", [1])[0], id="a list of numbers"),
        pytest.param(where("name", "in", "array", ["x"] * 1001)[0], id="a list of 1001 items"),
        pytest.param(where("name", "eq", "string", "a\x00b")[0], id="a NUL in a text"),
        pytest.param("name", id="a condition that is a text"),
    ],
)
async def test_a_condition_that_cannot_be_applied_is_refused(account: Account, condition: Any) -> None:
    refused = await account.post("/customers/search", {"filters": [condition]}, expect=400)
    assert refused["code"] == "validation_error"
    assert refused["details"]


async def test_a_search_of_more_conditions_than_a_statement_holds_is_refused(account: Account) -> None:
    largest = where("name", "in", "array", [str(n) for n in range(100)])
    await account.post("/customers/search", {"filters": largest * 50}, expect=200)
    refused = await account.post("/customers/search", {"filters": largest * 51}, expect=400)
    assert "filters" in refused["details"]


@pytest.mark.parametrize("data_type", VALUES)
async def test_a_boolean_is_compared_whatever_the_data_type(account: Account, data_type: str) -> None:
    flags = values(column("flag", Boolean), column("n", Integer), name="flags").data([(True, 1), (False, 2)])
    condition = msgspec.convert(where("flag", "eq", data_type, False, "boolean")[0], Condition)
    columns: Any = {"flag": flags.c.flag}
    async with account.transaction(read_only=True) as session:
        assert list(await session.scalars(apply_conditions(select(flags.c.n), [condition], columns))) == [2]


async def test_a_boolean_cannot_be_compared_with_a_text(account: Account) -> None:
    await new_customer(account)
    for data_type in VALUES:
        filters = where("name", "eq", data_type, True, "boolean")
        refused = await account.post("/customers/search", {"filters": filters}, expect=400)
        assert "compared" in refused["details"]["value"]
