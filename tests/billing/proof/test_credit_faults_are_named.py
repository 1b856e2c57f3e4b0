"""Whatever is changed behind the books in credits, grants, notes, minimums and owners of usage, the doctor names."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.proof.credit_notes import note_differences
from farthing.billing.proof.credits import credit_differences
from farthing.billing.proof.invoices import prove
from farthing.billing.proof.settlement_notes import settlement_note_differences
from farthing.billing.proof.settlements import settlement_differences
from farthing.core.clock import FixedClock
from farthing.credits.grants.proof import grant_differences
from farthing.credits.grants.sweep import GrantSweep
from farthing.credits.ledger.expiry import expire_due
from farthing.credits.reads.derivation import ledger_differences
from farthing.events.upkeep import reconcile
from farthing.invoices.figures.derivation import all_differences
from farthing.invoices.tables import Invoice
from tests.billing.charges.mid_period.test_unused_time import pay
from tests.billing.counter import Body, cancel, do, opened
from tests.billing.late_usage.lateness import settled
from tests.billing.office import Office
from tests.billing.proof.faults import require_each_named
from tests.credits.ledger_desk import LedgerDesk
from tests.subscriptions.shop import at, fixed

PRORATED = {"proration_behavior": "create_prorations"}
QUOTA = {"grant_measure": "quantity", "grant_quota": "10", "grant_duration_unit": "day", "grant_duration_value": 1}
CREDITS = {"name": "Credits", "scope": "PLAN", "cadence": "RECURRING", "period": "MONTHLY", "period_count": 1}

_REFUND = "(SELECT id FROM credit_notes WHERE credit_note_type = 'REFUND' LIMIT 1)"
_REFUND_LINE = f"(SELECT id FROM credit_note_line_items WHERE credit_note_id = {_REFUND} LIMIT 1)"
_GIVEN = "(SELECT id FROM credit_grant_applications WHERE application_status = 'applied' ORDER BY period_start LIMIT 1)"
_SHARE = "(SELECT id FROM credit_grant_applications WHERE metadata ? 'proration_applied' LIMIT 1)"
_TRUE_UP = "(SELECT id FROM invoice_line_items WHERE kind = 'true_up' LIMIT 1)"
_QUOTA_LINE = "(SELECT id FROM invoice_line_items WHERE usage_windows IS NOT NULL AND amount > 0 LIMIT 1)"
_ADJUSTED = "(SELECT id FROM invoice_line_items WHERE prepaid_credits_applied > 0 LIMIT 1)"


def _of(table: str, change: str, row: str) -> str:
    return f"UPDATE {table} SET {change} WHERE id = {row}"


FAULTS = {
    "more of a note is tax": _of(
        "credit_note_line_items",
        "net_amount = net_amount - 1, tax_amount = tax_amount + 1, taxes = jsonb_set(taxes, '{0,amount}', '\"10.5\"')",
        _REFUND_LINE,
    ),
    "unused time without its tax": _of(
        "credit_note_line_items", "amount = net_amount, tax_amount = 0, taxes = '[]'", _REFUND_LINE
    ),
    "a note that no settlement made": _of("credit_notes", "settlement_key = NULL", _REFUND),
    "a settlement without tax": "UPDATE proration_settlements SET tax_credited = 0 WHERE tax_credited > 0",
    "a refund of another amount": f"UPDATE refunds SET amount = amount - 1, settled_amount = settled_amount - 1 "
    f"WHERE credit_note_id = {_REFUND}",
    "what an invoice says was refunded": f"""
        UPDATE invoices SET refunded_amount = refunded_amount - 1
        WHERE id = (SELECT invoice_id FROM credit_notes WHERE id = {_REFUND})
    """,
    "usage that goes along with an external id": """
        UPDATE external_id_tenures SET customer_id = (SELECT id FROM customers WHERE name = 'Taker')
        WHERE external_id = 'old' AND until_sequence IS NOT NULL
    """,
    "a taker owns what came before": """
        UPDATE external_id_tenures SET since_sequence = 0 WHERE external_id = 'old' AND until_sequence IS NULL
    """,
    "usage under another name": "UPDATE meter_usage SET external_customer_id = 'new' "
    "WHERE external_customer_id = 'old'",
    "a whole minimum for a part of a period": _of("invoice_line_items", "amount = 97, commitment_base = 100", _TRUE_UP),
    "less of a minimum": _of("invoice_line_items", "amount = amount - 1", _TRUE_UP),
    "a larger quota": _of(
        "invoice_line_items", "usage_windows = jsonb_set(usage_windows, '{over,0,quota}', '\"11\"')", _QUOTA_LINE
    ),
    "less usage over a quota": _of("invoice_line_items", "quantity = quantity - 1, amount = amount - 1", _QUOTA_LINE),
    "another grant": _of("credit_grant_applications", "credits = 99", _GIVEN),
    "a whole grant for a part of a period": _of("credit_grant_applications", "credits = 62", _SHARE),
    "a grant that gave nothing": _of(
        "credit_grant_applications", "application_status = 'skipped', transaction_id = NULL, applied_at = NULL", _GIVEN
    ),
    "a period of a grant that is missing": """
        DELETE FROM credit_grant_applications WHERE id = (
            SELECT id FROM credit_grant_applications ORDER BY period_start OFFSET 1 LIMIT 1)
    """,
    "a shorter period of a grant": _of(
        "credit_grant_applications", "period_end = period_end - interval '1 day'", _GIVEN
    ),
    "a grant of another size": "UPDATE credit_grants SET credits = credits + 1 WHERE subscription_id IS NOT NULL",
    "a grant of another priority": "UPDATE credit_grants SET priority = 7 WHERE subscription_id IS NOT NULL",
    "a grant that lasts otherwise": "UPDATE credit_grants SET expiration_type = 'DURATION', expiration_duration = 3, "
    "expiration_duration_unit = 'WEEK' WHERE subscription_id IS NOT NULL",
    "less left of a lot": "UPDATE wallet_transactions SET credits_available = credits_available - 1 "
    "WHERE credits_available > 1",
    "a purchase that was given up": "UPDATE wallet_transactions SET transaction_status = 'failed' "
    "WHERE transaction_status = 'pending'",
    "less paid by credits": _of(
        "invoice_line_items", "prepaid_credits_applied = prepaid_credits_applied - 1", _ADJUSTED
    ),
    "less returned by a void": "UPDATE invoices SET refunded_amount = refunded_amount - 1 "
    "WHERE invoice_status = 'VOIDED'",
    "what a wallet paid": "UPDATE payments SET amount = amount - 1 WHERE payment_method_type = 'CREDITS'",
    "another price of credits": "UPDATE invoice_line_items SET amount = amount + 1 WHERE invoice_id IN "
    "(SELECT id FROM invoices WHERE wallet_transaction_id IS NOT NULL)",
    "a lot that nobody added": """
        INSERT INTO wallet_transactions SELECT (jsonb_populate_record(lot, jsonb_build_object(
            'id', 'wtxn_forged', 'seq', lot.seq + 1000, 'caller_key', NULL, 'system_key', NULL))).*
        FROM wallet_transactions AS lot WHERE type = 'credit' AND seq IS NOT NULL LIMIT 1
    """,
}


async def _credited(office: Office) -> None:
    """A year's beginning with all of it: January to April."""
    desk, calls = LedgerDesk(office.account), await office.feature("calls")
    await settled(office)
    await _paid_and_cancelled(office, desk)
    await _owned(office, calls)
    await _committed(office, calls)
    await _granted(office)
    await _bought(office, desk)


