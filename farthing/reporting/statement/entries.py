"""The entries of a customer's account in one currency, as one statement over what the books hold.

Each entry belongs to an account: that of an invoice, by its id, or that of the money on no invoice (''). What only
moves from one to the other, such as an allocation, is a pair of hidden entries that come to nothing.
Rule: docs/rules/statement-of-account.md#entries
"""

from __future__ import annotations

from enum import StrEnum

from farthing.credits.notes.overpayments import RETURNED_OVERPAYMENT


class EntryKind(StrEnum):
    """What moved the balance, in the order in which entries of one moment are listed."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    CREDIT_NOTE_VOIDED = "credit_note_voided"
    PAYMENT = "payment"
    WALLET_PAYMENT = "wallet_payment"
    MARKED_PAID = "marked_paid"
    CREDIT = "credit"
    APPLIED_ELSEWHERE = "applied_elsewhere"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    WRITE_OFF = "write_off"
    WRITE_OFF_UNDONE = "write_off_undone"
    INVOICE_VOIDED = "invoice_voided"
    HIDDEN = "hidden"


_SOURCES = f"""
    invoice AS (
        SELECT id, invoice_number, total, adjustment_amount, amount_paid, finalized_at,
            CASE invoice_status WHEN 'VOIDED' THEN coalesce(voided_at, finalized_at) ELSE 'infinity' END AS voided_at
        FROM invoices
        WHERE environment_id = :environment AND customer_id = :customer AND currency = :currency
            AND status = 'published' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')
            AND invoice_status IN ('FINALIZED', 'VOIDED') AND finalized_at IS NOT NULL
    ),
    settled AS (
        SELECT s.invoice_id, i.invoice_number, i.voided_at, s.kind, s.payment_id, s.amount,
            greatest(s.created_at, i.finalized_at) AS at
        FROM invoice AS i
        JOIN invoice_settlements AS s ON s.environment_id = :environment AND s.invoice_id = i.id
    ),
    note AS (
        SELECT n.id, n.credit_note_number, n.invoice_id, n.credit_note_type, n.total_amount, n.to_wallet, n.to_source,
            n.to_next_invoice, greatest(n.finalized_at, i.finalized_at) AS at,
            n.total_amount - {RETURNED_OVERPAYMENT} AS lowers,
            coalesce(n.voided_at, 'infinity') AS voided_at, i.voided_at AS invoice_voided_at
        FROM invoice AS i
        JOIN credit_notes AS n ON n.environment_id = :environment AND n.invoice_id = i.id
        WHERE n.status = 'published' AND n.credit_note_status IN ('FINALIZED', 'VOIDED')
            AND n.finalized_at <= i.voided_at
    ),
    money AS (
        SELECT u.id, u.source, u.payment_id, u.invoice_id, u.credit_note_id, u.amount, u.withdrawn, u.created_at,
            u.invoice_id IN (SELECT id FROM invoice) AS is_of_account
        FROM unapplied_money AS u
        WHERE u.environment_id = :environment AND u.customer_id = :customer AND u.currency = :currency
    ),
    moved AS (
        SELECT invoice_id, payment_id, sum(amount) AS amount FROM money
        WHERE source = 'OVERPAYMENT' AND is_of_account GROUP BY invoice_id, payment_id
    ),
    given_back AS (
        SELECT r.id, r.unapplied_money_id, r.amount, r.initiated_at, r.refund_status, r.reference, r.payment_id,
            coalesce(r.failed_at, r.cancelled_at, r.updated_at) AS ended_at
        FROM refunds AS r JOIN money AS m ON m.id = r.unapplied_money_id
        WHERE r.environment_id = :environment
    ),
    ended AS (
        SELECT i.id, i.invoice_number, i.voided_at, i.total,
            coalesce((SELECT sum(n.lowers) FROM note AS n
                WHERE n.invoice_id = i.id AND n.voided_at > i.voided_at), 0) AS noted,
            coalesce((SELECT sum(n.total_amount) FROM note AS n
                WHERE n.invoice_id = i.id AND n.voided_at > i.voided_at AND n.credit_note_type = 'REFUND'), 0)
                AS refunded,
            coalesce((SELECT sum(s.amount) FROM settled AS s
                WHERE s.invoice_id = i.id AND s.at <= i.voided_at), 0) AS paid
        FROM invoice AS i WHERE i.voided_at < 'infinity'
    )
"""

# columns: at, kind, account, amount, document, document_id, detail
_OF_INVOICES = """
    SELECT finalized_at AS at, 'invoice' AS kind, id AS account, total AS amount, invoice_number AS document,
        id AS document_id, '' AS detail
    FROM invoice
    UNION ALL
    SELECT voided_at, 'invoice_voided', id, -(total - noted), invoice_number, id, '' FROM ended
    UNION ALL
    SELECT voided_at, 'refund', id, paid - refunded, invoice_number, id, 'void' FROM ended
    UNION ALL
    SELECT w.created_at, CASE WHEN w.amount > 0 THEN 'write_off' ELSE 'write_off_undone' END, i.id, -w.amount,
        i.invoice_number, i.id, ''
    FROM invoice AS i
    JOIN invoice_write_offs AS w ON w.environment_id = :environment AND w.invoice_id = i.id
