"""The rows of a note's lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from farthing.core import currency
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, exact_sum, plain
from farthing.credits.notes.tables import CreditNoteLine
from farthing.invoices.figures.terms import TaxTerm, taxes_on
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from farthing.rating.totals.conversion import converted_share


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What a note takes back of a line of an invoice: `net`, and the tax on it by rate.

    `source_net` is the net in the currency of the line's charges, where the invoice was converted.
    """

    line_id: str
    net: Decimal
    taxes: tuple[tuple[str, Decimal], ...]
    source_net: Decimal | None

    @property
    def tax(self) -> Decimal:
        return exact_sum([amount for _, amount in self.taxes])

    @property
    def gross(self) -> Decimal:
        return EXACT.add(self.net, self.tax)

    @property
    def charged_net(self) -> Decimal:
        """The net in the currency of the line's charges, converted or not."""
        return self.net if self.source_net is None else self.source_net


def tax_terms_of(invoice: Invoice) -> Mapping[str, TaxTerm]:
    """The tax rates of an invoice by id."""
    return {term.tax_rate_id: term for term in taxes_on(invoice.tax_terms)}


def source_net_of(invoice: Invoice, row: InvoiceLineItem, net: Decimal) -> Decimal | None:
    """The share of a converted line's charge that `net` is of what it was converted to; None where it was not."""
    if row.source_amount is None:
        return None
    converted = exact_sum([row.amount, -row.line_item_discount, -row.invoice_level_discount])
    source = EXACT.subtract(row.charge_amount, row.charge_discount)
    return converted_share(Fraction(net), converted, source, currency.digits(invoice.charge_currency))


def new_line(
    row: InvoiceLineItem, taken: TakenBack, rates: Mapping[str, TaxTerm], position: int, **columns: Any
) -> CreditNoteLine:
    """The line of a note for a line of its invoice; `columns` replace what the invoice's line says."""
    defaults = {"display_name": row.display_name or row.plan_display_name or "", "meta": {}}
    return CreditNoteLine(
        id=new_id(Kind.CREDIT_NOTE_LINE),
        invoice_line_item_id=row.id,
        amount=taken.gross,
        net_amount=taken.net,
        tax_amount=taken.tax,
        source_net_amount=taken.source_net,
        taxes=[_tax(rate_id, amount, rates.get(rate_id)) for rate_id, amount in taken.taxes if amount > 0],
        currency=row.currency,
        position=position,
        **{**defaults, **columns},
    )


def _tax(rate_id: str, amount: Decimal, term: TaxTerm | None) -> dict[str, str]:
    rate: Mapping[str, Any] = {} if term is None else term.snapshot()
    value = str(rate.get("value", ""))
    return {
        "tax_rate_id": rate_id,
        "name": str(rate.get("name") or ""),
        "code": str(rate.get("code") or ""),
        "rate": f"{value}%" if rate.get("type") == "percentage" else value,
        "amount": plain(amount),
    }


def sums_of(lines: Sequence[CreditNoteLine]) -> dict[str, Decimal]:
    """The figures of a note with these lines."""
    return {
        "total_amount": exact_sum([line.amount for line in lines]),
        "net_amount": exact_sum([line.net_amount for line in lines]),
        "tax_amount": exact_sum([line.tax_amount for line in lines]),
    }
