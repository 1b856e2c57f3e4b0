"""Proof of statements: the closing balance of every account, held against what invoices and money on none say.

The closing balances of all customers come to the receivables, less the money on no invoice and what was overpaid,
because each customer's does. Reads only.
Rule: docs/rules/statement-of-account.md#what-the-balance-is
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.credits.notes.overpayments import RETURNED_OVERPAYMENT
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.receivable import COUNTED, UNPAID
from farthing.reporting.statement.account import account_balances
from farthing.storage.postgres import scope_of

_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
PAGE = 500
"""Accounts that are read together."""
_ACCOUNTS = f"""
    SELECT customer_id, currency, sum(unpaid) AS unpaid, sum(in_credit) AS in_credit
    FROM (
        SELECT customer_id, currency, CASE WHEN {UNPAID} THEN amount_remaining ELSE 0 END AS unpaid,
            CASE WHEN {COUNTED} THEN greatest(amount_paid - amount_due, 0) ELSE 0 END AS in_credit
        FROM invoices WHERE finalized_at IS NOT NULL
        UNION ALL
        SELECT i.customer_id, i.currency, 0, -{RETURNED_OVERPAYMENT}
        FROM (SELECT * FROM invoices WHERE {COUNTED} AND amount_paid > amount_due) AS i
        JOIN credit_notes AS n ON n.environment_id = i.environment_id AND n.invoice_id = i.id
        UNION ALL
        SELECT customer_id, currency, 0, amount - allocated - withdrawn FROM unapplied_money
    ) AS held
    WHERE (customer_id, currency) > (:customer, :currency)
    GROUP BY customer_id, currency ORDER BY customer_id, currency LIMIT :page
"""


async def statement_differences(session: AsyncSession) -> list[Difference]:
    """Accounts of an environment whose statement does not end with what the books say of it."""
    differences: list[Difference] = []
    environment = scope_of(session).environment_id
    after = {"customer": "", "currency": ""}
    while page := list(await session.execute(text(_ACCOUNTS), {**after, "page": PAGE, "environment": environment})):
        for customer_id, code, unpaid, in_credit in page:
            stated = await account_balances(session, customer_id, code, _END_OF_TIME)
            for name, ours, theirs in zip(("unpaid", "in credit"), (unpaid, in_credit), stated, strict=True):
                if ours != theirs:
                    figure = f"{name} in {code} on the statement"
                    differences.append(Difference(customer_id, figure, plain(theirs), plain(ours)))
        after = {"customer": page[-1][0], "currency": page[-1][1]}
    return differences