"""
_OF_NOTES = """
    SELECT at, 'credit_note', invoice_id, -lowers, credit_note_number, id, credit_note_type FROM note
    UNION ALL
    SELECT voided_at, 'credit_note_voided', invoice_id, lowers, credit_note_number, id, credit_note_type
    FROM note WHERE voided_at <= invoice_voided_at AND voided_at < 'infinity'
    UNION ALL
    SELECT at, 'refund', invoice_id, to_wallet, credit_note_number, id, 'wallet' FROM note
    UNION ALL
    SELECT at, 'refund', invoice_id, to_source, credit_note_number, id, 'source' FROM note
    UNION ALL
    SELECT at, 'hidden', invoice_id, to_next_invoice, '', id, '' FROM note
    UNION ALL
    SELECT at, 'hidden', '', -to_next_invoice, '', id, '' FROM note
"""
_OF_PAYMENTS = """
    SELECT s.at, CASE WHEN s.kind <> 'payment' THEN 'marked_paid' WHEN p.payment_method_type = 'CREDITS'
        THEN 'wallet_payment' ELSE 'payment' END, s.invoice_id, -(s.amount + coalesce(m.amount, 0)), s.invoice_number,
        coalesce(s.payment_id, s.invoice_id), coalesce(p.metadata->>'reference', p.metadata->>'note', '')
    FROM settled AS s
    LEFT JOIN payments AS p ON p.environment_id = :environment AND p.id = s.payment_id
    LEFT JOIN moved AS m ON m.invoice_id = s.invoice_id AND m.payment_id = s.payment_id
    WHERE s.kind <> 'allocation'
    UNION ALL
    SELECT at, 'refund', invoice_id, amount, invoice_number, invoice_id, 'returned' FROM settled
    WHERE kind <> 'allocation' AND at > voided_at
    UNION ALL
    SELECT created_at, 'hidden', invoice_id, amount, '', id, '' FROM money
    WHERE source = 'OVERPAYMENT' AND is_of_account
    UNION ALL
    SELECT created_at, 'hidden', '', -amount, '', id, '' FROM money
    WHERE source = 'OVERPAYMENT' AND is_of_account
    UNION ALL
    SELECT at, 'hidden', invoice_id, -amount, '', invoice_id, '' FROM settled WHERE kind = 'allocation'
    UNION ALL
    SELECT at, 'hidden', '', amount, '', invoice_id, '' FROM settled WHERE kind = 'allocation'
"""
_OF_MONEY = """
    SELECT m.created_at, 'payment', '', -m.amount, '', m.payment_id,
        coalesce(p.metadata->>'reference', p.metadata->>'note', '')
    FROM money AS m LEFT JOIN payments AS p ON p.environment_id = :environment AND p.id = m.payment_id
    WHERE m.source = 'PAYMENT'
    UNION ALL
    SELECT m.created_at, 'credit', '', -m.amount, coalesce(i.invoice_number, ''), m.invoice_id, ''
    FROM money AS m LEFT JOIN invoices AS i ON i.environment_id = :environment AND i.id = m.invoice_id
    WHERE m.source <> 'PAYMENT' AND NOT m.is_of_account
    UNION ALL
    SELECT s.created_at, 'applied_elsewhere', '', s.amount, coalesce(i.invoice_number, ''), s.invoice_id, ''
    FROM invoice_settlements AS s
    JOIN money AS m ON m.id = s.unapplied_money_id
    JOIN invoices AS i ON i.environment_id = :environment AND i.id = s.invoice_id
    WHERE s.environment_id = :environment AND s.kind = 'allocation' AND s.invoice_id NOT IN (SELECT id FROM invoice)
    UNION ALL
    SELECT initiated_at, 'refund', '', amount, '', coalesce(payment_id, id), coalesce(reference, '') FROM given_back
    UNION ALL
    SELECT ended_at, 'refund_failed', '', -amount, '', coalesce(payment_id, id), '' FROM given_back
    WHERE refund_status IN ('FAILED', 'CANCELLED')
    UNION ALL
    SELECT coalesce(p.refunded_at, m.created_at), 'refund', '', m.withdrawn - coalesce(b.amount, 0), '', m.payment_id,
        'provider'
    FROM money AS m
    LEFT JOIN payments AS p ON p.environment_id = :environment AND p.id = m.payment_id
    LEFT JOIN (
        SELECT unapplied_money_id, sum(amount) AS amount FROM given_back
        WHERE refund_status NOT IN ('FAILED', 'CANCELLED') GROUP BY unapplied_money_id
    ) AS b ON b.unapplied_money_id = m.id
"""

ENTRIES = f"""
    WITH {_SOURCES},
    entry AS (
        SELECT * FROM (
            {_OF_INVOICES} UNION ALL {_OF_NOTES} UNION ALL {_OF_PAYMENTS} UNION ALL {_OF_MONEY}
        ) AS listed
        WHERE amount <> 0
    )
"""
"""Begins a statement that reads `entry`; it speaks of `:environment`, `:customer` and `:currency`."""
