"""A company with one of everything that books can have: what it owes, holds, promised and changed in mid-period."""

from __future__ import annotations

from typing import Any

from tests.billing.counter import do, opened
from tests.billing.office import Office
from tests.migration.removal import MOVED_ON, customers_of
from tests.payments.till import Till
from tests.subscriptions.shop import fixed

PRORATED = {"proration_behavior": "create_prorations"}
Body = dict[str, Any]
_LOTS: tuple[Body, ...] = (
    {"expiry_date_utc": "2026-03-15T00:00:00Z", "transaction_reason": "FREE_CREDIT_GRANT"},
    {"priority": 1, "transaction_reason": "FREE_CREDIT_GRANT"},
    {"transaction_reason": "PURCHASED_CREDIT_DIRECT"},
)


async def fill_company(office: Office) -> None:
    """Changes of plan in mid-period, invoices and wallets of every kind, several currencies, families, overrides."""
    await office.on("2026-01-01")
    calls, storage = await office.feature(), await office.feature("storage", type="MAX", field="gb")
    old = await office.plan(
        fixed("20", display_name="Base"),
        fixed("6", display_name="Support", invoice_cadence="ARREAR"),
        office.usage(calls, "0.5", display_name="Calls"),
        name="Old",
    )
    new = await office.plan(
        fixed("50", display_name="Base"), office.usage(calls, "0.2", display_name="Calls"), name="New"
    )
    await _change_plans(office, old, new)
    await _promise(office, old, calls, storage)
    await _charge_other_currencies(office, calls)
    await _issue(office)
    await _fill_wallets(office)
    await office.on("2026-03-09")
    feature = await office.feature("retired")
    await office.account.http.delete(f"/features/{feature['id']}")
    await office.on(MOVED_ON)


async def _change_plans(office: Office, old: Body, new: Body) -> None:
    """A change in place and one by a new subscription, an item that ends and one that begins, seats, in March."""
    names = ("in-place", "replaced", "ended-item", "more-seats", "addon-detached")
    customers = {name: await office.customer(name) for name in names}
    addon = await office.addon(fixed("9"), key="extras")
    made = {name: await opened(office, old, customer) for name, customer in customers.items()}
    await office.account.post(
        "/subscriptions/addon", {"subscription_id": made["addon-detached"]["id"], "addon_id": addon["id"]}, expect=200
    )
    for moment in ("2026-02-01", "2026-03-01"):
        await office.run(moment)
    for name in names:
        await office.used("calls", {"external_id": name}, 10, "2026-03-03")
    await office.on("2026-03-05")
    change = {"target_plan_id": new["id"], **PRORATED}
    await do(office, made["in-place"], "change/v2/execute", change)
    await do(
        office,
        made["replaced"],
        "change/execute",
        {**change, "billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"},
    )
    items = (await office.account.get(f"/subscriptions/{made['ended-item']['id']}"))["line_items"]
    for item in items:
        if item["display_name"] in {"Calls", "Support"}:
            await office.account.http.request("DELETE", f"/subscriptions/lineitems/{item['id']}", json=PRORATED)
    items = (await office.account.get(f"/subscriptions/{made['more-seats']['id']}"))["line_items"]
    base = next(item for item in items if item["display_name"] == "Base")
    await do(
        office,
        made["more-seats"],
        "modify/execute",
        {"type": "quantity_change", "quantity_change_params": {"line_items": [{"id": base["id"], "quantity": "4"}]}},
    )
    for name in names:
        await office.used("calls", {"external_id": name}, 20, "2026-03-06")


