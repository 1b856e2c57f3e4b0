"""Exchange rates over the API: who may have which, when, and what is refused."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from flexprice.models import errors
from hypothesis import given
from hypothesis import strategies as st

from farthing.catalogue.fx.enums import FxScope
from farthing.catalogue.fx.resolution import NARROWEST_FIRST, RateInForce, rate_at
from tests.account import Account
from tests.subscriptions.shop import at

Body = dict[str, Any]


async def rate(account: Account, rate: str | None = "1.10", expect: int = 201, **more: Any) -> Body:
    body = {"from_currency": "usd", "to_currency": "eur", "scope": "tenant", **more}
    answer: Body = await account.post("/forex", body if rate is None else {**body, "rate": rate}, expect=expect)
    return answer


async def override(account: Account, customer: Body, start: str | None, end: str | None, expect: int = 201) -> Body:
    """A rate of a customer for a window."""
    window = {"start_date": start and f"{start}T00:00:00Z", "end_date": end and f"{end}T00:00:00Z"}
    return await rate(account, "1.2", expect, scope="customer", scope_id=customer["id"], **window)


async def test_a_rate_is_what_was_sent(account: Account) -> None:
    made = await rate(account, "83.125000000001", to_currency="INR", metadata={"desk": "treasury"})
    assert made["rate"] == "83.125000000001"
    assert (made["from_currency"], made["to_currency"], made["scope"], made["source"]) == (
        "usd",
        "inr",
        "tenant",
        "fixed",
    )
    assert await account.get(f"/forex/{made['id']}") == made
    changed = await account.put(f"/forex/{made['id']}", {"rate": "84", "metadata": {"desk": "sales"}})
    assert (changed["rate"], changed["metadata"]) == ("84", {"desk": "sales"})
    await account.delete(f"/forex/{made['id']}", expect=400)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"to_currency": "usd"}, "to_currency", id="the same currency twice"),
        pytest.param({"to_currency": "euro"}, "to_currency", id="no currency"),
        pytest.param({"from_currency": ""}, "from_currency", id="no currency at all"),
        pytest.param({"rate": "0"}, "rate", id="a rate of nothing"),
        pytest.param({"rate": "-1"}, "rate", id="a rate below nothing"),
        pytest.param({"rate": "1.0000000000001"}, "rate", id="thirteen decimals"),
        pytest.param({"rate": "1" + "0" * 18}, "rate", id="too large to be stored"),
        pytest.param({"rate": None}, "rate", id="a fixed rate without a rate"),
        pytest.param({"source": "market"}, "rate", id="a market rate with a rate"),
        pytest.param({"source": "market", "rate": None}, "source", id="a market rate without reference rates"),
        pytest.param({"scope_id": "cust_1"}, "scope_id", id="a tenant's rate for somebody"),
        pytest.param({"start_date": "2026-01-01T00:00:00Z"}, "start_date", id="a tenant's rate with a window"),
        pytest.param({"scope": "customer"}, "scope_id", id="a customer's rate for nobody"),
        pytest.param({"scope": "galaxy"}, "scope", id="a scope that there is not"),
    ],
)
async def test_what_is_refused(account: Account, body: Body, field: str) -> None:
    whole = {"from_currency": "usd", "to_currency": "eur", "scope": "tenant", "rate": "1.1", **body}
    refused = await account.post("/forex", {name: value for name, value in whole.items() if value is not None}, 400)
    assert field in refused["details"]


class TestOverrides:
    async def test_windows_meet_and_do_not_overlap(self, account: Account) -> None:
        customer = await account.post("/customers", {"external_id": "c", "name": "C"})
        refused = await override(account, customer, None, None, expect=400)
        assert "tenant" in refused["details"]["from_currency"]
        await rate(account)
        march = await override(account, customer, "2026-03-01", "2026-04-01")
        await override(account, customer, "2026-04-01", None)
        await override(account, customer, None, "2026-03-01")
        for start, end in (("2026-03-31", "2026-04-02"), (None, None), ("2026-02-01", "2026-03-02")):
            await override(account, customer, start, end, expect=409)
        stretched = {"end_date": "2026-04-02T00:00:00Z"}
        await account.put(f"/forex/{march['id']}", stretched, expect=409)
        turned = {"end_date": "2026-02-01T00:00:00Z"}
        await account.put(f"/forex/{march['id']}", turned, expect=400)
        assert (await account.delete(f"/forex/{march['id']}", expect=200))["message"]
        await override(account, customer, "2026-03-10", "2026-03-20")
        assert (await account.get(f"/forex/{march['id']}"))["status"] == "archived"
        await account.put(f"/forex/{march['id']}", {"rate": "2"}, expect=400)
        await account.delete(f"/forex/{march['id']}", expect=400)

    async def test_at_once_only_one_has_a_window(self, account: Account) -> None:
        customer = await account.post("/customers", {"external_id": "c", "name": "C"})
        await rate(account)
        body = {
            "from_currency": "usd", "to_currency": "eur", "scope": "customer", "scope_id": customer["id"], "rate": "1",
        }  # fmt: skip
        answers = await asyncio.gather(*(account.http.post("/forex", json=body) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]

    async def test_a_pair_is_directed_and_the_tenant_has_one_rate_of_it(self, account: Account) -> None:
        await rate(account)
        await rate(account, "0.9", from_currency="eur", to_currency="usd")
        await rate(account, "1.3", expect=409)

    @pytest.mark.parametrize("scope", ["customer", "subscription"])
    async def test_for_somebody_who_does_not_exist(self, account: Account, scope: str) -> None:
        await rate(account)
        await rate(account, scope=scope, scope_id="nobody", expect=404)


async def test_lists(account: Account) -> None:
    customer = await account.post("/customers", {"external_id": "c", "name": "C"})
    tenant = await rate(account)
    own = await override(account, customer, None, "2026-03-01")
    gone = await override(account, customer, "2026-03-01", None)
    await account.delete(f"/forex/{gone['id']}", expect=200)

    async def found(**asked: Any) -> list[str]:
        page = await account.post("/forex/query", asked, expect=200)
        return [item["id"] for item in page["items"]]

    assert await found() == [own["id"], tenant["id"]]
    assert await found(scope="tenant") == [tenant["id"]]
    assert await found(scope_id=customer["id"], from_currency="USD", to_currency="eur") == [own["id"]]
    assert await found(status="archived") == [gone["id"]]
    assert await found(fx_rate_ids=[tenant["id"]]) == [tenant["id"]]
    assert await found(sort=[{"field": "created_at", "direction": "asc"}], limit=1) == [tenant["id"]]
    assert await found(offset=1) == [tenant["id"]]
    assert await found(to_currency="inr") == []
    await account.post("/forex/query", {"expand": "customer"}, expect=400)


async def test_the_published_client(account: Account) -> None:
    async with account.sdk() as client:
        made = await client.fx_rates.create_fx_rate_async(
            from_currency="usd", to_currency="eur", scope="tenant", rate="1.0832", source="fixed"
        )
        assert (made.rate, made.scope, made.source) == ("1.0832", "tenant", "fixed")
        assert (await client.fx_rates.get_fx_rate_async(id=made.id)).rate == "1.0832"
        assert (await client.fx_rates.update_fx_rate_async(id=made.id, rate="1.09")).rate == "1.09"
        page = await client.fx_rates.query_fx_rates_async(scope="tenant")
        assert [item.id for item in page.items] == [made.id]
        assert page.pagination.total == 1
        customer = await account.post("/customers", {"external_id": "c", "name": "C"})
        own = await client.fx_rates.create_fx_rate_async(
            from_currency="usd", to_currency="eur", scope="customer", scope_id=customer["id"], rate="1.2"
        )
        assert await client.fx_rates.delete_fx_rate_async(id=own.id)
        with pytest.raises(errors.FlexpriceError):
            await client.fx_rates.delete_fx_rate_async(id=made.id)


hours = st.integers(0, 100).map(lambda hour: at(f"2026-01-0{1 + hour // 24} {hour % 24:02}:00"))


@st.composite
def rates_without_overlap(draw: st.DrawFn) -> list[RateInForce]:
    """Rates of one pair: at most one of the tenant, windows of each narrower scope one after another."""
    rates = [RateInForce("tenant", draw(st.integers(1, 9)), FxScope.TENANT)] if draw(st.booleans()) else []  # type: ignore[arg-type]
    for scope in (FxScope.CUSTOMER, FxScope.SUBSCRIPTION):
        edges = sorted(set(draw(st.lists(hours, max_size=6))))
        for number, (start, end) in enumerate(pairwise(edges)):
            if draw(st.booleans()):
                rates.append(RateInForce(f"{scope}-{number}", draw(st.integers(1, 9)), scope, start, end))  # type: ignore[arg-type]
    return draw(st.permutations(rates))


@given(rates=rates_without_overlap(), moment=hours)
def test_the_rate_in_force_is_the_narrowest_that_holds(rates: list[RateInForce], moment: Any) -> None:
    chosen = rate_at(rates, moment)
    holding = [rate for rate in rates if rate.holds_at(moment)]
    if not holding:
        assert chosen is None
        return
    assert chosen in holding
    assert all(NARROWEST_FIRST.index(chosen.scope) <= NARROWEST_FIRST.index(rate.scope) for rate in holding)
    assert len([rate for rate in holding if rate.scope is chosen.scope]) == 1
    assert rate_at(list(reversed(rates)), moment) == chosen
    if chosen.end is not None:
        assert rate_at(rates, chosen.end) != chosen
