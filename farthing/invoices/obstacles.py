"""What invoices forbid elsewhere: to delete a customer who owes, and to change a tax rate that was charged."""

from __future__ import annotations

from sqlalchemy import exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation
from farthing.invoices.line_tables import TaxAppliedRow
from farthing.invoices.receivable import UNPAID
from farthing.invoices.tables import Invoice


async def require_invoices_settled(session: AsyncSession, customer_id: str) -> None:
    """Raise InvalidOperation, with their count, while anything is owed on invoices of the customer.

    Rule: docs/rules/customers.md#deletion
    """
    unpaid = select(func.count()).select_from(Invoice).where(Invoice.customer_id == customer_id, text(UNPAID))
    count = await session.scalar(unpaid)
    if count:
        raise InvalidOperation(
            "Customer has unpaid invoices; settle or void them before deleting it with require_settled",
            {"customer_id": customer_id, "unpaid_invoice_count": count},
        )


async def was_tax_rate_charged(session: AsyncSession, tax_rate_id: str) -> bool:
    """Whether the rate stands on any invoice, whatever became of the invoice: its document names the rate.

    Rule: docs/rules/discounts-and-taxes.md#change-of-a-tax-rate
    """
    charged = (TaxAppliedRow.tax_rate_id == tax_rate_id, TaxAppliedRow.status == Status.PUBLISHED)
    return bool(await session.scalar(select(exists().where(*charged))))
