"""Who may open the pages of the catalogue and send their forms, and what a refused form leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from tests.account import Account
from tests.subscriptions.shop import Shop, fixed
from tests.web.stage import Stage
from tests.web.visitor import Visitor


async def test_a_reader_sees_everything_and_no_button(own: Stage, outside: Visitor) -> None:
    shop = Shop(own.account)
    feature, plan = await shop.feature("calls"), await shop.plan(fixed("49"))
    customer = await own.account.post("/customers", {"external_id": "acme", "name": "Acme"})
    await own.admit(["all_reader"])
    await outside.sign_in(own)
    for path in (
        "/catalogue",
        "/catalogue/features",
        "/catalogue/coupons",
        "/catalogue/taxes",
        f"/catalogue/features/{feature['id']}",
        f"/catalogue/plans/{plan['id']}",
        f"/catalogue/prices/{plan['prices'][0]['id']}",
        f"/customers/{customer['id']}",
    ):
        page = await outside.http.get(path)
        assert page.status_code == 200, path
        for way in ("/new", "/edit", "/archive", "/change", "/end"):
            assert f'{way}"' not in page.text, (path, way)
    token = await outside.token("/invoices")
    for path in (
        "/customers/new",
        f"/customers/{customer['id']}/edit",
        f"/customers/{customer['id']}/archive",
        "/catalogue/features/new",
        "/catalogue/plans/new",
        f"/catalogue/plans/{plan['id']}/prices/new",
        f"/catalogue/plans/{plan['id']}/entitlements/new",
        f"/catalogue/prices/{plan['prices'][0]['id']}/change",
        "/catalogue/coupons/new",
        "/catalogue/taxes/new",
    ):
        assert (await outside.http.get(path)).status_code == 403, path
        assert (await outside.post(path, {"form_token": token, "name": "x"})).status_code == 403, path


async def test_what_another_tenant_sells_is_missing(own: Stage, inside: Visitor, stranger: Account) -> None:
    shop = Shop(stranger)
    feature, plan = await shop.feature("calls"), await shop.plan(fixed("49"))
    price = plan["prices"][0]["id"]
    token = await inside.token()
    for path in (
        f"/catalogue/features/{feature['id']}",
        f"/catalogue/features/{feature['id']}/edit",
        f"/catalogue/features/{feature['id']}/archive",
        f"/catalogue/plans/{plan['id']}/edit",
        f"/catalogue/plans/{plan['id']}/prices/new",
        f"/catalogue/plans/{plan['id']}/entitlements/new",
        f"/catalogue/prices/{price}",
        f"/catalogue/prices/{price}/change",
    ):
        assert (await inside.http.get(path)).status_code == 404, path
    await inside.post(f"/catalogue/plans/{plan['id']}/archive", {"form_token": token})
    await inside.post(f"/catalogue/prices/{price}/end", {"form_token": token})
    assert (await stranger.get(f"/plans/{plan['id']}"))["status"] == "published"
    assert "end_date" not in await stranger.get(f"/prices/{price}")


@pytest.mark.parametrize(
    ("path", "typed", "said"),
    [
        ("/customers/new", {"name": "  ", "external_id": "x"}, "is required"),
        ("/customers/new", {"name": "x", "external_id": "x", "email": "no"}, "must be an email address"),
        ("/customers/new", {"name": "x", "external_id": "x", "metadata.gstin": "1"}, "must be a GSTIN"),
        (
            "/customers/new",
            {"name": "x", "external_id": "x", "metadata.electronic_address_scheme": "EM"},
            "is required",
        ),
        ("/catalogue/features/new", {"name": "x", "type": "metered"}, "is required"),
        (
            "/catalogue/features/new",
            {"name": "x", "type": "boolean", "metadata.unit_code": "ZZZZ"},
            "Recommendation 20",
        ),
        ("/catalogue/addons/new", {"name": "x"}, "is required"),
        ("/catalogue/coupons/new", {"name": "x", "type": "fixed", "cadence": "once", "amount_off": "5"}, "is required"),
        ("/catalogue/taxes/new", {"name": "x", "code": "x", "tax_rate_type": "percentage"}, "must be 0 to 100"),
    ],
)
async def test_a_refused_form_keeps_what_was_typed_and_makes_nothing(
    own: Stage, inside: Visitor, path: str, typed: dict[str, str], said: str
) -> None:
    chosen = {"timezone": "UTC", "tax_treatment": "taxable"}  # as a browser sends what nobody touched
    answer = await inside.post(path, {**chosen, **typed, "form_token": await inside.token()})
    assert answer.status_code == 400
    assert said in answer.text
    assert 'role="alert"' in answer.text
    for name, text in typed.items():
        if text.strip() and name not in {"type", "cadence", "tax_rate_type"}:
            assert f'value="{text}"' in answer.text, name
    for listed in ("/customers", "/features", "/addons", "/coupons", "/taxes/rates"):
        assert (await own.account.get(listed))["items"] == []


async def test_without_a_script_rows_are_added_and_a_price_is_calculated(own: Stage, inside: Visitor) -> None:
    plan = await own.account.post("/plans", {"name": "Plain"})
    path = f"/catalogue/plans/{plan['id']}/prices/new"
    typed = {"form_token": await inside.token(), "type": "FIXED", "currency": "usd", "billing_model": "TIERED"}
    typed |= {"tier_mode": "SLAB", "billing_period": "MONTHLY", "invoice_cadence": "ADVANCE"}
    typed |= {"tiers[0].up_to": "10", "tiers[0].unit_amount": "5", "tiers[1].unit_amount": "4", "quantity": "12"}
    more = await inside.post(path, {**typed, "more": "tiers"})
    assert (more.status_code, 'name="tiers[2].unit_amount"' in more.text) == (200, True)
    looked = await inside.post(path, {**typed, "look": "yes"})
    assert (looked.status_code, "$58.00" in looked.text) == (200, True)
    assert not (await own.account.get(f"/plans/{plan['id']}")).get("prices")
    assert (await inside.post(path, typed)).status_code == 303
    (price,) = (await own.account.get(f"/plans/{plan['id']}"))["prices"]
    assert [tier["unit_amount"] for tier in price["tiers"]] == ["5", "4"]


async def test_a_feature_without_a_meter_is_charged_for_by_no_fixed_fee(own: Stage, inside: Visitor) -> None:
    await Shop(own.account).plan(fixed("49"))
    feature = await own.account.post("/features", {"name": "Single sign-on", "type": "boolean"})
    page = await inside.http.get(f"/catalogue/features/{feature['id']}")
    assert "Nowhere yet" in page.text
    assert "charges for it" not in page.text


async def test_forms_that_are_sent_twice_at_the_same_time_make_one_thing(own: Stage, inside: Visitor) -> None:
    token = await inside.token()

    async def send_twice(path: str, typed: dict[str, str]) -> None:
        form = {**typed, "form_token": token, "once": await inside.once(path)}
        answers = await asyncio.gather(inside.post(path, form), inside.post(path, form))
        assert [answer.status_code for answer in answers] == [303, 303]
        assert len({answer.headers["location"] for answer in answers}) == 1

    await send_twice("/catalogue/plans/new", {"name": "Growth", "currency": "usd", "billing_period": "MONTHLY"})
    (plan,) = (await own.account.get("/plans"))["items"]
    amount = {"type": "FIXED", "currency": "usd", "billing_model": "FLAT_FEE", "amount": "49"}
    period = {"billing_period": "MONTHLY", "invoice_cadence": "ADVANCE"}
    await send_twice(f"/catalogue/plans/{plan['id']}/prices/new", {**amount, **period})
    assert len((await own.account.get(f"/plans/{plan['id']}"))["prices"]) == 1
    coupon = {"name": "Launch", "type": "percentage", "percentage_off": "20", "cadence": "once"}
    await send_twice("/catalogue/coupons/new", coupon)
    assert len((await own.account.get("/coupons"))["items"]) == 1
