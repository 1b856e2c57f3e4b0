"""Everything that stands on an invoice's pages, as values. Amounts are in the invoice's currency, major units."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from farthing.calendar.zones import to_local
from farthing.core import currency as currencies
from farthing.core.clock import shifted
from farthing.core.money import ZERO
from farthing.core.standards.languages import FALLBACK
from farthing.identity.settings.logo import Logo

InvoiceStatus = Literal["DRAFT", "FINALIZED", "VOIDED", "SKIPPED"]
Paper = Literal["a4", "us-letter"]
DocumentKind = Literal["Invoice", "Credit note"]


@dataclass(frozen=True, slots=True)
class Days:
    """A span of calendar days as people read it: both `first` and `last` belong to it."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"days end ({self.last}) before they start ({self.first})")

    @classmethod
    def of(cls, start: datetime, end: datetime, zone: ZoneInfo) -> Days:
        """The local days that the half-open period `[start, end)` touches: a full November is 1st to 30th.

        An empty period (`start == end`) is the one day it stands on.
        """
        last = max(start, shifted(end, -timedelta(microseconds=1)))
        return cls(to_local(start, zone).date(), to_local(last, zone).date())


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who bills or is billed. `address` is one entry per printed line; `country` is an ISO 3166 alpha-2 code, which
    chooses the national forms of Chinese characters and is not printed."""

    name: str
    address: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = ""
    email: str = ""
    help_email: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One row of a line's usage breakdown, such as a model's or a region's part of it."""

    label: str
    quantity: Decimal | None = None
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One charge, gross of discounts and credits. `unit` names what `quantity` counts ("GB", "seats")."""

    name: str
    amount: Decimal
    description: str = ""
    quantity: Decimal | None = None
    unit: str = ""
    unit_price: Decimal | None = None
    priced_units: Decimal = Decimal(1)
    """How many units the unit price is for."""
    days: Days | None = None
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineGroup:
    """Lines under one head, usually a feature or a plan; an empty `title` prints no head."""

    lines: tuple[Line, ...]
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """One coupon as applied: `value` is what it grants in words ("10%", "USD 5.00 off"), `amount` what it took off.
    `line` names the charge it was limited to; empty for one on the whole invoice."""

    name: str
    amount: Decimal
    kind: str = ""
    value: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """One tax as applied: `rate` in words ("20%"), `taxable` what it was charged on, `amount` the tax."""

    name: str
    amount: Decimal
    code: str = ""
    kind: str = ""
    rate: str = ""
    taxable: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPayment:
    """Money received against the invoice."""

    day: date
    amount: Decimal
    method: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The invoice's own figures, none negative, copied from it and not recomputed.

    `discount`, `prepaid_credits`, `adjustment` (credit notes) and `paid` are printed with a minus sign; `due` is what
    is still owed.
    """

    subtotal: Decimal
    total: Decimal
    due: Decimal
    discount: Decimal = ZERO
    prepaid_credits: Decimal = ZERO
    tax: Decimal = ZERO
    adjustment: Decimal = ZERO
    paid: Decimal = ZERO
    overpaid: Decimal = ZERO
    refunded: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentConversion:
    """What was charged before it was converted, `net` of discounts and credits, and how many units of the invoice's
    currency one unit of `currency` became."""

    currency: str
    subtotal: Decimal
    net: Decimal
    rate: Decimal
    day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceDocument:
    """A whole invoice. Days are given in the time zone the invoice is read in, and written in `language`.

    `number` is printed unless the invoice is a draft or was skipped. Lines of amount zero are left out. `vat` is the
    metadata's text, meant to be a fraction ("0.2"); anything else is left out.
    """

    seller: Party
    customer: Party
    currency: str
    status: InvoiceStatus
    groups: tuple[LineGroup, ...]
    totals: Totals
    payment_status: str = "PENDING"
    number: str = ""
    issued: date | None = None
    due_on: date | None = None
    days: Days | None = None
    billing_period: str = ""
    description: str = ""
    discounts: tuple[Discount, ...] = ()
    taxes: tuple[Tax, ...] = ()
    payments: tuple[DocumentPayment, ...] = ()
    statements: tuple[str, ...] = ()
    """What is said beside the figures: why there is no tax, how to pay."""
    notes: str = ""
    vat: str = ""
    collector: str = ""
    """Who collects it in the seller's place, as people call it."""
    conversion: DocumentConversion | None = None
    logo: Logo | None = None
    paper: Paper = "a4"
    language: str = FALLBACK
    kind: DocumentKind = "Invoice"
    corrects: str = ""
    """The number of the invoice that a credit note corrects."""

    def __post_init__(self) -> None:
        if currencies.normalise(self.currency) != self.currency:
            raise ValueError(f"currency '{self.currency}' is not in its stored form")
