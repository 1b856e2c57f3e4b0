"""How invoices and their lines were converted, as they are shown; of drafts, how they would be now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fx.enums import FxScope
from farthing.catalogue.fx.lookup import NoRate
from farthing.core.encoding.wire import as_wire
from farthing.core.money import ZERO, exact_sum, plain
from farthing.invoices.figures.conversion import rates_of_drafts
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import InvoiceParts
from farthing.invoices.schemas import FxConversion, FxConversionSource
from farthing.invoices.tables import Invoice


@dataclass(frozen=True, slots=True)
class ShownConversion:
    """From which currency into which, and at what rate; `converted_at` is None for what has not been converted yet."""

    charge_currency: str
    billing_currency: str
    rate: Decimal
    rate_id: str
    scope: FxScope
    converted_at: datetime | None

    def of_figures(self, subtotal: Decimal, discount: Decimal, credits_applied: Decimal) -> FxConversion:
        """The conversion of these figures, which are in the currency of the charges."""
        net = exact_sum([subtotal, -discount, -credits_applied])
        return FxConversion(
            charge_currency=self.charge_currency,
            billing_currency=self.billing_currency,
            rate=plain(self.rate),
            rate_id=self.rate_id,
            scope=self.scope,
            converted_at=as_wire(self.converted_at),
            source=FxConversionSource(
                subtotal=plain(subtotal),
                total_discount=plain(discount),
                total_prepaid_credits_applied=plain(credits_applied),
                net=plain(max(net, ZERO)),
            ),
        )

    def of_invoice(self, invoice: Invoice) -> FxConversion:
        """The conversion of an invoice, with what it was before."""
        if self.converted_at is None:
            return self.of_figures(
                invoice.subtotal, invoice.total_discount, invoice.total_prepaid_credits_applied or ZERO
            )
        return self.of_figures(
            invoice.source_subtotal or ZERO,
            invoice.source_total_discount or ZERO,
            invoice.source_total_prepaid_credits_applied or ZERO,
        )

    def of_line(self, line: InvoiceLineItem) -> FxConversion:
        """The conversion of a line, with what it was before."""
        credits_applied = line.prepaid_credits_applied
        if line.source_prepaid_credits_applied is not None:
            credits_applied = line.source_prepaid_credits_applied
        return self.of_figures(line.charge_amount, line.charge_discount, credits_applied or ZERO)


def conversion_shown(invoice: Invoice) -> ShownConversion | None:
    """How a converted invoice was converted; None for others."""
    if invoice.fx_rate is None or invoice.fx_scope is None:
        return None
    return ShownConversion(
        invoice.charge_currency,
        invoice.currency,
        invoice.fx_rate,
        invoice.fx_rate_id or "",
        invoice.fx_scope,
        invoice.converted_at,
    )


async def conversions_of(
    session: AsyncSession, invoices: Sequence[Invoice], parts: Sequence[InvoiceParts], now: datetime
) -> Mapping[str, ShownConversion]:
    """How invoices were converted, and how drafts would be at `now`, by invoice; those that are not are left out."""
    found = {invoice.id: shown for invoice in invoices if (shown := conversion_shown(invoice)) is not None}
    pairs = [(invoice, part) for invoice, part in zip(invoices, parts, strict=True) if invoice.id not in found]
    payers = {invoice.id: part.payer for invoice, part in pairs}
    rates = await rates_of_drafts(session, pairs, now)
    for invoice, _ in pairs:
        rate, payer = rates.get(invoice.id), payers[invoice.id]
        if rate is None or isinstance(rate, NoRate) or payer is None:
            continue
        found[invoice.id] = ShownConversion(
            invoice.currency, payer.billing_currency or "", rate.rate, rate.id, rate.scope, None
        )
    return found
