"""Totals that agree after a story no longer do once the books are tampered with."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.account import Account
from tests.credits.ledger_desk import LedgerDesk
from tests.credits.notes.notebook import Notebook
from tests.invoices.desk import fixed, usage
from tests.reporting.reconciliation import unreconciled


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(
            "UPDATE payments SET amount = amount + 0.01 WHERE payment_method_type = 'OFFLINE'", id="a payment"
        ),
        pytest.param(
            "UPDATE credit_notes SET total_amount = total_amount + 0.01, net_amount = net_amount + 0.01, "
            "to_wallet = to_wallet + CASE credit_note_type WHEN 'REFUND' THEN 0.01 ELSE 0 END",
            id="a credit note",
        ),
        pytest.param("UPDATE unapplied_money SET amount = amount + 0.01", id="unapplied money"),
        pytest.param("UPDATE invoices SET adjustment_amount = adjustment_amount + 0.01", id="an adjustment"),
        pytest.param("UPDATE invoice_settlements SET amount = amount + 0.01", id="a settlement"),
    ],
)
async def test_what_was_tampered_with_does_not_reconcile(account: Account, statement: str) -> None:
    notebook, desk = Notebook(account), LedgerDesk(account)
    customer = await desk.customer()
    await desk.wallet(customer, "30")
    await desk.billed(customer, [usage("20"), fixed("50")])
    paid, unpaid = await desk.billed(customer, [fixed("40")]), await desk.billed(customer, [fixed("60")])
    await notebook.till.pay(paid, "45")
    await account.post(f"/invoices/{paid['id']}/overpayment/move", None, 200)
    await notebook.credit(paid, "10")
    await notebook.credit(unpaid, "15")
    assert await unreconciled(account) == []
    async with account.transaction() as session:
        await session.execute(text(statement))
    assert await unreconciled(account) != []
