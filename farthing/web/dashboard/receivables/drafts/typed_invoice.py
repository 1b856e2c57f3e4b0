"""The form of a one-off invoice as a request: its lines, coupons, taxes and dates.

Fields of line N end in `-N`; a line of which nothing was typed is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from farthing.core import currency
from farthing.core.encoding.decoding import convert
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, exact_sum, plain, round_to
from farthing.invoices.requests import CreateInvoiceRequest
from farthing.web.rendering.typed_fields import number_in, start_of_day, start_of_next_day

LINE_FIELDS = ("name", "quantity", "unit_price", "amount", "from", "until")
FEWEST_LINES, MOST_LINES = 3, 20
COUPON, TAX = "coupon:", "tax:"
"""The beginnings of the names of ticked coupons and tax rates."""
_PLACES = {"display_name": "name", "period_start": "from", "period_end": "until"}


def typed_lines(given: Mapping[str, str]) -> list[int]:
    """The numbers of the lines of which anything was typed."""
    return [
        number
        for number in range(MOST_LINES)
        if any(given.get(f"{name}-{number}") for name in LINE_FIELDS if name != "quantity")
    ]


def ticked(given: Mapping[str, str], beginning: str) -> list[str]:
    """The ids of what was ticked."""
    return [name.removeprefix(beginning) for name, value in given.items() if name.startswith(beginning) and value]


def invoice_request(given: Mapping[str, str], zone: ZoneInfo) -> CreateInvoiceRequest:
    """The form as a request; its days are those of `zone`. Raises ValidationFailed, naming fields of the form."""
    code = given.get("currency", "").lower()
    numbers = typed_lines(given)
    if not numbers:
        raise ValidationFailed.of("name-0", "must be given: an invoice has at least one line")
    lines = [line_body(given, number, code, zone) for number in numbers]
    total = plain(exact_sum([line["amount"] for line in lines]))
    body: dict[str, Any] = {
        "customer_id": given.get("customer", ""),
        "currency": code,
        **dict.fromkeys(("amount_due", "subtotal", "total"), total),
        "line_items": [{**line, "amount": plain(line["amount"])} for line in lines],
        "coupons": ticked(given, COUPON) or None,
        "tax_rates": ticked(given, TAX) or None,
        "description": given.get("description") or None,
        "invoice_status": "DRAFT" if given.get("action") == "draft" else "FINALIZED",
        "idempotency_key": given.get("once", "")[:100] or None,
        "metadata": {"notes": given["notes"]} if given.get("notes") else None,
    }
    if given.get("due"):
        body["due_date"] = end_of_day("due", given["due"], zone)
    return convert({name: value for name, value in body.items() if value is not None}, CreateInvoiceRequest)


def line_body(given: Mapping[str, str], number: int, code: str, zone: ZoneInfo) -> dict[str, Any]:
    """One line of the form, its amount worked out from quantity and unit price where none was typed."""
    typed = {name: given.get(f"{name}-{number}", "") for name in LINE_FIELDS}
    if not typed["name"]:
        raise ValidationFailed.of(f"name-{number}", "must not be empty")
    quantity = number_in(f"quantity-{number}", typed["quantity"] or "1")
    body: dict[str, Any] = {
        "display_name": typed["name"],
        "quantity": plain(quantity),
        "amount": _amount(typed, number, quantity, code),
        "price_type": "FIXED",
    }
    if typed["from"]:
        body["period_start"] = start_of_day(f"from-{number}", typed["from"], zone).isoformat()
    if typed["until"]:
        body["period_end"] = start_of_next_day(f"until-{number}", typed["until"], zone).isoformat()
    if typed["from"] and typed["until"] and typed["until"] < typed["from"]:
        raise ValidationFailed.of(f"until-{number}", "must not be before the first day")
    return body


def end_of_day(field: str, typed: str, zone: ZoneInfo) -> str:
    """The last moment of a day, so that what is due on it is late on the next."""
    return (start_of_next_day(field, typed, zone) - timedelta(microseconds=1)).isoformat()


def place_of(numbers: Sequence[int], name: str) -> str:
    """The field of the form for a name of the wire; lines are numbered in the order of those that were typed."""
    for position, number in enumerate(numbers):
        beginning = f"line_items[{position}]."
        if name.startswith(beginning):
            field = name.removeprefix(beginning)
            return f"{_PLACES.get(field, field)}-{number}"
    return {"due_date": "due", "customer_id": "customer"}.get(name, name)


def _amount(typed: Mapping[str, str], number: int, quantity: Decimal, code: str) -> Decimal:
    digits = currency.digits(code)
    worked_out = None
    if typed["unit_price"]:
        unit_price = number_in(f"unit_price-{number}", typed["unit_price"])
        worked_out = round_to(EXACT.multiply(quantity, unit_price), digits)
    if not typed["amount"]:
        if worked_out is None:
            raise ValidationFailed.of(f"amount-{number}", "must be given, or a unit price")
        return worked_out
    amount = number_in(f"amount-{number}", typed["amount"])
    if worked_out is not None and amount != worked_out:
        reason = f"must be quantity times unit price, {plain(worked_out)}, or be left empty"
        raise ValidationFailed.of(f"amount-{number}", reason)
    return amount
