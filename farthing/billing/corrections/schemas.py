"""Bodies of corrections of invoices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from farthing.billing.corrections.differences import LineDifference, taken_in
from farthing.billing.corrections.tables import (
    CorrectionDirection,
    CorrectionResolution,
    InvoiceCorrection,
    InvoiceCorrectionLine,
)
from farthing.billing.late_usage.detection import NotCharged
from farthing.core.clock import instant
from farthing.core.encoding.wire import DecimalText, Request, Response, Timestamp
from farthing.core.money import EXACT, exact_sum, plain
from farthing.invoices.tables import Invoice


class CorrectInvoiceRequest(Request):
    """How the differences of an invoice are made good."""

    resolution: CorrectionResolution


class CorrectionPreviewLine(Response):
    """A usage line as it was charged so far and as it is now; amounts before discounts, but for net and tax.

    Under a commitment that lines share, its true-up is a line, too, without an item, and so is the overage of one over
    several periods; the lines differ together, with those that differ on other invoices of the commitment's window.
    """

    line_item_id: str | None
    subscription_line_item_id: str | None
    display_name: str
    period_start: Timestamp
    period_end: Timestamp
    usage_before: DecimalText
    usage_after: DecimalText
    usage_difference: DecimalText
    amount_before: DecimalText
    amount_after: DecimalText | None = None
    difference: DecimalText | None = None
    net_credit: DecimalText | None = None
    tax_credit: DecimalText | None = None
    not_corrected: NotCharged | None = None


class CorrectionPreviewResponse(Response):
    """What the usage of an invoice comes to today, line by line; what a correction would take back in all."""

    invoice_id: str
    currency: str
    difference: DecimalText
    net_credit: DecimalText
    tax_credit: DecimalText
    total_credit: DecimalText
    lines: list[CorrectionPreviewLine]


class CorrectionLineResponse(Response):
    """What a correction did about one line; `amount` is before discounts, below 0 where it was taken back."""

    invoice_id: str
    line_item_id: str
    usage_line_id: str
    direction: CorrectionDirection
    amount: DecimalText
    usage: DecimalText
    net_amount: DecimalText
    tax_amount: DecimalText


class InvoiceCorrectionResponse(Response):
    """A correction of an invoice, the credit notes that it made, and what it left to the next invoice; or the invoice
    that charges it, where the subscription has ended."""

    id: str
    invoice_id: str
    currency: str
    resolution: CorrectionResolution
    net_amount: DecimalText
    tax_amount: DecimalText
    total_amount: DecimalText
    credit_note_ids: list[str]
    charged_invoice_id: str | None
    lines: list[CorrectionLineResponse]
    created_at: Timestamp
    created_by: str


class ListInvoiceCorrectionsResponse(Response):
    """The corrections of an invoice, oldest first."""

    items: list[InvoiceCorrectionResponse]


def preview_answer(invoice: Invoice, lines: Sequence[LineDifference]) -> CorrectionPreviewResponse:
    """The differences as they travel."""
    net, tax = taken_in([part for line in lines if line.is_taken_back for part in line.parts], invoice.currency)
    known = [line.difference for line in lines if line.not_corrected is None and line.difference is not None]
    return CorrectionPreviewResponse(
        invoice_id=invoice.id,
        currency=invoice.currency,
        difference=plain(exact_sum(known)),
        net_credit=plain(net),
        tax_credit=plain(tax),
        total_credit=plain(EXACT.add(net, tax)),
        lines=[
            *(_preview_line(line, invoice.currency) for line in lines if line.is_shown),
            *_beside_lines(invoice, lines),
        ],
    )


def _preview_line(line: LineDifference, code: str) -> CorrectionPreviewLine:
    invoiced = line.recheckable.line
    answer = CorrectionPreviewLine(
        line_item_id=invoiced.id,
        subscription_line_item_id=invoiced.item_id,
        display_name=invoiced.display_name,
        period_start=instant(invoiced.window.start),
        period_end=instant(invoiced.window.end),
        usage_before=plain(invoiced.usage),
        usage_after=plain(line.late.current),
        usage_difference=plain(line.late.usage),
        amount_before=plain(invoiced.amount),
        not_corrected=line.not_corrected,
    )
    if line.late.worth is not None:
        answer.amount_after = plain(line.late.worth)
        answer.difference = plain(EXACT.subtract(line.late.worth, invoiced.amount))
        net, tax = taken_in(line.parts, code)
        answer.net_credit, answer.tax_credit = plain(net), plain(tax)
    return answer


def _beside_lines(invoice: Invoice, lines: Sequence[LineDifference]) -> Iterable[CorrectionPreviewLine]:
    """What is charged beside the lines under each commitment that they share: overage and true-up, where there was or
    is something. Of a commitment over several periods, what other invoices charge is told where it changes."""
    pools = {line.late.pooled.pool: line.late.pooled for line in lines if line.late.pooled is not None}
    for pool, charge in pools.items():
        for period, now in zip(pool.periods, charge.beside_lines, strict=True):
            figures = (
                ("Overage", period.overage_line_id, period.overage, now.overage),
                ("True Up", period.true_up_line_id, period.true_up, now.true_up),
            )
            for name, line_id, before, after in figures:
                if before != after or (before and period.invoice_id == invoice.id):
                    yield CorrectionPreviewLine(
                        line_item_id=line_id,
                        subscription_line_item_id=None,
                        display_name=name,
                        period_start=instant(period.period.start),
                        period_end=instant(period.period.end),
                        usage_before="0",
                        usage_after="0",
                        usage_difference="0",
                        amount_before=plain(before),
                        amount_after=plain(after),
                        difference=plain(EXACT.subtract(after, before)),
                    )


def correction_answer(
    correction: InvoiceCorrection,
    lines: Sequence[InvoiceCorrectionLine],
    note_ids: Sequence[str],
    charged_invoice_id: str | None,
) -> InvoiceCorrectionResponse:
    """A correction as it travels."""
    return InvoiceCorrectionResponse(
        id=correction.id,
        invoice_id=correction.invoice_id,
        currency=correction.currency,
        resolution=correction.resolution,
        net_amount=plain(correction.net_amount),
        tax_amount=plain(correction.tax_amount),
        total_amount=plain(EXACT.add(correction.net_amount, correction.tax_amount)),
        credit_note_ids=list(note_ids),
        charged_invoice_id=charged_invoice_id,
        lines=[
            CorrectionLineResponse(
                invoice_id=line.invoice_id,
                line_item_id=line.invoice_line_item_id,
                usage_line_id=line.usage_line_id,
                direction=line.direction,
                amount=plain(line.amount),
                usage=plain(line.usage),
                net_amount=plain(line.net_amount),
                tax_amount=plain(line.tax_amount),
            )
            for line in lines
        ],
        created_at=instant(correction.created_at),
        created_by=correction.created_by,
    )
