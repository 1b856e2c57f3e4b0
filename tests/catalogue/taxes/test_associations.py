"""Who is taxed: associations over HTTP, what a new customer inherits, and which taxes an invoice carries."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from farthing.calendar.period import Period
from farthing.catalogue.taxes.associations import inherit
from farthing.catalogue.taxes.choosing import auto_apply_associations, rates_by_code, rates_by_id, tax_of
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.core.errors import InvalidOperation, NotFound
from farthing.rating.totals import taxes as rating
from tests.account import Account

NOW = datetime(2025, 6, 15, tzinfo=UTC)
JUNE = Period(datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC))
CUSTOMER = TaxEntityType.CUSTOMER


async def rate(account: Account, code: str, **change: Any) -> str:
    made: str = (await account.post("/taxes/rates", {"name": code, "code": code, "percentage_value": "10", **change}))[
        "id"
    ]
    return made


async def customer(account: Account, external_id: str = "acme", **more: Any) -> str:
    made: str = (await account.post("/customers", {"external_id": external_id, "name": "Acme", **more}))["id"]
    return made


async def associate(account: Account, code: str, expect: int = 200, **more: Any) -> Any:
    return await account.post("/taxes/associations", {"tax_rate_code": code, **more}, expect=expect)


async def of(account: Account, entity_id: str) -> list[dict[str, Any]]:
    """The associations of an entity, by priority."""
    page = await account.get(
        "/taxes/associations", entity_id=entity_id, expand="tax_rate", sort="priority", order="asc"
    )
    items: list[dict[str, Any]] = page["items"]
    return items


async def test_an_association_comes_back_as_stored(account: Account) -> None:
    await account.freeze(NOW)
    rate_id, customer_id = await rate(account, "vat"), await customer(account)
    made = await associate(account, "vat", external_customer_id="acme", priority=2, currency="EUR")
    assert (made["tax_rate_id"], made["entity_type"], made["entity_id"]) == (rate_id, "customer", customer_id)
    assert (made["priority"], made["auto_apply"], made["currency"]) == (2, False, "eur")
    assert made["start_date"] == "2025-06-15T00:00:00Z"
    assert "end_date" not in made
    path = f"/taxes/associations/{made['id']}"
    assert await account.get(path) == made
    assert (await account.get(path, expand="tax_rate"))["tax_rate"]["code"] == "vat"
    changed = await account.put(path, {"priority": 0, "auto_apply": True, "metadata": {"a": "b"}, "currency": "usd"})
    assert (changed["priority"], changed["auto_apply"], changed["metadata"]) == (0, True, {"a": "b"})
    assert changed["currency"] == "eur"
    assert (await account.delete(path, expect=200))["status"] == "archived"
    assert (await account.put(path, {"priority": 1}, expect=400))["code"] == "invalid_operation"
    assert (await account.delete(path, expect=400))["code"] == "invalid_operation"
    assert (await account.get("/taxes/associations"))["items"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({}, 400, id="no entity at all"),
        pytest.param({"entity_type": "customer"}, 400, id="a type without an id"),
        pytest.param({"entity_id": "x"}, 400, id="an id without a type"),
        pytest.param({"entity_type": "planet", "entity_id": "x"}, 400, id="an unknown type"),
        pytest.param({"entity_type": "tenant", "external_customer_id": "acme"}, 400, id="a tenant that is a customer"),
        pytest.param({"external_customer_id": "acme", "entity_id": "cust_other"}, 400, id="two different customers"),
        pytest.param({"external_customer_id": "nobody"}, 404, id="an unknown external id"),
        pytest.param({"entity_type": "customer", "entity_id": "cust_none"}, 404, id="an unknown customer"),
        pytest.param({"entity_type": "tenant", "entity_id": "tenant_other"}, 404, id="another tenant"),
        pytest.param({"entity_type": "invoice", "entity_id": "inv_none"}, 404, id="an unknown invoice"),
        pytest.param({"external_customer_id": "acme", "priority": -1}, 400, id="a negative priority"),
        pytest.param({"external_customer_id": "acme", "currency": "euro"}, 400, id="a currency that is none"),
        pytest.param(
            {"external_customer_id": "acme", "end_date": "2000-01-01T00:00:00Z"}, 400, id="an end in the past"
        ),
        pytest.param(
            {"external_customer_id": "acme", "start_date": "2030-01-01T00:00:00Z", "end_date": "2030-01-01T00:00:00Z"},
            400,
            id="an end at the start",
        ),
    ],
)
async def test_bad_associations_are_refused(account: Account, body: dict[str, Any], status: int) -> None:
    await rate(account, "vat")
    await customer(account)
    await associate(account, "vat", expect=status, **body)
    assert (await account.get("/taxes/associations"))["pagination"]["total"] == 0


async def test_a_rate_must_be_known_and_active(account: Account) -> None:
    rate_id = await rate(account, "vat")
    await customer(account)
    await associate(account, "nothing", expect=404, external_customer_id="acme")
    await associate(account, "VAT", expect=404, external_customer_id="acme")
    await account.put(f"/taxes/rates/{rate_id}", {"tax_rate_status": "INACTIVE"})
    refused = await associate(account, "vat", expect=400, external_customer_id="acme")
    assert refused["code"] == "invalid_operation"


async def test_a_rate_is_not_archived_and_associated_at_once(account: Account) -> None:
    await customer(account)
    for n in range(5):
        rate_id = await rate(account, f"r{n}")
        gone, used = await asyncio.gather(
            account.http.delete(f"/taxes/rates/{rate_id}"),
            account.http.post("/taxes/associations", json={"tax_rate_code": f"r{n}", "external_customer_id": "acme"}),
        )
        assert (gone.status_code, used.status_code) in {(204, 404), (400, 200)}


async def test_a_customer_inherits_what_the_tenant_applies_automatically(account: Account) -> None:
    await account.freeze(NOW)
    for code in ("vat", "eco", "manual", "over"):
        await rate(account, code)
    tenant: dict[str, Any] = {"entity_type": "tenant", "entity_id": account.tenant_id}
    span: dict[str, Any] = {"start_date": "2025-01-01T00:00:00Z", "end_date": "2026-01-01T00:00:00Z"}
    await associate(account, "vat", auto_apply=True, priority=1, currency="usd", metadata={"k": "v"}, **span, **tenant)
    await associate(account, "eco", auto_apply=True, priority=0, start_date="2025-07-01T00:00:00Z", **tenant)
    await associate(account, "manual", **tenant)
    over: dict[str, Any] = {"start_date": "2024-01-01T00:00:00Z", "end_date": "2025-06-15T00:00:00Z"}
    await associate(account, "over", auto_apply=True, **over, **tenant)
    eco, vat = await of(account, await customer(account))
    assert (eco["tax_rate"]["code"], eco["start_date"]) == ("eco", "2025-07-01T00:00:00Z")
    assert (vat["tax_rate"]["code"], vat["priority"], vat["currency"], vat["metadata"]) == ("vat", 1, "usd", {"k": "v"})
    assert {name: vat[name] for name in span} == span
    assert vat["auto_apply"] is True


async def test_later_changes_of_the_tenant_do_not_reach_a_customer(account: Account) -> None:
    await rate(account, "vat")
    customer_id = await customer(account)
    await associate(account, "vat", auto_apply=True, entity_type="tenant", entity_id=account.tenant_id)
    assert await of(account, customer_id) == []


async def test_overrides_replace_what_a_customer_would_inherit(account: Account) -> None:
    for code in ("vat", "gst"):
        await rate(account, code)
    await associate(account, "vat", auto_apply=True, entity_type="tenant", entity_id=account.tenant_id)
    assert await of(account, await customer(account, "none", tax_rate_overrides=[])) == []
    given = [{"tax_rate_code": "gst", "currency": "INR", "priority": 3}]
    (only,) = await of(account, await customer(account, "other", tax_rate_overrides=given))
    assert (only["tax_rate"]["code"], only["currency"], only["priority"], only["auto_apply"]) == ("gst", "inr", 3, True)
    body = {"external_id": "x", "name": "X", "tax_rate_overrides": [{"tax_rate_code": "nope", "currency": "usd"}]}
    await account.post("/customers", body, expect=404)
    assert (await account.get("/customers", external_id="x"))["pagination"]["total"] == 0


@pytest.mark.parametrize(
    ("change", "applies"),
    [
        pytest.param({}, True, id="without dates or currency it applies"),
        pytest.param({"auto_apply": False}, False, id="only automatic ones apply"),
        pytest.param({"currency": "usd"}, True, id="of the invoice's currency"),
        pytest.param({"currency": "eur"}, False, id="not of another currency"),
    ],
)
async def test_which_taxes_an_invoice_carries(account: Account, change: dict[str, Any], applies: bool) -> None:
    await rate(account, "vat")
    customer_id = await customer(account)
    span: dict[str, Any] = {"start_date": "2025-01-01T00:00:00Z", "auto_apply": True, "external_customer_id": "acme"}
    await associate(account, "vat", **{**span, **change})
    async with account.transaction(read_only=True) as session:
        found = await auto_apply_associations(session, CUSTOMER, customer_id, "usd")
    assert [linked.rate.code for linked in found] == (["vat"] if applies else [])


async def test_taxes_come_by_priority(account: Account) -> None:
    for code in ("late", "early"):
        await rate(account, code)
    customer_id = await customer(account)
    for code, priority in (("late", 5), ("early", 1), ("late", 9)):
        await associate(account, code, external_customer_id="acme", auto_apply=True, priority=priority)
    async with account.transaction() as session:
        found = await auto_apply_associations(session, CUSTOMER, customer_id, "usd")
    assert [(each.rate.code, each.association.priority) for each in found] == [
        ("early", 1),
        ("late", 5),
        ("late", 9),
    ]


async def test_a_subscription_copies_its_customer(account: Account) -> None:
    await rate(account, "vat")
    customer_id = await customer(account)
    await associate(account, "vat", external_customer_id="acme", auto_apply=True)
    async with account.transaction() as session:
        source, target = (CUSTOMER, customer_id), (TaxEntityType.SUBSCRIPTION, "subs_1")
        (copy,) = await inherit(session, source, target, None, datetime.now(UTC))
        assert await inherit(session, source, target, [], NOW) == []
    assert (copy.entity_type, copy.entity_id, copy.auto_apply) == (TaxEntityType.SUBSCRIPTION, "subs_1", True)


async def test_rates_are_looked_up_in_request_order(account: Account, stranger: Account) -> None:
    ids = [await rate(account, code) for code in ("a", "b")]
    foreign = await rate(stranger, "foreign")
    stamp = await rate(account, "stamp", percentage_value=None, tax_rate_type="fixed", fixed_value="2.5")
    async with account.transaction() as session:
        assert [rate.id for rate in await rates_by_id(session, [ids[1], ids[0], ids[1]])] == [ids[1], ids[0]]
        found = await rates_by_code(session, ["stamp", "a"], lock=True)
        assert [tax_of(rate) for rate in found] == [
            rating.TaxRate(stamp, rating.TaxRateType.FIXED, Decimal("2.5")),
            rating.TaxRate(ids[0], rating.TaxRateType.PERCENTAGE, Decimal(10)),
        ]
        assert await rates_by_id(session, []) == []
        for unknown in (foreign, "taxrate_none"):
            with pytest.raises(NotFound):
                await rates_by_id(session, [ids[0], unknown])
        with pytest.raises(NotFound):
            await rates_by_code(session, ["foreign"])
    await account.put(f"/taxes/rates/{ids[0]}", {"tax_rate_status": "INACTIVE"})
    await account.delete(f"/taxes/rates/{ids[1]}")
    async with account.transaction() as session:
        for unusable in ids:
            with pytest.raises(InvalidOperation):
                await rates_by_id(session, [unusable])
        with pytest.raises(NotFound):
            await rates_by_code(session, ["b"])


async def test_lists_filter(account: Account, stranger: Account) -> None:
    first, second = await rate(account, "first"), await rate(account, "second")
    customer_id = await customer(account)
    made = await associate(account, "first", external_customer_id="acme")
    await associate(account, "second", entity_type="tenant", entity_id=account.tenant_id, auto_apply=True)
    assert first != second

    async def listed(**query: Any) -> list[str]:
        return [item["tax_rate_id"] for item in (await account.get("/taxes/associations", **query))["items"]]

    assert await listed() == [second, first]
    assert await listed(entity_type="tenant") == [second]
    assert await listed(entity_id=customer_id) == [first]
    assert await listed(external_customer_id="acme") == [first]
    assert await listed(tax_rate_id=second) == [second]
    assert await listed(auto_apply="true") == [second]
    await account.get("/taxes/associations", external_customer_id="nobody", expect=404)
    await account.get("/taxes/associations", entity_type="nobody", expect=400)
    assert (await account.get("/taxes/associations", limit=1))["pagination"] == {"total": 2, "limit": 1, "offset": 1}
    path = f"/taxes/associations/{made['id']}"
    assert (await stranger.get("/taxes/associations"))["items"] == []
    await stranger.get(path, expect=404)
    await stranger.put(path, {"priority": 1}, expect=404)
    await stranger.delete(path, expect=404)
    assert await account.get(path) == made


async def test_the_published_client_does_every_operation(account: Account) -> None:
    await rate(account, "vat")
    await customer(account)
    sdk = account.sdk().tax_associations
    made = await sdk.create_tax_association_async(tax_rate_code="vat", external_customer_id="acme", priority=1)
    assert made.id is not None
    assert (await sdk.get_tax_association_async(id=made.id)).priority == 1
    assert (await sdk.update_tax_association_async(id=made.id, auto_apply=True)).auto_apply is True
    found = await sdk.list_tax_associations_async(external_customer_id="acme")
    assert [item.id for item in found.items or []] == [made.id]
    assert (await sdk.delete_tax_association_async(id=made.id)).id == made.id
