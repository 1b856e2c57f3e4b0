"""Do all the totals of an environment agree, to the minor unit, whoever asks for them?

What customers see (summary, ageing, unapplied money, wallets) and what reports say is held against plain sums of the
books, and the sums against one another: what was billed is what was paid, adjusted or is owed; what was received stands
on invoices, waits, or went back; what wallets gave is what invoices took.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import text

from farthing.calendar.period import Period
from farthing.core.money import plain
from farthing.reporting.statement.account import account_currencies, account_statement
from tests.account import Account

Totals = dict[str, Decimal]
NOTHING = Decimal(0)
BEGINNING, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""All stories happen between these."""

COUNTED = "invoice_status = 'FINALIZED' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF') AND status = 'published'"
SETTLED = "payment_status IN ('SUCCEEDED', 'OVERPAID', 'PARTIALLY_REFUNDED', 'REFUNDED') AND status = 'published'"
SUMS = {
    "charged": f"SELECT currency, sum(total) FROM invoices WHERE {COUNTED} GROUP BY 1",
    "remaining": f"""
        SELECT currency, sum(amount_remaining) FROM invoices WHERE {COUNTED} AND written_off_at IS NULL GROUP BY 1
    """,
    "written off": f"SELECT currency, sum(written_off_amount) FROM invoices WHERE {COUNTED} GROUP BY 1",
    "adjusted": f"SELECT currency, sum(adjustment_amount) FROM invoices WHERE {COUNTED} GROUP BY 1",
    "paid": f"SELECT currency, sum(amount_paid) FROM invoices WHERE {COUNTED} GROUP BY 1",
    "overpaid": f"SELECT currency, sum(greatest(amount_paid - amount_due, 0)) FROM invoices WHERE {COUNTED} GROUP BY 1",
    "overpaid and given back": f"""
        SELECT currency, sum(least(amount_paid - amount_due, (
            SELECT sum(greatest(credited - net, 0)) FROM (
                SELECT sum(taken.net_amount) AS credited,
                    max(line.amount - line.line_item_discount - line.invoice_level_discount) AS net
                FROM invoice_line_items AS line
                JOIN credit_note_line_items AS taken ON taken.invoice_line_item_id = line.id
                JOIN credit_notes AS note ON note.id = taken.credit_note_id AND note.credit_note_status = 'FINALIZED'
                WHERE line.invoice_id = invoices.id AND line.status = 'published' GROUP BY line.id
            ) AS of_line
        ))) FROM invoices WHERE {COUNTED} AND amount_paid > amount_due AND refunded_amount > 0 GROUP BY 1
    """,
    "refunded": f"SELECT currency, sum(refunded_amount) FROM invoices WHERE {COUNTED} GROUP BY 1",
    "adjustment notes": f"""
        SELECT note.currency, sum(total_amount) FROM credit_notes AS note
        JOIN (SELECT id FROM invoices WHERE {COUNTED}) AS invoice ON invoice.id = note.invoice_id
        WHERE credit_note_type = 'ADJUSTMENT' AND credit_note_status = 'FINALIZED' GROUP BY 1
    """,
    "refund notes": f"""
        SELECT note.currency, sum(total_amount) FROM credit_notes AS note
        JOIN (SELECT id FROM invoices WHERE {COUNTED}) AS invoice ON invoice.id = note.invoice_id
        WHERE credit_note_type = 'REFUND' AND credit_note_status = 'FINALIZED' GROUP BY 1
    """,
    "money received": f"""
        SELECT currency, sum(amount) FROM payments WHERE payment_method_type <> 'CREDITS' AND {SETTLED} GROUP BY 1
    """,
    "money on invoices": """
        SELECT invoice.currency, sum(settlement.amount) FROM invoice_settlements AS settlement
        JOIN invoices AS invoice ON invoice.id = settlement.invoice_id
        LEFT JOIN payments AS payment ON payment.id = settlement.payment_id
        WHERE settlement.kind NOT IN ('auto_complete', 'manual')
            AND coalesce(payment.payment_method_type, '') <> 'CREDITS'
        GROUP BY 1
    """,
    "unapplied": "SELECT currency, sum(amount - allocated - withdrawn) FROM unapplied_money GROUP BY 1",
    "given back": "SELECT currency, sum(withdrawn) FROM unapplied_money GROUP BY 1",
    "set aside by notes": """
        SELECT currency, sum(amount) FROM unapplied_money WHERE credit_note_id IS NOT NULL GROUP BY 1
    """,
    "value of active wallets": "SELECT currency, sum(balance) FROM wallets WHERE wallet_status = 'active' GROUP BY 1",
    "taken by invoices": """
        SELECT currency, sum(amount) FROM wallet_transactions
        WHERE transaction_reason IN ('CREDIT_ADJUSTMENT', 'INVOICE_PAYMENT') GROUP BY 1
    """,
    "prepaid credits and payments by wallet": f"""
        SELECT currency, sum(amount) FROM (
            SELECT currency, total_prepaid_credits_applied - coalesce((
                -- what was taken before a conversion was taken in the currency of the charges
                SELECT sum(round(source_prepaid_credits_applied * fx_rate, 2)) FROM invoice_line_items AS line
                WHERE line.invoice_id = invoices.id AND line.status = 'published'
            ), 0) AS amount FROM invoices
            UNION ALL
            SELECT charged_in, source_total_prepaid_credits_applied FROM invoices WHERE charged_in IS NOT NULL
            UNION ALL
            SELECT currency, amount FROM payments WHERE payment_method_type = 'CREDITS' AND {SETTLED}
        ) AS taken GROUP BY 1
    """,
    "put into wallets by notes": """
        SELECT currency, sum(amount) FROM wallet_transactions
        WHERE transaction_reason = 'CREDIT_NOTE' AND system_key IS NOT NULL AND parent_transaction_id IS NULL GROUP BY 1
    """,
    "refunds into wallets": """
        SELECT refund.currency, sum(refund.amount) FROM refunds AS refund
        WHERE refund_destination = 'WALLET' AND refund_status = 'SUCCEEDED' AND credit_note_id IS NOT NULL GROUP BY 1
    """,
}
EQUAL = [
    # what was billed is adjusted, paid, owed or lost
    (["charged", "overpaid"], ["adjusted", "paid", "remaining", "written off"]),
    (["adjusted"], ["adjustment notes"]),
    (["refunded"], ["refund notes"]),
    # what came in stands on invoices, waits or went back
    (["money received", "set aside by notes"], ["money on invoices", "unapplied", "given back"]),
    (["taken by invoices"], ["prepaid credits and payments by wallet"]),
    (["put into wallets by notes"], ["refunds into wallets"]),
]
"""Which sums come to the same."""


