"""A document as the texts its template places: every figure written, every row that says nothing left out."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import TypedDict

from farthing.core.money import ZERO, exact_sum
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.document import InvoiceDocument, Line, LineGroup, Party
from farthing.invoices.pdf.figures import text
from farthing.invoices.pdf.fonts import families

RUNNING_TEXT = 50  # characters of a text in the head or foot of every page

# Characters of figures beside a description that leave it a third of the page; a period is set smaller than they are.
FIGURES_BESIDE = 58
PERIOD_SIZE = Fraction(8, 9)

WITHOUT_NUMBER = frozenset({"DRAFT", "SKIPPED"})
MARKS = {"DRAFT": "DRAFT", "VOIDED": "VOIDED", "SKIPPED": "SKIPPED"}
SETTLED = {
    "SUCCEEDED": "Paid",
    "OVERPAID": "Overpaid",
    "REFUNDED": "Refunded",
    "PARTIALLY_REFUNDED": "Partly refunded",
}


class PartyTexts(TypedDict):
    name: str
    lines: list[str]
    fonts: list[str]


class LineTexts(TypedDict):
    name: str
    description: str
    span: str
    quantity: str
    unit_price: str
    amount: str
    details: list[tuple[str, str, str]]  # label, quantity, amount


class GroupTexts(TypedDict):
    title: str
    lines: list[LineTexts]
    subtotal: str  # empty where it would repeat the only line


class Table(TypedDict):
    """A small table: heads (the first names its rows), rows of as many cells, how many last columns are figures."""

    heads: list[str]
    rows: list[list[str]]
    figures: int


class PageTexts(TypedDict):
    title: str
    mark: str
    tag: str
    number: str
    currency: str
    paper: str
    fonts: list[str]
    seller: PartyTexts
    customer: PartyTexts
    recipient: str  # what stands above the customer
    nothing: str  # said where there are no groups of lines; empty for a paper that needs none
    facts: list[tuple[str, str]]
    due: tuple[str, str]  # label and figure of the headline; empty when nothing can be owed
    description: str
    stacked: bool  # the figures are too wide for columns: period, quantity and unit price stand under the description
    with_span: bool
    with_quantity: bool
    with_unit_price: bool
    groups: list[GroupTexts]
    tables: list[Table]
    totals: list[tuple[str, str, bool]]  # label, figure, whether it is a sum
    notes: list[str]
    running: tuple[str, str]  # the head of later pages: who bills, which paper; short enough for one line
    contact: str


def page(document: InvoiceDocument) -> PageTexts:
    """The texts of `document`, in English with days as its language writes them, fit to be placed as they are."""
    groups = [group for group in (_group(group, document) for group in document.groups) if group["lines"]]
    lines = [line for group in groups for line in group["lines"]]
    number = "" if document.status in WITHOUT_NUMBER else text(document.number)
    vat = figures.percent(document.vat)
    return {
        "title": document.kind,
        "mark": MARKS.get(document.status, ""),
        "tag": "" if document.status in MARKS else SETTLED.get(document.payment_status, ""),
        "number": number,
        "currency": document.currency.upper(),
        "paper": document.paper,
        "fonts": families(_written(document), document.seller.country or document.customer.country),
        "seller": party_texts(document.seller),
        "customer": party_texts(document.customer),
        "recipient": "Billed to",
        "nothing": "Nothing was charged.",
        "facts": list(_facts(document, number)),
        "due": _due(document),
        "description": text(document.description),
        "stacked": _width(lines) > FIGURES_BESIDE,
        "with_span": any(line["span"] for line in lines),
        "with_quantity": any(line["quantity"] for line in lines),
        "with_unit_price": any(line["unit_price"] for line in lines),
        "groups": groups,
        "tables": list(_tables(document)),
        "totals": list(_totals(document)),
        "notes": [
            *map(text, document.statements),
            *_conversion(document),
            *([f"VAT rate: {vat}"] if vat else []),
            *text(document.notes, figures.MAX_NOTES).splitlines(),
        ],
        "running": (text(document.seller.name, RUNNING_TEXT), text(f"{document.kind} {number}", RUNNING_TEXT)),
        "contact": text(document.seller.help_email or document.seller.email, RUNNING_TEXT),
    }


def party_texts(party: Party) -> PartyTexts:
    """Who bills or is billed, as it is printed."""
    lines = [text(line) for line in party.address]
    lines += [f"Tax ID {text(party.tax_id)}"] if party.tax_id else []
    lines += [text(party.email), text(party.phone)]
    return {
        "name": text(party.name),
        "lines": [line for line in lines if line],
        "fonts": families(" ".join((party.name, *party.address)), party.country),
    }


def _in_words(wire_word: str) -> str:
    """ "half_yearly" as "Half yearly"."""
    return text(wire_word).replace("_", " ").capitalize()


def _written(document: InvoiceDocument) -> str:
    """What the lines say, from which the language of the table is told."""
    return " ".join(
        f"{group.title} {line.name} {line.description}" for group in document.groups for line in group.lines
    )


def _facts(document: InvoiceDocument, number: str) -> Iterator[tuple[str, str]]:
    facts = (
        (f"{document.kind} number", number),
        ("Corrects invoice", text(document.corrects)),
        ("Issue date", figures.day(document.issued, document.language)),
        ("Due date", figures.day(document.due_on, document.language)),
        ("Collected by", text(document.collector)),
        ("Period", figures.span(document.days, document.language)),
        ("Billing period", _in_words(document.billing_period)),
        ("Currency", document.currency.upper()),
    )
    return ((label, value) for label, value in facts if value)


def _due(document: InvoiceDocument) -> tuple[str, str]:
    if document.status == "VOIDED":
        what_follows = "Nothing is owed on it" if document.kind == "Invoice" else "It takes nothing back"
        return (f"This {document.kind.lower()} is void", what_follows)
    if document.kind == "Credit note":
        return ("Credited", figures.money(document.totals.total, document.currency))
    return ("Balance due", figures.money(document.totals.due, document.currency))


def _width(lines: list[LineTexts]) -> int:
    """Characters that the widest period, quantity, unit price and amount take side by side."""
    widest = [max((len(line[column]) for line in lines), default=0) for column in ("quantity", "unit_price", "amount")]
    return sum(widest) + ceil(max((len(line["span"]) for line in lines), default=0) * PERIOD_SIZE)


def _group(group: LineGroup, document: InvoiceDocument) -> GroupTexts:
    currency = document.currency
    charged = [line for line in group.lines if line.amount != 0]
    subtotal = exact_sum([line.amount for line in charged])
    return {
        "title": text(group.title),
        "lines": [_line(line, currency, document.language) for line in charged],
        "subtotal": figures.number(subtotal, currency) if len(charged) > 1 else "",
    }


def _line(line: Line, currency: str, language: str) -> LineTexts:
    quantity = "" if line.quantity is None else f"{figures.grouped(line.quantity)} {text(line.unit)}".rstrip()
    return {
        "name": text(line.name),
        "description": text(line.description),
        "span": figures.span(line.days, language),
        "quantity": quantity,
        "unit_price": _unit_price(line, currency),
        "amount": figures.number(line.amount, currency),
        "details": [
            (
                text(detail.label),
                "" if detail.quantity is None else figures.grouped(detail.quantity),
                "" if detail.amount is None else figures.number(detail.amount, currency),
            )
            for detail in line.details
        ],
    }


def _unit_price(line: Line, currency: str) -> str:
    if line.unit_price is None:
        return ""
    price = figures.number(line.unit_price, currency)
    return price if line.priced_units == 1 else f"{price} per {figures.grouped(line.priced_units)}"


def _tables(document: InvoiceDocument) -> Iterator[Table]:
    code, currency = document.currency.upper(), document.currency
    if document.discounts:
        yield {
            "heads": ["Discount", "Type", "Applies to", "Value", f"Amount ({code})"],
            "rows": [
                [
                    text(discount.name),
                    _in_words(discount.kind),
                    text(discount.line) or "The whole invoice",
                    text(discount.value),
                    figures.number(discount.amount.copy_negate(), currency),
                ]
                for discount in document.discounts
            ],
            "figures": 2,
        }
    if document.taxes:
        yield {
            "heads": ["Tax", "Code", "Type", "Rate", f"Taxable ({code})", f"Amount ({code})"],
            "rows": [
                [
                    text(tax.name),
                    text(tax.code),
                    _in_words(tax.kind),
                    text(tax.rate),
                    "" if tax.taxable is None else figures.number(tax.taxable, currency),
                    figures.number(tax.amount, currency),
                ]
                for tax in document.taxes
            ],
            "figures": 3,
        }
    if document.payments:
        yield {
            "heads": ["Payment", "Method", "Reference", f"Amount ({code})"],
            "rows": [
                [
                    figures.day(payment.day, document.language),
                    text(payment.method),
                    text(payment.reference),
                    figures.number(payment.amount, currency),
                ]
                for payment in document.payments
            ],
            "figures": 1,
        }


def _conversion(document: InvoiceDocument) -> Iterator[str]:
    """What was charged in another currency, and the rate at which it was converted."""
    converted = document.conversion
    if converted is None:
        return
    charged = figures.money(converted.subtotal, converted.currency)
    left = "" if converted.net == converted.subtotal else f", {figures.money(converted.net, converted.currency)} net"
    rate = f"{figures.grouped(converted.rate)} {document.currency.upper()} for 1 {converted.currency.upper()}"
    day = figures.day(converted.day, document.language)
    yield f"Charged in {converted.currency.upper()}: {charged}{left}. Converted at {rate} on {day}."


def _totals(document: InvoiceDocument) -> Iterator[tuple[str, str, bool]]:
    """The way from subtotal to balance; steps of zero are skipped, the sums and what was paid never are.

    Nothing is owed on a voided invoice, whatever was left on it: it has no balance.
    """
    totals, currency = document.totals, document.currency
    if document.kind == "Credit note":
        yield ("Net", figures.money(totals.subtotal, currency), False)
        yield ("Tax", figures.money(totals.tax, currency), False)
        yield ("Total", figures.money(totals.total, currency), True)
        return
    voided = document.status == "VOIDED"
    steps = (
        ("Subtotal", totals.subtotal, False, True),
        ("Discounts", totals.discount.copy_negate(), False, False),
        ("Prepaid credits", totals.prepaid_credits.copy_negate(), False, False),
        ("Tax", totals.tax, False, False),
        ("Total", totals.total, True, True),
        ("Credit notes", totals.adjustment.copy_negate(), False, False),
        ("Paid", totals.paid.copy_negate(), False, True),
        ("Balance due", ZERO if voided else totals.due, True, not voided),
        ("Overpaid", totals.overpaid, False, False),
        ("Refunded", totals.refunded, False, False),
    )
    for label, amount, is_sum, always in steps:
        if always or amount != 0:
            yield (label, figures.money(amount, currency), is_sum)