async def _paid_and_cancelled(office: Office, desk: LedgerDesk) -> None:
    """100 and 19 % of tax, paid, and given back from the middle on."""
    customer = await office.customer()
    code = (await office.account.get(f"/taxes/rates/{await desk.tax('19%')}"))["code"]
    association = {"tax_rate_code": code, "entity_type": "customer", "entity_id": customer["id"], "auto_apply": True}
    await office.account.post("/taxes/associations", association, 200)
    made = await opened(office, await office.plan(fixed("100")), customer)
    await pay(office, made, "119")
    await office.on("2026-01-16T12:00")
    await cancel(office, made, **PRORATED)
    await office.on("2026-01-01")


async def _owned(office: Office, calls: Body) -> None:
    """Usage under a name that somebody else takes afterwards; quotas of 10 a day."""
    customer = await office.customer("old")
    plan = await office.plan(office.usage(calls, "1"))
    await office.entitle(plan, calls, **QUOTA)
    await office.subscribed(plan, customer)
    await office.used("calls", customer, 12, "2026-01-10T10:00")
    await office.account.put(f"/customers/{customer['id']}", {"external_id": "new"})
    taker = await office.account.post("/customers", {"external_id": "old", "name": "Taker"})
    await office.subscribed(plan, taker)
    await office.used("calls", taker, 14, "2026-01-12T10:00")


