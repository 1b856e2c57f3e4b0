"""From the figures of an invoice or a credit note to the document of EN 16931. Pure; nothing is computed but sums.

What the standard has no words for is collected as obstacles, each with the field it lies in, and refused at once.
Rule: docs/rules/e-invoices.md#mapping
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from farthing.core import currency as currencies
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.core.standards.trade_codes import VatCategory, default_category
from farthing.invoices.einvoice.model import (
    DocumentAllowance,
    PrecedingInvoice,
    TradeDocument,
    TradeLine,
    TradeParty,
    TypeCode,
    Vat,
    VatBreakdown,
)
from farthing.invoices.pdf.document import Days

MOST_QUANTITY_DIGITS = 15
"""Validators multiply and divide with 18 digits, some with those of a float."""
MOST_DECIMALS = 2
TAX_TOLERANCE = Decimal(1)
"""How far the official rule lets a tax be from base x rate (BR-CO-17)."""
LINE_DISCOUNT, DOCUMENT_DISCOUNT = "Discount", "Discount on the invoice"
SINGLE_UNIT = "C62"


@dataclass(frozen=True, slots=True)
class CarriedRate:
    """A tax rate that a line carries, as the invoice took it. `percentage` is None for a fixed amount."""

    id: str
    percentage: Decimal | None
    category: str = ""
    reason: str = ""
    reason_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedLine:
    """A line as it was issued. `field` is where it stands on the wire; `document_discount` its share of discounts on
    the whole document; `tax` its share of the tax."""

    id: str
    field: str
    name: str
    amount: Decimal
    quantity: Decimal = Decimal(1)
    unit: str = SINGLE_UNIT
    description: str = ""
    discount: Decimal = ZERO
    discount_reason: str = LINE_DISCOUNT
    document_discount: Decimal = ZERO
    tax: Decimal = ZERO
    rates: tuple[CarriedRate, ...] = ()
    days: Days | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedFigures:
    """What was issued, without the parties; `total` is what it came to, less what was prepaid. `days` is the
    period of what is charged, where no line has one."""

    type: TypeCode
    number: str
    issued: date
    currency: str
    lines: tuple[IssuedLine, ...]
    total: Decimal
    prepaid: Decimal = ZERO
    due_on: date | None = None
    note: str = ""
    terms: str = ""
    document_discount_reason: str = DOCUMENT_DISCOUNT
    days: Days | None = None
    preceding: PrecedingInvoice | None = None
    mark: str = ""
    mark_url: str = ""
    accounting_rate: Decimal | None = None
    """Units of the seller's accounting currency for one of `currency`; None where they are the same, or no rate is
    known."""

    @property
    def has_untaxed_lines(self) -> bool:
        return any(not line.rates for line in self.lines)


def trade_document(figures: IssuedFigures, untaxed: Vat, obstacles: dict[str, str]) -> TradeDocument:
    """The document of what was issued, its parties still unnamed; what cannot be said is added to `obstacles`.

    `untaxed` is how lines without a tax rate stand to VAT.
    """
    _check_currency(figures, obstacles)
    lines, vats = [], {}
    for number, line in enumerate(figures.lines, start=1):
        vat = _vat_of(line, untaxed, obstacles)
        vats[line.id] = vat
        lines.append(_line(str(number), line, vat))
    if not lines:
        obstacles["line_items"] = "must hold at least one line: the standard has no document without lines"
    _check_outside_scope(lines, obstacles)
    document = TradeDocument(
        type=figures.type,
        number=figures.number,
        issued=figures.issued,
        currency=figures.currency.upper(),
        seller=TradeParty(),
        buyer=TradeParty(),
        lines=tuple(lines),
        allowances=_allowances(figures, vats),
        breakdown=_breakdown(figures.lines, vats),
        prepaid=figures.prepaid,
        due_on=figures.due_on,
        note=figures.note,
        terms=figures.terms,
        days=span([line.days for line in lines if line.days is not None]) or figures.days,
        preceding=figures.preceding,
        mark=figures.mark,
        mark_url=figures.mark_url,
    )
    _check_taxes(document, obstacles)
    if document.payable != figures.total:
        obstacles["total"] = f"{plain(figures.total)} is not what lines, discounts and taxes come to"
    if document.is_intra_community and document.days is None:
        obstacles["line_items.period_start"] = "with period_end is required: an intra-community supply says when it was"
    return document


def span(days: Sequence[Days]) -> Days | None:
    """The days from the first of all to the last of all (BG-14); None where no line has days."""
    return Days(min(each.first for each in days), max(each.last for each in days)) if days else None


def _check_currency(figures: IssuedFigures, obstacles: dict[str, str]) -> None:
    digits = currencies.digits(figures.currency)
    if digits > MOST_DECIMALS:
        code = figures.currency.upper()
        obstacles["currency"] = f"{code} has {digits} decimals: e-invoices have at most {MOST_DECIMALS}"


def _vat_of(line: IssuedLine, untaxed: Vat, obstacles: dict[str, str]) -> Vat:
    """The one category and rate of a line; what it stands for where there is not one."""
    unsaid = Vat(VatCategory.ZERO_RATED)
    if len(line.rates) > 1:
        obstacles[f"{line.field}.taxes"] = "must be one tax rate: an e-invoice has one VAT rate for each line"
        return unsaid
    if not line.rates:
        return untaxed
    (rate,) = line.rates
    if rate.percentage is None:
        obstacles[f"{line.field}.taxes"] = "must be a percentage: a fixed tax is no VAT"
        return unsaid
    category = VatCategory(rate.category) if rate.category else default_category(rate.percentage)
    return Vat(category, rate.percentage, rate.reason, rate.reason_code)


def _line(number: str, line: IssuedLine, vat: Vat) -> TradeLine:
    counted = line.quantity > 0 and len(line.quantity.normalize().as_tuple().digits) <= MOST_QUANTITY_DIGITS
    uncounted = f"Quantity {plain(line.quantity)}" if line.quantity > 0 and not counted else ""
    return TradeLine(
        id=number,
        name=line.name,
        description=". ".join(filter(None, (uncounted, line.description))),
        # a charge without a quantity, or with one that no validator can multiply exactly, is one charge
        quantity=line.quantity if counted else Decimal(1),
        unit=line.unit if counted else SINGLE_UNIT,
        amount=line.amount,
        vat=vat,
        discount=line.discount,
        discount_reason=line.discount_reason,
        days=line.days,
    )


def _check_outside_scope(lines: Sequence[TradeLine], obstacles: dict[str, str]) -> None:
    categories = {line.vat.category for line in lines}
    if VatCategory.OUTSIDE_SCOPE in categories and len(categories) > 1:
        others = ", ".join(sorted(categories - {VatCategory.OUTSIDE_SCOPE}))
        obstacles["line_items.taxes"] = f"category O stands alone on a document, and this one has {others} too"


def _allowances(figures: IssuedFigures, vats: Mapping[str, Vat]) -> tuple[DocumentAllowance, ...]:
    """One for each category and rate, in the order in which lines have them."""
    groups = _groups(figures.lines, vats)
    amounts = ((vat, exact_sum([line.document_discount for line in members])) for vat, members in groups)
    reason = figures.document_discount_reason
    return tuple(DocumentAllowance(amount, reason, vat) for vat, amount in amounts if amount > 0)


def _breakdown(lines: Sequence[IssuedLine], vats: Mapping[str, Vat]) -> tuple[VatBreakdown, ...]:
    return tuple(
        VatBreakdown(
            vat,
            exact_sum([_taxable(line) for line in members]),
            exact_sum([line.tax for line in members]),
        )
        for vat, members in _groups(lines, vats)
    )


def _taxable(line: IssuedLine) -> Decimal:
    return EXACT.subtract(line.amount, EXACT.add(line.discount, line.document_discount))


def _groups(lines: Sequence[IssuedLine], vats: Mapping[str, Vat]) -> list[tuple[Vat, list[IssuedLine]]]:
    """Lines by category and rate; where they have several reasons for it, all are said."""
    members: defaultdict[tuple[VatCategory, Decimal], list[IssuedLine]] = defaultdict(list)
    for line in lines:
        members[vats[line.id].group].append(line)
    return [(_joined([vats[line.id] for line in group]), group) for group in members.values()]


def _joined(vats: Sequence[Vat]) -> Vat:
    reasons = dict.fromkeys(vat.reason for vat in vats if vat.reason)
    codes = dict.fromkeys(vat.reason_code for vat in vats if vat.reason_code)
    if len(codes) > 1:
        # there is one code for a group: several of them are said as text
        reasons |= codes
    return replace(vats[0], reason="; ".join(reasons), reason_code=next(iter(codes)) if len(codes) == 1 else "")


def _check_taxes(document: TradeDocument, obstacles: dict[str, str]) -> None:
    """A tax that is not its base x its rate, give or take what rounding does, is no tax of this base."""
    for group in document.breakdown:
        due = EXACT.divide(EXACT.multiply(group.taxable, group.vat.percentage), Decimal(100))
        if abs(EXACT.subtract(due, group.tax)) >= TAX_TOLERANCE:
            obstacles["line_items.amount"] = (
                f"{plain(group.tax)} is not {plain(group.vat.percentage)} % of {plain(group.taxable)}: "
                "money that was paid too much is given back without tax, and no e-invoice can say so"
            )
