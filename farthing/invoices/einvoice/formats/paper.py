"""The pages of a Factur-X file: the same document as the XML in it, for people. Pure.

Made of the document alone, so nothing that happens later (a payment, a new logo) changes them.
"""

from __future__ import annotations

from collections.abc import Iterable

from farthing.core.money import exact_sum, plain
from farthing.core.standards.trade_codes import VatCategory
from farthing.invoices.einvoice.model import TradeDocument, TradeLine, TradeParty, TypeCode
from farthing.invoices.pdf.document import Discount, InvoiceDocument, Line, LineGroup, Party, Tax, Totals


def pages_of(document: TradeDocument) -> InvoiceDocument:
    """The document as a page is set from."""
    is_invoice = document.type is TypeCode.INVOICE
    discounts = tuple(_discounts(document))
    return InvoiceDocument(
        kind="Invoice" if is_invoice else "Credit note",
        corrects=document.preceding.number if document.preceding else "",
        seller=_party(document.seller),
        customer=_party(document.buyer),
        currency=document.currency.lower(),
        status="FINALIZED",
        number=document.number,
        issued=document.issued,
        due_on=document.due_on,
        days=document.days,
        description=document.note,
        groups=(LineGroup(lines=tuple(_line(line) for line in document.lines)),),
        discounts=discounts,
        taxes=tuple(_taxes(document)),
        totals=Totals(
            subtotal=exact_sum([line.amount for line in document.lines]),
            discount=exact_sum([discount.amount for discount in discounts]),
            prepaid_credits=document.prepaid,
            tax=document.tax_total,
            total=document.payable,
            due=document.payable,
        ),
        notes="\n".join(_notes(document)),
    )


def _party(said: TradeParty) -> Party:
    postal = said.postal
    town = " ".join(part for part in (postal.postal_code, postal.city) if part)
    address = (postal.line1, postal.line2, town, postal.state, postal.country)
    return Party(
        name=said.name,
        address=tuple(line for line in address if line),
        country=postal.country,
        tax_id=said.vat_id or said.tax_number or said.registration,
        email=said.email,
        phone=said.phone,
    )


def _line(line: TradeLine) -> Line:
    return Line(
        name=line.name, amount=line.amount, description=line.description, quantity=line.quantity, days=line.days
    )


def _discounts(document: TradeDocument) -> Iterable[Discount]:
    for line in document.lines:
        if line.discount:
            yield Discount(name=line.discount_reason, amount=line.discount, line=line.name)
    for allowance in document.allowances:
        yield Discount(name=allowance.reason, amount=allowance.amount)


def _taxes(document: TradeDocument) -> Iterable[Tax]:
    for group in document.breakdown:
        rate = "" if group.vat.category is VatCategory.OUTSIDE_SCOPE else f"{plain(group.vat.percentage)}%"
        yield Tax(
            name=group.vat.reason or group.vat.reason_code or "VAT",
            code=group.vat.category.value,
            rate=rate,
            taxable=group.taxable,
            amount=group.tax,
        )


def _notes(document: TradeDocument) -> Iterable[str]:
    if document.buyer_reference:
        yield f"Your reference: {document.buyer_reference}"
    if document.order_reference:
        yield f"Your order: {document.order_reference}"
    if document.terms:
        yield document.terms
    payment = document.payment
    if payment is not None and payment.is_direct_debit and payment.mandate:
        yield f"We collect the amount by direct debit, mandate {payment.mandate}"
    elif payment is not None and payment.account:
        bank = f", BIC {payment.bic}" if payment.bic else payment.bank_branch and f", {payment.bank_branch}"
        yield f"{'IBAN' if payment.iban else 'Account'} {payment.account}{bank}"