async def unreconciled(account: Account) -> list[str]:
    """Every pair of totals that differ, in words."""
    sums = await _sums(account)
    found = []
    for left, right in EQUAL:
        totals = [_added(*[sums[name] for name in names]) for names in (left, right)]
        found += _differing(" + ".join(left), totals[0], " + ".join(right), totals[1])
    seen = await _seen_by_customers(account)
    for name, other in (("unpaid", "remaining"), ("aged", "remaining"), ("unapplied", "unapplied")):
        found += _differing(f"{name} of customers", seen[name], other, sums[other])
    found += _differing(
        "wallets of customers", seen["wallets"], "value of active wallets", sums["value of active wallets"]
    )
    stated = await _stated(account)
    found += _differing("unpaid on statements", stated["unpaid"], "remaining", sums["remaining"])
    credit = _less(_added(sums["overpaid"], sums["unapplied"]), sums["overpaid and given back"])
    found += _differing("in credit on statements", stated["in credit"], "overpaid - given back + unapplied", credit)
    found += _differing("closing balances", stated["closing"], "opening + entries", stated["entries"])
    found += _differing("closing balances + in credit", _added(stated["closing"], credit), "unpaid", stated["unpaid"])
    reported = await _reported(account)
    return [*found, *_differing("receivables reported", reported, "remaining", sums["remaining"])]


