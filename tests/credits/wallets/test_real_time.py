"""What a wallet is worth once all that is owed is taken off: by worked numbers, and over HTTP with real usage."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event

from farthing.credits.enums import WalletPriceType, WalletType
from farthing.credits.rules.conversion import value_of
from farthing.credits.rules.real_time import OpenInvoice, PendingCharges, real_time_balance
from tests.billing.counter import opened
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

FIRST = OpenInvoice("first", Decimal(100), Decimal(65), Decimal(30))
"""USAGE 80 less a discount of 5 and credits of 10, FIXED 50; 30 were paid."""
SECOND = OpenInvoice("second", Decimal(50), Decimal(50))
PREPAID, POSTPAID = WalletType.PRE_PAID, WalletType.POST_PAID


@pytest.mark.parametrize(
    ("kind", "types", "usage", "invoices", "balance", "charges", "unpaid"),
    [
        pytest.param(PREPAID, "USAGE", 0, [FIRST, SECOND], 915, 85, 115, id="payments count against usage first"),
        pytest.param(PREPAID, "ALL", 0, [FIRST, SECOND], 850, 150, 115, id="all charges lower a wallet for all"),
        pytest.param(PREPAID, "FIXED", 0, [FIRST, SECOND], 850, 150, 115, id="fixed charges count whole"),
        pytest.param(PREPAID, "USAGE FIXED", "7", [FIRST], 893, 107, 65, id="both kinds are all"),
        pytest.param(POSTPAID, "ALL", 61, [FIRST, SECOND], 1000, 0, 0, id="a postpaid wallet owes nothing yet"),
        pytest.param(PREPAID, "USAGE", "61.5", [], "938.5", "61.5", 0, id="open usage is taken off"),
        pytest.param(PREPAID, "", "61.5", [], "938.5", "61.5", 0, id="no price types are those of usage"),
        pytest.param(PREPAID, "FIXED", "61.5", [], 1000, 0, 0, id="open usage is nothing to a wallet for fees"),
        pytest.param(PREPAID, "USAGE", "1200", [SECOND], -250, 1250, 50, id="it may be below nothing"),
        pytest.param(
            PREPAID,
            "USAGE",
            0,
            [OpenInvoice("x", Decimal(20), Decimal(30), Decimal(60))],
            1000,
            0,
            30,
            id="a payment beyond the usage raises nothing",
        ),
    ],
)
def test_real_time_balance(
    kind: WalletType, types: str, usage: Any, invoices: list[OpenInvoice], balance: Any, charges: Any, unpaid: Any
) -> None:
    price_types = [WalletPriceType(name) for name in types.split()]
    pending = PendingCharges(Decimal(usage), invoices)
    worked = real_time_balance(Decimal(1000), Decimal(1), kind, price_types, pending)
    assert (worked.balance, worked.charges, worked.unpaid_usage) == (
        Decimal(balance),
        Decimal(charges),
        Decimal(unpaid),
    )


@pytest.mark.parametrize(
    ("credits", "rate", "owed", "balance", "in_credits"),
    [
        ("500", "2", "61.5", "938.5", "469.25"),
        ("10", "3", "20", "10", "3.333333333"),
        ("-30", "0.5", "5", "-20", "-40"),
    ],
)
def test_real_time_credits(credits: str, rate: str, owed: str, balance: str, in_credits: str) -> None:
    value = value_of(Decimal(credits), Decimal(rate))
    worked = real_time_balance(value, Decimal(rate), PREPAID, [], PendingCharges(Decimal(owed)))
    assert (worked.balance, worked.credits) == (Decimal(balance), Decimal(in_credits))


async def wallet_of(office: Office, customer: Any, credits: str = "1000", **given: Any) -> Any:
    body = {"customer_id": customer["id"], "currency": "usd", "initial_credits_to_load": credits, **given}
    return await office.account.post("/wallets", body, expect=200)


async def balance_of(office: Office, wallet: Any, **query: Any) -> Any:
    return await office.account.get(f"/wallets/{wallet['id']}/balance/real-time", **query)


@pytest.fixture
async def calls(office: Office) -> Any:
    return await office.feature("calls")


async def test_usage_lowers_it_at_once_and_an_invoice_takes_its_place(office: Office, calls: Any) -> None:
    """41 calls at 1.5; then the period ends: first the draft that nobody has computed counts, then the wallet is
    debited for the invoice; the next period's usage counts beside it."""
    plan = await office.plan(office.usage(calls, "1.5"), fixed("10", **ARREAR))
    customer = await office.customer()
    await opened(office, plan, customer)
    wallet = await wallet_of(office, customer, "500", conversion_rate="2")
    await office.used("calls", customer, 41, "2026-01-05")
    await office.on("2026-01-20")
    worked = await balance_of(office, wallet, expand="credits_available_breakdown")
    assert (worked["real_time_balance"], worked["real_time_credit_balance"]) == ("938.5", "469.25")
    assert (worked["current_period_usage"], worked["unpaid_invoices_amount"]) == ("61.5", "0")
    assert (worked["balance"], worked["is_cached_fallback"]) == ("1000", False)
    assert worked["credits_available_breakdown"] == {"purchased": "0", "free": "500"}
    (listed,) = await office.account.get("/customers/wallets", id=customer["id"], include_real_time_balance="true")
    assert (listed["real_time_balance"], listed["real_time_credit_balance"]) == ("938.5", "469.25")
    await office.settings(compute_delay_seconds=3600, finalization_delay_seconds=0)
    await office.run("2026-02-01T00:10:00Z")
    await office.used("calls", customer, 2, "2026-02-01T00:05:00Z")
    between = await balance_of(office, wallet)
    assert (between["real_time_balance"], between["unpaid_invoices_amount"]) == ("935.5", "61.5")
    await office.run("2026-02-01T02:00:00Z")
    assert await office.totals() == ["71.50"]
    later = await balance_of(office, wallet)
    assert (later["balance"], later["real_time_balance"]) == ("938.5", "935.5"), "the wallet has taken the usage over"
    assert later["unpaid_invoices_amount"] == "0"
    cached = await office.account.get(f"/wallets/{wallet['id']}/balance/real-time-cached")
    assert cached == later


