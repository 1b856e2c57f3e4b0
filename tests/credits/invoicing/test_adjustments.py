"""Prepaid wallets take off usage lines of invoices that become final, whoever races with that."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from farthing.invoices.lifecycle import transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import lock_row
from tests.account import Account
from tests.credits.ledger_desk import LedgerDesk
from tests.invoices.desk import fixed, usage


@pytest.mark.parametrize(
    ("lines", "off", "loaded", "rate", "taken", "left"),
    [
        pytest.param([usage("100")], ("50",), "100", "1", ["50"], "50", id="discounts come first"),
        pytest.param([usage("10")], (), "0.001", "1", ["0"], "0.001", id="dust stays"),
        pytest.param([fixed("100")], (), "100", "1", ["0"], "100", id="fixed lines take nothing"),
        pytest.param([usage("20"), fixed("5"), usage("50")], (), "55", "1", ["20", "0", "35"], "0", id="line by line"),
        pytest.param([usage("20")], (), "10.009", "1", ["10"], "0.009", id="whole cents"),
        pytest.param([usage("33.33")], (), "100", "0.7", ["33.33"], "52.385714286", id="credits of less than a dollar"),
        pytest.param([usage("50")], (), "47.614285714", "0.7", ["33.33"], "0", id="what 33.33 was made of pays it"),
        pytest.param(
            [usage("50")], (), "99.999999995", "0.1", ["9.99"], "0.099999995", id="nor what is shown, rounded"
        ),
        pytest.param([usage("10")], (), "3.333333333", "3", ["9.99"], "0.003333333", id="never more than there is"),
        pytest.param([usage("1")], (), "0.000000001", "10000000000", ["1"], "0", id="the smallest credit pays"),
        pytest.param([usage("30"), usage("70")], ("50",), "100", "1", ["15", "35"], "50", id="a discount over lines"),
    ],
)
async def test_usage_lines_take_prepaid_credits(
    account: Account,
    lines: list[dict[str, Any]],
    off: tuple[str, ...],
    loaded: str,
    rate: str,
    taken: list[str],
    left: str,
) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer, loaded, conversion_rate=rate)
    made = await desk.billed(customer, lines, coupons=[await desk.coupon(discount) for discount in off])
    assert [line["prepaid_credits_applied"] for line in made["line_items"]] == taken
    assert await desk.balance(wallet) == left
    debits = [row for row in await desk.rows(wallet) if row["transaction_reason"] == "CREDIT_ADJUSTMENT"]
    assert [(row["reference_type"], row["reference_id"], row["amount"]) for row in debits] == [
        ("INVOICE", made["id"], made["total_prepaid_credits_applied"])
    ] * (made["total_prepaid_credits_applied"] != "0")
    await desk.require_sound()


AN_HOUR_LATE = datetime(2030, 2, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("terms", "expiry", "taken"),
    [
        pytest.param({}, None, "20", id="a lot without expiry"),
        pytest.param({}, "2030-02-01T00:00:00Z", "20", id="a lot that expires at the end of the period"),
        pytest.param({}, "2030-01-31T23:59:59Z", "0", id="a lot that expires before it"),
        pytest.param({"config": {"allowed_price_types": ["FIXED"]}}, None, "0", id="a wallet for fixed charges"),
        pytest.param({"config": {"allowed_price_types": ["ALL"]}}, None, "20", id="a wallet for all charges"),
        pytest.param({"wallet_type": "POST_PAID"}, None, "0", id="a wallet that pays"),
        pytest.param({"currency": "eur"}, None, "0", id="a wallet of another currency"),
    ],
)
async def test_lots_are_judged_at_the_end_of_the_period(
    account: Account, terms: dict[str, Any], expiry: str | None, taken: str
) -> None:
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer, **terms)
    lasting: dict[str, Any] = {"expiry_date_utc": expiry} if expiry else {}
    await desk.top_up(wallet, "20", **lasting)
    period = {"period_start": "2030-01-01T00:00:00Z", "period_end": "2030-02-01T00:00:00Z"}
    draft = await desk.billed(customer, [usage("50")], invoice_status="DRAFT", **period)
    async with account.transaction() as session:
        invoice = await lock_row(session, Invoice, draft["id"])
        await transitions.finalize(session, invoice, AN_HOUR_LATE, effects=ports_of(session, InvoicePorts).hooks)
    assert (await desk.get(draft))["total_prepaid_credits_applied"] == taken
    assert await desk.balance(wallet) == str(20 - int(taken))


async def test_a_frozen_or_overdrawn_wallet_takes_nothing_off(account: Account) -> None:
    desk = LedgerDesk(account)
    for frozen in (True, False):
        customer = await desk.customer()
        wallet = await desk.wallet(customer, "20")
        if frozen:
            await account.post(f"/wallets/{wallet['id']}/freeze", {}, expect=200)
        else:
            debit = {"credits": "50", "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": customer}
            await account.post(f"/wallets/{wallet['id']}/debit", debit, expect=200)
        made = await desk.billed(customer, [usage("10")])
        assert made["amount_due"] == "10"
        assert await desk.balance(wallet) == ("20" if frozen else "-30")


async def test_invoices_of_one_payer_never_share_a_credit(account: Account) -> None:
    """Drafts finalized at once, beside manual debits and voids of what was finalized: nothing is spent twice."""
    desk = LedgerDesk(account)
    customer = await desk.customer()
    wallet = await desk.wallet(customer, "100")
    issued = [await desk.billed(customer, [usage("10")]) for _ in range(4)]
    drafts = [await desk.billed(customer, [usage("15")], invoice_status="DRAFT") for _ in range(6)]

    async def debit(number: int) -> int:
        body = {"credits": "1", "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": f"{customer}{number}"}
        return (await account.http.post(f"/wallets/{wallet['id']}/debit", json=body)).status_code

    async def send(path: str) -> int:
        return (await account.http.post(path)).status_code

    answers = await asyncio.gather(
        *(send(f"/invoices/{draft['id']}/finalize") for draft in drafts),
        *(debit(number) for number in range(4)),
        *(send(f"/invoices/{made['id']}/void") for made in issued),
    )
    assert answers == [200] * 14
    taken = [Decimal((await desk.get(draft))["total_prepaid_credits_applied"]) for draft in drafts]
    assert Decimal(await desk.balance(wallet)) == 100 - 4 - sum(taken)
    await desk.require_sound()