async def _stated(account: Account) -> dict[str, Totals]:
    """What the statements of all customers say together, and what they say over two periods instead of one."""
    names = ("unpaid", "in credit", "closing", "entries")
    stated: dict[str, Totals] = {name: defaultdict(lambda: NOTHING) for name in names}
    async with account.transaction(read_only=True) as session:
        for customer_id in list(await session.scalars(text("SELECT id FROM customers WHERE status <> 'deleted'"))):
            for currency in await account_currencies(session, customer_id):
                whole = await account_statement(session, customer_id, currency, Period(BEGINNING, END))
                middle = whole.entries[len(whole.entries) // 2].at if whole.entries else END - timedelta(days=1)
                later = await account_statement(session, customer_id, currency, Period(middle, END))
                stated["unpaid"][currency] += whole.unpaid
                stated["in credit"][currency] += whole.in_credit
                stated["closing"][currency] += whole.closing
                stated["entries"][currency] += later.opening + sum((entry.amount for entry in later.entries), NOTHING)
    return stated


async def _sums(account: Account) -> dict[str, Totals]:
    async with account.transaction(read_only=True) as session:
        return {
            name: {currency: Decimal(amount or 0) for currency, amount in await session.execute(text(statement))}
            for name, statement in SUMS.items()
        }


async def _seen_by_customers(account: Account) -> dict[str, Totals]:
    """What all customers together are shown."""
    seen: dict[str, Totals] = {
        name: defaultdict(lambda: NOTHING) for name in ("unpaid", "aged", "unapplied", "wallets")
    }
    for customer in (await account.get("/customers", limit=1000))["items"]:
        path = f"/customers/{customer['id']}"
        for row in (await account.get(f"{path}/invoices/summary", scope="billed"))["summaries"]:
            seen["unpaid"][row["currency"]] += Decimal(row["total_unpaid_amount"])
        for row in (await account.get(f"{path}/invoices/aging"))["items"]:
            ages = [Decimal(amount) for name, amount in row.items() if name not in {"currency", "total"}]
            seen["aged"][row["currency"]] += sum(ages, NOTHING)
        for row in (await account.get(f"{path}/unapplied-money"))["balances"]:
            seen["unapplied"][row["currency"]] += Decimal(row["amount"])
        for wallet in await account.get(f"{path}/wallets"):
            seen["wallets"][wallet["currency"]] += Decimal(wallet["balance"])
    return seen


async def _reported(account: Account) -> Totals:
    """Receivables as the report has them."""
    time = {"range": "this_year"}
    definition = {"metrics": ["total_receivables"], "shape": "breakdown", "dimensions": ["currency"], "time": time}
    answer = await account.post("/analytics/query", {"definition": definition}, expect=200)
    return {currency: Decimal(amount or 0) for currency, amount in answer["rows"]}


def _added(*totals: Totals) -> Totals:
    return {
        currency: sum((each.get(currency, NOTHING) for each in totals), NOTHING)
        for currency in {currency for each in totals for currency in each}
    }


def _less(whole: Totals, part: Totals) -> Totals:
    return {currency: amount - (part.get(currency) or NOTHING) for currency, amount in whole.items()}


def _differing(name: str, left: Totals, other: str, right: Totals) -> list[str]:
    return [
        f"{currency}: {name} is {plain(left.get(currency, NOTHING))}, {other} is {plain(right.get(currency, NOTHING))}"
        for currency in sorted({*left, *right})
        if left.get(currency, NOTHING) != right.get(currency, NOTHING)
    ]
