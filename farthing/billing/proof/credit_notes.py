"""Proof of credit notes, refunds and unapplied money: every sum worked out again from its rows."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.invoices.figures.derivation import Difference

MOST_NAMED = 1_000

_STATEMENTS = {
    "adjustment_amount": """
        SELECT invoices.id, invoices.adjustment_amount, coalesce(sum(total_amount), 0)
        FROM invoices LEFT JOIN credit_notes AS note ON note.invoice_id = invoices.id
            AND credit_note_type = 'ADJUSTMENT' AND credit_note_status = 'FINALIZED'
        GROUP BY invoices.id HAVING invoices.adjustment_amount <> coalesce(sum(total_amount), 0)
    """,
    "refunded_amount": """
        SELECT invoices.id, invoices.refunded_amount, coalesce(sum(total_amount), 0)
        FROM invoices LEFT JOIN credit_notes AS note ON note.invoice_id = invoices.id
            AND credit_note_type = 'REFUND' AND credit_note_status = 'FINALIZED'
        WHERE invoice_status <> 'VOIDED'
        GROUP BY invoices.id HAVING invoices.refunded_amount <> coalesce(sum(total_amount), 0)
    """,
    "sum of note lines": """
        SELECT note.id, note.total_amount, coalesce(sum(line.amount), 0)
        FROM credit_notes AS note LEFT JOIN credit_note_line_items AS line ON line.credit_note_id = note.id
        GROUP BY note.id
        HAVING (note.total_amount, note.net_amount, note.tax_amount)
            IS DISTINCT FROM (sum(line.amount), sum(line.net_amount), sum(line.tax_amount))
    """,
    "taken back by the correction": """
        SELECT correction.id, correction.net_amount, of_lines.net
        FROM invoice_corrections AS correction, LATERAL (
            SELECT coalesce(sum(line.net_amount) FILTER (WHERE charged.currency = correction.currency), 0) AS net,
                coalesce(sum(line.tax_amount) FILTER (WHERE charged.currency = correction.currency), 0) AS tax,
                coalesce(sum(line.net_amount), 0) AS all_net, coalesce(sum(line.tax_amount), 0) AS all_tax
            FROM invoice_correction_lines AS line JOIN invoices AS charged ON charged.id = line.invoice_id
            WHERE correction_id = correction.id
        ) AS of_lines, LATERAL (
            SELECT coalesce(sum(net_amount), 0) AS net, coalesce(sum(tax_amount), 0) AS tax
            FROM credit_notes WHERE correction_id = correction.id AND credit_note_status = 'FINALIZED'
        ) AS noted
        WHERE (correction.net_amount, correction.tax_amount) IS DISTINCT FROM (of_lines.net, of_lines.tax)
            OR (of_lines.all_net, of_lines.all_tax) IS DISTINCT FROM (noted.net, noted.tax)
    """,
    "tax by rate": """
        SELECT line.id, line.tax_amount, coalesce(sum(CAST(tax ->> 'amount' AS numeric)), 0)
        FROM credit_note_line_items AS line LEFT JOIN LATERAL jsonb_array_elements(taxes) AS tax ON true
        GROUP BY line.id HAVING line.tax_amount <> coalesce(sum(CAST(tax ->> 'amount' AS numeric)), 0)
    """,
    "what became of the refund": """
        SELECT note.id, note.total_amount, given.refunded + given.kept
        FROM credit_notes AS note, LATERAL (
            SELECT (SELECT coalesce(sum(amount), 0) FROM refunds WHERE credit_note_id = note.id) AS refunded,
                   (SELECT coalesce(sum(amount), 0) FROM unapplied_money WHERE credit_note_id = note.id) AS kept
        ) AS given
        WHERE credit_note_type = 'REFUND' AND credit_note_status = 'FINALIZED'
            AND note.total_amount <> given.refunded + given.kept
    """,
    "allocated": """
        SELECT money.id, money.allocated, coalesce(sum(settlement.amount), 0)
        FROM unapplied_money AS money
        LEFT JOIN invoice_settlements AS settlement ON settlement.unapplied_money_id = money.id
        GROUP BY money.id HAVING money.allocated <> coalesce(sum(settlement.amount), 0)
    """,
    "withdrawn": """
        SELECT money.id, money.withdrawn, coalesce(sum(refund.amount), 0)
        FROM unapplied_money AS money LEFT JOIN payments AS payment ON payment.id = money.payment_id
        LEFT JOIN refunds AS refund ON refund.unapplied_money_id = money.id
            AND refund_status IN ('PENDING', 'PROCESSING', 'SUCCEEDED')
        GROUP BY money.id, payment.id
        HAVING money.withdrawn < coalesce(sum(refund.amount), 0)
            OR (money.withdrawn > coalesce(sum(refund.amount), 0)
                AND payment.gateway_payment_id IS NULL)
    """,
    "withdrawn by the provider": """
        SELECT payment.id, kept.withdrawn - by_us.underway, payment.refunded_amount - by_us.settled
        FROM payments AS payment, LATERAL (
            SELECT coalesce(sum(withdrawn), 0) AS withdrawn, coalesce(sum(amount - allocated - withdrawn), 0) AS rest
            FROM unapplied_money WHERE payment_id = payment.id
        ) AS kept, LATERAL (
            SELECT coalesce(sum(settled_amount) FILTER (
                    WHERE refund_destination <> 'WALLET' AND idempotency_key NOT LIKE '%/dispute/%'), 0) AS settled,
                coalesce(sum(amount) FILTER (WHERE unapplied_money_id IS NOT NULL
                    AND refund_status IN ('PENDING', 'PROCESSING', 'SUCCEEDED')), 0) AS underway
            FROM refunds WHERE payment_id = payment.id
        ) AS by_us
        WHERE payment.status <> 'deleted' AND (
            kept.withdrawn - by_us.underway > greatest(payment.refunded_amount - by_us.settled, 0)
            OR (kept.withdrawn - by_us.underway < payment.refunded_amount - by_us.settled AND kept.rest > 0
                AND destination_type = 'CUSTOMER'))
    """,
    "money of the payment in the books": """
        SELECT payment.id, payment.amount, counted.amount + kept.amount
        FROM payments AS payment, LATERAL (
            SELECT coalesce(sum(amount), 0) AS amount FROM invoice_settlements
            WHERE payment_id = payment.id AND kind = 'payment'
        ) AS counted, LATERAL (
            SELECT coalesce(sum(amount), 0) AS amount FROM unapplied_money WHERE payment_id = payment.id
        ) AS kept
        WHERE payment_status IN ('SUCCEEDED', 'OVERPAID', 'PARTIALLY_REFUNDED', 'REFUNDED')
            AND payment.status <> 'deleted' AND payment.amount <> counted.amount + kept.amount
            AND NOT EXISTS (SELECT FROM refunds WHERE idempotency_key = payment.id || '/return')
    """,
    "settled refunds of the payment": """
        SELECT payment.id, payment.refunded_amount, sum(refund.settled_amount)
        FROM payments AS payment JOIN refunds AS refund ON refund.payment_id = payment.id
        WHERE refund_destination <> 'WALLET'
        GROUP BY payment.id HAVING payment.refunded_amount < sum(refund.settled_amount)
    """,
}
"""By figure: where it stands, what is stored, what its rows say."""


async def note_differences(session: AsyncSession) -> list[Difference]:
    """Where what notes, refunds and unapplied money say differs from their rows; at most 1,000 of each kind."""
    found = []
    for figure, statement in _STATEMENTS.items():
        rows = await session.execute(text(f"SELECT * FROM ({statement}) AS found LIMIT {MOST_NAMED}"))
        found += [Difference(where, figure, plain(stored), plain(derived)) for where, stored, derived in rows]
    return found