async def test_only_what_the_payer_is_billed_counts(office: Office, calls: Any) -> None:
    """A trial's usage is never billed; another currency is another wallet's; who pays for another's, owes it."""
    plan = await office.plan(office.usage(calls, "1"), office.usage(calls, "1", currency="eur"))
    user, payer = await office.customer(), await office.customer()
    await opened(office, plan, user, trial_period_days=20)
    await opened(office, plan, user, currency="eur")
    await opened(office, plan, user, inheritance={"invoicing_customer_external_id": payer["external_id"]})
    await office.used("calls", user, 5, "2026-01-05")
    await office.on("2026-01-10")
    figures = []
    for customer, currency in ((user, "usd"), (user, "eur"), (payer, "usd")):
        worked = await balance_of(office, await wallet_of(office, customer, "100", currency=currency))
        figures.append(worked["real_time_balance"])
    assert figures == ["100", "95", "95"]


async def test_allowances_and_discounts_count_as_on_an_invoice(office: Office, calls: Any) -> None:
    plan = await office.plan(office.usage(calls, "1"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="MONTHLY")
    customer = await office.customer()
    coupon = await office.account.post(
        "/coupons", {"name": "Half", "type": "percentage", "percentage_off": "50", "cadence": "forever"}
    )
    await opened(office, plan, customer, coupons=[coupon["id"]])
    await office.used("calls", customer, 30, "2026-01-05")
    await office.on("2026-01-10")
    worked = await balance_of(office, await wallet_of(office, customer, "100"))
    assert worked["real_time_balance"] == "90"


async def test_it_starts_from_the_lots_that_can_be_used(office: Office) -> None:
    """A lot past its expiry that the sweep has not reached is worth nothing; a negative balance stays."""
    customer = await office.customer()
    wallet = await wallet_of(office, customer, "40", initial_credits_expiry_date_utc="2026-01-02T10:00:00Z")
    body = {"transaction_reason": "FREE_CREDIT_GRANT", "credits_to_add": "5"}
    await office.account.post(f"/wallets/{wallet['id']}/top-up", body, expect=200)
    await office.on("2026-01-02T10:00:00Z")
    assert (await balance_of(office, wallet))["real_time_balance"] == "45"
    await office.on("2026-01-02T10:00:01Z")
    worked = await balance_of(office, wallet)
    assert (worked["balance"], worked["real_time_balance"]) == ("45", "5")
    debit = {"credits": "50", "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": "over"}
    await office.account.post(f"/wallets/{wallet['id']}/debit", debit, expect=200)
    assert (await balance_of(office, wallet))["real_time_balance"] == "-5"
    await office.account.post(f"/wallets/{wallet['id']}/freeze", {}, expect=200)
    frozen = await balance_of(office, wallet)
    assert (frozen["real_time_balance"], frozen["current_period_usage"]) == ("0", "0")
    assert "unpaid_invoices_amount" not in frozen


async def test_all_wallets_of_a_customer_take_one_calculation(office: Office, calls: Any) -> None:
    """The number of statements depends neither on the wallets of a currency nor on subscriptions or invoices."""
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    await opened(office, plan, customer)
    await wallet_of(office, customer, "100")
    await office.on("2026-01-10")

    async def statements() -> int:
        from farthing.credits.reads.ledger import active_wallets
        from farthing.credits.reads.real_time import real_time_balances

        async with office.account.transaction(read_only=True) as session:
            wallets = await active_wallets(session, customer["id"])
            connection = await session.connection()
            seen: list[str] = []
            engine = connection.sync_connection
            event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
            await real_time_balances(session, wallets, office.now)
        return len(seen)

    async def bill(amount: str) -> None:
        figures = {"amount_due": amount, "subtotal": amount, "total": amount}
        lines = [{"amount": amount, "quantity": "1"}]
        body = {"customer_id": customer["id"], "currency": "usd", "invoice_type": "ONE_OFF", "line_items": lines}
        await office.account.post("/invoices", body | figures)

    await bill("5")
    before = await statements()
    for amount in ("6", "7", "8"):
        await opened(office, plan, customer)
        await bill(amount)
    await wallet_of(office, customer, "100", wallet_type="POST_PAID")
    assert await statements() == before


async def test_the_purchase_of_its_own_credits_does_not_lower_it(office: Office) -> None:
    customer = await office.customer()
    wallet = await wallet_of(office, customer, "20", config={"allowed_price_types": ["ALL"]})
    body = {"transaction_reason": "PURCHASED_CREDIT_INVOICED", "credits_to_add": "100"}
    await office.account.post(f"/wallets/{wallet['id']}/top-up", body, expect=200)
    assert (await balance_of(office, wallet))["real_time_balance"] == "20"