async def _promise(office: Office, plan: Body, calls: Body, storage: Body) -> None:
    """Overrides, coupons of every cadence, entitlements, grants, trials, pauses, cancellations that are announced."""
    post = office.account.post
    await office.on("2026-03-01")
    rich = await office.plan(
        fixed("30", display_name="Rich"), office.usage(storage, "2", display_name="Storage"), name="Rich"
    )
    await office.entitle(rich, storage, usage_limit=5, usage_reset_period="MONTHLY")
    await post(
        "/creditgrants",
        {
            "name": "Monthly credits",
            "scope": "PLAN",
            "plan_id": rich["id"],
            "credits": "7",
            "cadence": "RECURRING",
            "period": "MONTHLY",
            "period_count": 1,
            "expiration_type": "NEVER",
        },
    )
    terms: dict[str, Body] = {
        "once": {"type": "fixed", "amount_off": "5", "currency": "usd", "cadence": "once"},
        "thrice": {
            "type": "fixed",
            "amount_off": "4",
            "currency": "usd",
            "cadence": "repeated",
            "duration_in_periods": 3,
        },
        "always": {"type": "percentage", "percentage_off": "10", "cadence": "forever"},
    }
    for code, body in terms.items():
        await post("/coupons", {"name": code, "coupon_code": code, **body})
        await opened(office, rich, await office.customer(code), subscription_coupons=[{"coupon_code": code}])
    trial = await office.customer("trial")
    await opened(office, rich, trial, trial_period_days=20)
    ending = await opened(office, rich, await office.customer("ending"))
    await do(office, ending, "cancel", {"cancellation_type": "end_of_period"})
    dated = await opened(office, rich, await office.customer("dated"))
    await do(office, dated, "cancel", {"cancellation_type": "scheduled_date", "cancel_at": "2026-03-21T00:00:00Z"})
    gone = await opened(office, rich, await office.customer("gone"))
    await do(office, gone, "cancel", {"cancellation_type": "immediate", **PRORATED})
    paused = await opened(office, rich, await office.customer("resting"))
    await do(office, paused, "pause", {"reason": "holiday"})
    base = rich["prices"][0]["id"]
    await opened(
        office,
        rich,
        await office.customer("overridden"),
        override_line_items=[{"price_id": base, "amount": "25", "quantity": "2"}],
        override_entitlements=[
            {
                "entitlement_id": (await office.account.get(f"/plans/{rich['id']}/entitlements"))["items"][0]["id"],
                "usage_limit": 50,
            }
        ],
    )
    for name in ("once", "thrice", "always", "trial", "ending", "dated", "overridden"):
        await office.recorded("storage", {"external_id": name}, ("2026-03-04", {"gb": "12"}))


async def _charge_other_currencies(office: Office, calls: Body) -> None:
    plan = await office.plan(
        fixed("900", currency="jpy", display_name="Yen"),
        office.usage(calls, "3", currency="jpy", display_name="Calls"),
        fixed("7.123", currency="kwd", display_name="Dinar"),
        name="Abroad",
    )
    for currency in ("jpy", "kwd"):
        customer = await office.customer(f"in-{currency}")
        await opened(office, plan, customer, currency=currency)
        await office.used("calls", customer, 11, "2026-03-02")


async def _issue(office: Office) -> None:
    """Invoices that are paid in part, too much, credited before and after payment, refunded, void, written off."""
    till = Till(office.account)
    for name in ("partly", "over", "credited", "refunded", "void", "written-off", "failed-card", "quiet"):
        await office.customer(name)
    ids = await customers_of(office)

    async def invoice(name: str, amount: str = "100", **more: Any) -> Body:
        line = {"display_name": "Work", "amount": amount, "quantity": "1", "price_type": "FIXED"}
        body = {"customer_id": ids[name], "currency": "usd", "line_items": [line], **more}
        body |= dict.fromkeys(("amount_due", "subtotal", "total"), amount)
        made: Body = await office.account.post("/invoices", body)
        return made

    async def credit(owner: Body, amount: str) -> None:
        lines = [{"invoice_line_item_id": owner["line_items"][0]["id"], "amount": amount}]
        body = {"invoice_id": owner["id"], "reason": "BILLING_ERROR", "line_items": lines, "process_credit_note": True}
        await office.account.post("/creditnotes", body)

    await till.pay(await invoice("partly"), "30")
    await till.pay(await invoice("over"), "130")
    await credit(await invoice("credited"), "25")
    refunded = await invoice("refunded")
    await till.pay(refunded)
    await credit(refunded, "40")
    void = await invoice("void")
    await till.pay(void, "10")
    await office.account.post(f"/invoices/{void['id']}/void", {}, expect=200)
    written = await invoice("written-off")
    await till.pay(written, "10")
    await office.account.post(f"/invoices/{written['id']}/write-off", {"reason": "gone"}, expect=200)
    await till.connect()
    await till.charge(await invoice("failed-card"), method="pm_test_declined", expect=400)


async def _fill_wallets(office: Office) -> None:
    ids = await customers_of(office)
    for currency, kind, name in (
        ("usd", "PRE_PAID", "in-place"),
        ("usd", "POST_PAID", "in-place"),
        ("jpy", "PRE_PAID", "in-jpy"),
    ):
        wallet = await office.account.post(
            "/wallets",
            {"customer_id": ids[name], "currency": currency, "wallet_type": kind, "conversion_rate": "2"},
            expect=200,
        )
        if kind == "PRE_PAID":
            for count, more in enumerate(_LOTS):
                body = {"credits_to_add": str(3 + count), "idempotency_key": f"{wallet['id']}{count}", **more}
                await office.account.post(f"/wallets/{wallet['id']}/top-up", body, expect=200)
