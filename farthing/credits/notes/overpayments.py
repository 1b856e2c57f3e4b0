"""What of a refund gives back money that was paid beyond its invoice, and so lowers no charge; as SQL.

A note takes what a line charges first, and only then what was paid too much. A refund is never voided, and once there
is one no adjustment is made or voided, so what came before a refund stays what it was.
Rule: docs/rules/credit-notes.md#returned-overpayments
"""

from __future__ import annotations

_OVERPAID = "(i.amount_paid + i.adjustment_amount - i.total)"


def _beyond_lines(comparison: str) -> str:
    """What notes up to `n` credit beyond the nets of their lines: that carries no tax."""
    return f"""
        SELECT coalesce(sum(greatest(line.credited - line.net, 0)), 0) FROM (
            SELECT sum(taken.net_amount) AS credited,
                charged.amount - charged.line_item_discount - charged.invoice_level_discount AS net
            FROM credit_notes AS until
            JOIN credit_note_line_items AS taken ON taken.environment_id = :environment
                AND taken.credit_note_id = until.id AND taken.status = 'published'
            JOIN invoice_line_items AS charged ON charged.environment_id = :environment
                AND charged.id = taken.invoice_line_item_id
            WHERE until.environment_id = :environment AND until.invoice_id = n.invoice_id
                AND until.status = 'published' AND until.credit_note_status = 'FINALIZED'
                AND (until.finalized_at, until.id) {comparison} (n.finalized_at, n.id)
            GROUP BY charged.id
        ) AS line
    """


RETURNED_OVERPAYMENT = f"""
    CASE WHEN n.credit_note_type = 'REFUND' AND n.credit_note_status = 'FINALIZED' AND {_OVERPAID} > 0 THEN
        least(({_beyond_lines("<=")}), {_OVERPAID}) - least(({_beyond_lines("<")}), {_OVERPAID})
    ELSE 0 END
"""
"""Of a note `n` of an invoice `i`, in a statement that speaks of `:environment`."""
