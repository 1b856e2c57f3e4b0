"""Documents as values: what was issued, and parties of whom everything is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from farthing.core.encoding.decoding import convert
from farthing.identity.settings.catalogue import EinvoiceConfig
from farthing.invoices.einvoice.assembly import IssuedDocument
from farthing.invoices.einvoice.mapping import CarriedRate, IssuedFigures, IssuedLine
from farthing.invoices.einvoice.model import TypeCode
from farthing.invoices.pdf.document import Days
from tests.invoices.einvoice.exporter import BUYER, SELLER

OCTOBER = Days(date(2026, 10, 1), date(2026, 10, 31))


def seller(**changes: str) -> dict[str, str]:
    """What a seller says, with changes by field; an empty one is not said."""
    terms = convert(SELLER, EinvoiceConfig).terms("Europe/Berlin")
    return {name: text for name, text in {**terms, **changes}.items() if text}


def buyer(**changes: str) -> dict[str, str]:
    """The same of a buyer."""
    said = {**{name: text for name, text in BUYER.items() if isinstance(text, str)}, **BUYER["metadata"]}
    return {name: text for name, text in {**said, "timezone": "Europe/Berlin", **changes}.items() if text}


def vat(percentage: str, category: str = "", code: str = "") -> CarriedRate:
    return CarriedRate(f"rate {percentage}{category}", Decimal(percentage), category, reason_code=code)


def line(amount: str, *rates: CarriedRate, **more: Any) -> IssuedLine:
    """A line of October; `tax`, `discount` and `document_discount` as text."""
    figures = {name: Decimal(more.pop(name, "0")) for name in ("tax", "discount", "document_discount")}
    return IssuedLine(
        **{
            "id": amount,
            "field": "line_items[0]",
            "name": f"Charge of {amount}",
            "amount": Decimal(amount),
            "rates": rates,
            "days": OCTOBER,
            **figures,
            **more,
        }
    )


def figures(total: str, *lines: IssuedLine, **more: Any) -> IssuedFigures:
    numbered = tuple(_named(each, number) for number, each in enumerate(lines))
    return IssuedFigures(
        **{
            "type": TypeCode.INVOICE,
            "number": "INV-202611-00001",
            "issued": date(2026, 11, 1),
            "currency": "eur",
            "lines": numbered,
            "total": Decimal(total),
            "due_on": date(2026, 11, 15),
            **more,
        }
    )


def _named(each: IssuedLine, number: int) -> IssuedLine:
    return replace(each, id=f"line {number}", field=f"line_items[{number}]")


def issued(
    said: IssuedFigures, sellers: Sequence[dict[str, str]] = (), buyers: Sequence[dict[str, str]] = ()
) -> IssuedDocument:
    """What was issued by and to parties of whom everything is said, unless others are given."""
    return IssuedDocument(said, list(sellers) or [seller()], list(buyers) or [buyer()])
