"""Does each movement of a wallet that an invoice, a payment or a settlement caused say what its source says?

Each statement names a row, a figure, what is stored and what its source makes of it, where both differ. Reads only.
Rule: docs/rules/credits.md#what-the-doctor-derives
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.money import plain, round_to
from farthing.invoices.figures.derivation import Difference

_DIGITS = "".join(
    (
        "CASE invoice.currency ",
        *(f"WHEN '{code}' THEN {digits} " for code, digits in currency.DIGITS.items()),
        f"ELSE {currency.DEFAULT_DIGITS} END",
    )
)
"""The minor digits of an invoice's currency."""
_ADJUSTMENTS = f"""
    SELECT coalesce(invoice.id, taken.id), 'prepaid credits taken from wallets',
           coalesce(taken.amount, 0), coalesce(invoice.applied, 0)
    FROM (
        SELECT id, currency, total_prepaid_credits_applied AS applied FROM invoices
        WHERE total_prepaid_credits_applied > 0 AND charged_in IS NULL
            -- those of an invoice that was taken over left a wallet of the system that issued it
            AND source_type IS DISTINCT FROM 'taken_over'
        UNION ALL
        SELECT id, charged_in, source_total_prepaid_credits_applied FROM invoices
        WHERE source_total_prepaid_credits_applied > 0
        UNION ALL
        -- what a converted invoice took after it was converted
        SELECT invoice.id, invoice.currency, total_prepaid_credits_applied - before.converted
        FROM invoices AS invoice CROSS JOIN LATERAL (
            SELECT coalesce(sum(round(line.source_prepaid_credits_applied * fx_rate, {_DIGITS})), 0) AS converted
            FROM invoice_line_items AS line WHERE line.invoice_id = invoice.id AND line.status = 'published'
        ) AS before
        WHERE charged_in IS NOT NULL AND total_prepaid_credits_applied <> before.converted
    ) AS invoice
    FULL JOIN (
        SELECT reference_id AS id, currency, sum(amount) AS amount FROM wallet_transactions
        WHERE transaction_reason = 'CREDIT_ADJUSTMENT' GROUP BY reference_id, currency
    ) AS taken ON taken.id = invoice.id AND taken.currency = invoice.currency
    WHERE coalesce(taken.amount, 0) <> coalesce(invoice.applied, 0)
"""
_WALLETS_OF_ADJUSTMENTS = """
    SELECT debit.id, 'payer of the adjusted invoice', debit.customer_id || ' ' || debit.currency,
           invoice.customer_id || ' ' || invoice.currency
    FROM wallet_transactions AS debit JOIN invoices AS invoice ON invoice.id = debit.reference_id
    WHERE debit.transaction_reason = 'CREDIT_ADJUSTMENT'
        AND (debit.customer_id <> invoice.customer_id
             OR debit.currency NOT IN (invoice.currency, coalesce(invoice.charged_in, invoice.currency)))
"""
_PAYMENTS = """
    SELECT coalesce(payment.id, debit.id), 'paid by wallet', coalesce(debit.wallet_id, 'nothing') || ' '
               || coalesce(debit.amount, 0),
           coalesce(payment.wallet_id, 'nothing') || ' ' || coalesce(payment.amount, 0)
    FROM (
        SELECT id, payment_method_id AS wallet_id, trim_scale(amount) AS amount FROM payments
        WHERE payment_method_type = 'CREDITS'
            AND payment_status IN ('SUCCEEDED', 'OVERPAID', 'PARTIALLY_REFUNDED', 'REFUNDED')
    ) AS payment
    FULL JOIN (
        SELECT reference_id AS id, min(wallet_id) AS wallet_id, trim_scale(sum(amount)) AS amount
        FROM wallet_transactions WHERE transaction_reason = 'INVOICE_PAYMENT' GROUP BY reference_id
    ) AS debit ON debit.id = payment.id
    WHERE (debit.wallet_id, debit.amount) IS DISTINCT FROM (payment.wallet_id, payment.amount)
"""
_PURCHASES = """
    SELECT purchase.id, 'state of the purchase', purchase.transaction_status, CASE
            WHEN invoice.id IS NULL THEN 'no invoice'
            WHEN invoice.invoice_status = 'VOIDED' THEN 'failed'
            WHEN invoice.payment_status IN ('SUCCEEDED', 'OVERPAID', 'PARTIALLY_REFUNDED', 'REFUNDED') THEN 'completed'
            WHEN purchase.transaction_status = 'completed' THEN 'completed'
            ELSE 'pending'
        END
    FROM wallet_transactions AS purchase
    LEFT JOIN invoices AS invoice ON invoice.wallet_transaction_id = purchase.id
    -- a lot that a conversion has opened again was sold by the invoice of the lot before
    WHERE purchase.transaction_reason = 'PURCHASED_CREDIT_INVOICED' AND purchase.parent_transaction_id IS NULL
    UNION ALL
    SELECT bonus.id, 'state of the bonus', bonus.transaction_status, purchase.transaction_status
    FROM wallet_transactions AS bonus
    JOIN wallet_transactions AS purchase ON purchase.id = bonus.parent_transaction_id
    WHERE bonus.transaction_reason = 'PURCHASED_CREDIT_BONUS'
    UNION ALL
    SELECT invoice.id, 'credits sold', 'transaction ' || invoice.wallet_transaction_id, 'nothing'
    FROM invoices AS invoice
    LEFT JOIN wallet_transactions AS purchase ON purchase.id = invoice.wallet_transaction_id
    WHERE invoice.wallet_transaction_id IS NOT NULL AND purchase.id IS NULL
"""
_PRICES = """
    SELECT invoice.id, 'price of credits', invoice.subtotal, purchase.amount
    FROM invoices AS invoice JOIN wallet_transactions AS purchase ON purchase.id = invoice.wallet_transaction_id
    WHERE abs(invoice.subtotal - purchase.amount) >= 1
"""
_RETURNS = f"""
    SELECT invoice.id, 'given back to wallets', round(coalesce(lots.amount, 0), 6), due.amount
    FROM invoices AS invoice
    LEFT JOIN (
        -- what was taken before the invoice was converted comes back in that currency, and counts as it was converted
        SELECT invoice.id, sum(CASE WHEN lot.currency = invoice.currency THEN lot.amount ELSE lot.amount * (
            SELECT sum(round(line.source_prepaid_credits_applied * invoice.fx_rate, {_DIGITS}))
            FROM invoice_line_items AS line WHERE line.invoice_id = invoice.id AND line.status = 'published'
        ) / invoice.source_total_prepaid_credits_applied END) AS amount
        FROM wallet_transactions AS lot JOIN invoices AS invoice ON invoice.id = lot.reference_id
        WHERE lot.transaction_reason = 'INVOICE_VOID_REFUND' AND lot.reference_type = 'INVOICE' GROUP BY invoice.id
    ) AS lots ON lots.id = invoice.id
    LEFT JOIN (
        SELECT invoice_id AS id, sum(total_amount) AS amount FROM credit_notes
        WHERE credit_note_type = 'REFUND' AND credit_note_status = 'FINALIZED' GROUP BY invoice_id
    ) AS noted ON noted.id = invoice.id
    -- what went back to its source; what a provider took for an invoice that was void, once it is back
    LEFT JOIN (
        SELECT invoice_id AS id, sum(amount) AS amount FROM refunds
        WHERE credit_note_id IS NULL AND refund_destination <> 'WALLET' AND refund_status <> 'CANCELLED'
            AND (refund_status = 'SUCCEEDED' OR idempotency_key NOT LIKE '%/return')
            AND idempotency_key NOT LIKE '%/dispute/%'
        GROUP BY invoice_id
    ) AS sent_back ON sent_back.id = invoice.id
    -- what banks and providers have sent back unasked lowers what a void gives back, unless it went back after it
    LEFT JOIN (
        SELECT used.invoice_id AS id, sum(greatest(payment.refunded_amount - coalesce((
            SELECT sum(settled_amount) FROM refunds
            WHERE payment_id = payment.id AND refund_destination <> 'WALLET' AND idempotency_key NOT LIKE '%/dispute/%'
        ), 0), 0)) AS amount
        FROM payments AS payment JOIN (
            SELECT id AS payment_id, destination_id AS invoice_id FROM payments
            UNION SELECT money.payment_id, settlement.invoice_id FROM invoice_settlements AS settlement
                JOIN unapplied_money AS money ON money.id = settlement.unapplied_money_id
        ) AS used ON used.payment_id = payment.id
        WHERE payment.payment_method_type <> 'CREDITS' AND payment.refunded_amount > 0 GROUP BY used.invoice_id
    ) AS unasked ON unasked.id = invoice.id
    CROSS JOIN LATERAL (VALUES (
        invoice.refunded_amount - coalesce(noted.amount, 0) - coalesce(sent_back.amount, 0)
    )) AS due (amount)
    WHERE invoice.invoice_status = 'VOIDED'
        AND round(coalesce(lots.amount, 0), 6) NOT BETWEEN due.amount - coalesce(unasked.amount, 0) AND due.amount
"""
_UNUSED_TIME = """
    SELECT settled.id, figure.name, figure.stored, figure.derived
    FROM (
        SELECT min(id) AS id, settlement_key, environment_id, min(wallet_transaction_id) AS wallet_transaction_id,
               sum(coalesce(paid_out, credited_to_payer)) AS net, sum(tax_credited) AS tax
        FROM proration_settlements GROUP BY settlement_key, environment_id
    ) AS settled
    LEFT JOIN wallet_transactions AS credit ON credit.id = settled.wallet_transaction_id
    -- what stood on converted invoices is credited apart, in their currency
    LEFT JOIN (
        SELECT reference_id AS settlement_key, environment_id, sum(amount) AS amount FROM wallet_transactions
        WHERE transaction_reason = 'SUBSCRIPTION_CREDIT_GRANT' AND system_key = reference_id || '_' || currency
        GROUP BY reference_id, environment_id
    ) AS apart ON apart.settlement_key = settled.settlement_key AND apart.environment_id = settled.environment_id
        AND credit.system_key = settled.settlement_key
    LEFT JOIN LATERAL (
        SELECT sum(total_amount) AS total, sum(tax_amount) AS tax FROM credit_notes
        WHERE settlement_key = settled.settlement_key AND environment_id = settled.environment_id
            AND credit_note_status = 'FINALIZED'
    ) AS noted ON true
    CROSS JOIN LATERAL (VALUES
        ('credited for unused time',
            coalesce(credit.amount, 0) + coalesce(apart.amount, 0) + coalesce(noted.total, 0),
            settled.net + settled.tax),
        -- before notes were written, tax went into the wallet with the rest
        ('tax credited for unused time', settled.tax, coalesce(noted.tax, settled.tax))
    ) AS figure (name, stored, derived)
    WHERE figure.stored <> figure.derived
"""
_TAXED_BEFORE = f"""
    SELECT coalesce(charged.id, taken.id), charged.currency, coalesce(charged.amount, 0), coalesce(taken.amount, 0)
    FROM (
        SELECT invoice_id AS id, currency, sum(taxed_credits_applied) AS amount FROM invoice_line_items
        WHERE prepaid_credits_applied > 0 AND source_amount IS NULL AND status = 'published'
        GROUP BY invoice_id, currency
        UNION ALL
        SELECT invoice.id, part.currency, sum(part.amount)
        FROM invoice_line_items AS line JOIN invoices AS invoice ON invoice.id = line.invoice_id
        CROSS JOIN LATERAL (VALUES
            (invoice.charged_in, source_taxed_credits_applied),
            (invoice.currency, taxed_credits_applied - round(source_taxed_credits_applied * fx_rate, {_DIGITS}))
        ) AS part (currency, amount)
        WHERE source_amount IS NOT NULL AND line.status = 'published' AND part.amount <> 0
        GROUP BY invoice.id, part.currency
    ) AS charged
    FULL JOIN (
        SELECT debit.reference_id AS id, debit.currency, sum(part.credits * debit.conversion_rate) AS amount
        FROM wallet_transactions AS debit
        JOIN wallet_consumptions AS part ON part.debit_id = debit.id
        JOIN wallet_transactions AS lot ON lot.id = part.credit_id AND lot.taxed_at_purchase
        WHERE debit.transaction_reason = 'CREDIT_ADJUSTMENT' GROUP BY debit.reference_id, debit.currency
    ) AS taken ON taken.id = charged.id AND taken.currency = charged.currency
    WHERE coalesce(charged.amount, 0) <> coalesce(taken.amount, 0)
"""
_STATEMENTS = (
    text(_ADJUSTMENTS),
    text(_WALLETS_OF_ADJUSTMENTS),
    text(_PAYMENTS),
    text(f"SELECT * FROM ({_PURCHASES}) AS purchases (id, figure, stored, derived) WHERE stored <> derived"),
    text(_PRICES),
    text(_RETURNS),
    text(_UNUSED_TIME),
)


async def credit_differences(session: AsyncSession) -> list[Difference]:
    """Where the ledger of an environment's wallets and the invoices, payments and settlements behind it differ."""
    found = [
        Difference(row_id, figure, _shown(stored), _shown(derived))
        for statement in _STATEMENTS
        for row_id, figure, stored, derived in await session.execute(statement)
    ]
    for row_id, code, stored, taken in await session.execute(text(_TAXED_BEFORE)):
        derived = taken if code is None else round_to(taken, currency.digits(code))
        if stored != derived:
            found.append(Difference(row_id, "credits taxed before", plain(stored), plain(derived)))
    return found


def _shown(figure: Decimal | str) -> str:
    return plain(figure) if isinstance(figure, Decimal) else figure