async def _committed(office: Office, calls: Body) -> None:
    """A minimum of 100 a month, ended in the middle of it."""
    customer = await office.customer()
    terms: Body = {"commitment_amount": "100", "overage_factor": "1", "enable_true_up": True, **PRORATED}
    made = await opened(office, await office.plan(office.usage(calls, "1")), customer, **terms)
    await office.used("calls", customer, 3, "2026-01-10T10:00")
    await office.on("2026-01-16T12:00")
    await cancel(office, made, cancel_immediately_invoice_policy="generate_invoice", **PRORATED)
    await office.on("2026-01-01")


async def _granted(office: Office) -> None:
    """62 credits a month, and as many from another plan after a change in the middle of January."""
    plans = [await office.plan(fixed("5"), name=name) for name in ("Small", "Large")]
    for plan in plans:
        terms: Body = {**CREDITS, "credits": "62", "expiration_type": "NEVER", "priority": 3, "plan_id": plan["id"]}
        await office.account.post("/creditgrants", terms)
    made = await opened(office, plans[0])
    await office.on("2026-01-16T12:00")
    await do(office, made, "change/v2/execute", {"target_plan_id": plans[1]["id"], **PRORATED})
    for month in ("02", "03"):
        await office.run(f"2026-{month}-01")
        assert (await GrantSweep(office.account.database, office.account.scope, office.now).run()).failed == {}


async def _bought(office: Office, desk: LedgerDesk) -> None:
    """Credits that were bought, used, returned by a void, not paid yet, or expired; and what a wallet paid."""
    customer = (await office.customer())["id"]
    wallet = await desk.wallet(customer, "5", initial_credits_expiry_date_utc="2026-03-02T00:00:00Z")
    await desk.top_up(wallet, "40", transaction_reason="PURCHASED_CREDIT_DIRECT", bonus_credits_to_add="4")
    await desk.top_up(wallet, "30", transaction_reason="PURCHASED_CREDIT_INVOICED")
    usage = {"amount": "10", "quantity": "1", "price_type": "USAGE", "display_name": "Usage"}
    for number in range(2):
        billed = await desk.billed(customer, [usage])
        if number:
            await office.account.post(f"/invoices/{billed['id']}/void", {}, 200)
    postpaid = await desk.wallet(customer, "50", wallet_type="POST_PAID")
    fee = await desk.billed(customer, [{**usage, "price_type": "FIXED"}])
    body = {"destination_type": "INVOICE", "destination_id": fee["id"], "payment_method_type": "CREDITS"}
    body |= {"payment_method_id": postpaid["id"], "amount": "10", "currency": "usd", "process_payment": True}
    await office.account.post("/payments", body)
    now = at("2026-03-03")
    async with office.account.database.transaction(office.account.scope, clock=FixedClock(now)) as session:
        await expire_due(session, now)


async def _named(session: AsyncSession) -> list[str]:
    invoices = list(await session.scalars(select(Invoice).order_by(Invoice.id)))
    differences = [
        *await all_differences(session, invoices),
        *(await prove(session, invoices)).differences,
        *await ledger_differences(session),
        *await credit_differences(session),
        *await note_differences(session),
        *await grant_differences(session),
        *await settlement_differences(session),
        *await settlement_note_differences(session),
    ]
    january = await reconcile.differences(session, at("2026-01-10"), at("2026-01-11"))
    return [
        *(f"{difference.figure}: {difference.stored}, not {difference.derived}" for difference in differences),
        *(f"usage on {difference.day:%m-%d}" for difference in january),
    ]


async def test_each_fault_is_named(office: Office) -> None:
    await _credited(office)
    await require_each_named(office.account, FAULTS, _named)
