"""The coupons and tax rates of an invoice, as they stood when it took them.

Kept on the invoice itself, so that a computation, an edit and a proof years later need nothing that may have changed
since: the catalogue is asked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from farthing.catalogue.discounts.redeeming import discount_of
from farthing.catalogue.discounts.tables import CouponRow
from farthing.catalogue.taxes.choosing import tax_of
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.money import exact_sum, plain
from farthing.invoices.tables import Invoice
from farthing.rating.totals import discounts, taxes
from farthing.storage.documents import Document, decode_all, encode_all


class Budget(Document, frozen=True, kw_only=True):
    """What is left of a fixed coupon for the lines whose service begins in `[start, end)`."""

    start: datetime
    end: datetime
    left: str

    def contains(self, service_start: datetime) -> bool:
        return self.start <= service_start < self.end


class CouponTerm(Document, frozen=True, kw_only=True):
    """One coupon on an invoice. `off` is an amount or a percentage, `target` and `also` as in
    `rating.totals.discounts`.

    A coupon of a subscription reaches the lines whose service overlaps its window `[start, end)`, and begins in
    `[service_from, service_until)` where it is for a number of periods; of a grouped child, those of `subscription_id`
    alone. `budgets` are what each period has left of an amount; None where a budget does not limit it. A coupon without
    a window reaches all lines.
    """

    coupon_id: str
    type: discounts.CouponType
    off: str
    target: str | None = None
    also: tuple[str, ...] = ()
    coupon_association_id: str | None = None
    name: str = ""
    coupon_code: str | None = None
    cadence: str = ""
    subscription_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    service_from: datetime | None = None
    service_until: datetime | None = None
    budgets: tuple[Budget, ...] | None = None

    @classmethod
    def of(cls, coupon: CouponRow, target: str | None = None, association_id: str | None = None) -> CouponTerm:
        """The term a coupon of the catalogue makes."""
        return cls(
            coupon_id=coupon.id,
            type=coupon.type,
            off=plain(discount_of(coupon).off),
            target=target,
            coupon_association_id=association_id,
            name=coupon.name,
            coupon_code=coupon.coupon_code,
            cadence=coupon.cadence.value,
        )

    def snapshot(self) -> dict[str, Any]:
        """The coupon as responses and documents show it."""
        figure = "percentage_off" if self.type is discounts.CouponType.PERCENTAGE else "amount_off"
        shown = {"id": self.coupon_id, "name": self.name, "type": self.type.value, figure: self.off}
        if self.coupon_code:
            shown["coupon_code"] = self.coupon_code
        return {**shown, "cadence": self.cadence} if self.cadence else shown


class TaxTerm(Document, frozen=True, kw_only=True):
    """One tax rate on an invoice. `value` is a percentage or an amount.

    `start` and `end` are the window of the association that asks for it: a line carries the rate when the line's tax
    point lies in the window of a term of the rate. Without a window all lines carry it. What the rate says of VAT
    is for e-invoices and changes no amount.
    """

    tax_rate_id: str
    type: taxes.TaxRateType
    value: str
    tax_association_id: str | None = None
    name: str = ""
    code: str = ""
    start: datetime | None = None
    end: datetime | None = None
    vat_category: str = ""
    vat_exemption_reason: str = ""
    vat_exemption_code: str = ""

    @classmethod
    def of(cls, rate: TaxRateRow, association: TaxAssociation | None = None) -> TaxTerm:
        """The term that a rate of the catalogue makes, for the window of its association if it has one."""
        return cls(
            tax_rate_id=rate.id,
            type=rate.tax_rate_type,
            value=plain(tax_of(rate).value),
            tax_association_id=association.id if association is not None else None,
            name=rate.name,
            code=rate.code,
            start=association.start_date if association is not None else None,
            end=association.end_date if association is not None else None,
            vat_category=rate.meta.get("vat_category", ""),
            vat_exemption_reason=rate.meta.get("vat_exemption_reason", ""),
            vat_exemption_code=rate.meta.get("vat_exemption_code", ""),
        )

    def applies_at(self, tax_point: datetime) -> bool:
        """Whether a line with this tax point carries the rate because of this term."""
        return (self.start is None or self.start <= tax_point) and (self.end is None or tax_point < self.end)

    @property
    def rated(self) -> taxes.TaxRate:
        return taxes.TaxRate(self.tax_rate_id, self.type, Decimal(self.value))

    def snapshot(self) -> dict[str, Any]:
        """The rate as documents show it."""
        return {"name": self.name, "code": self.code, "type": self.type.value, "value": self.value}


class OpeningCredit(Document, frozen=True, kw_only=True):
    """The part of a replaced subscription's credit that stands on lines which carry these rates of tax."""

    rates: tuple[str, ...]
    amount: str


def opening_credit_columns(parts: Sequence[OpeningCredit]) -> dict[str, Any]:
    """The columns of an invoice whose fees are lowered by these credits."""
    total = exact_sum([Decimal(part.amount) for part in parts])
    return {"opening_credit": total, "opening_credit_terms": encode_all(parts)}


def opening_credit_of(invoice: Invoice) -> list[OpeningCredit]:
    """The credits that may lower the fees of an opening invoice."""
    return decode_all(OpeningCredit, invoice.opening_credit_terms or ())


def opening_credit_by_rates(invoice: Invoice) -> dict[frozenset[str], Decimal]:
    """What credits may take off the fees of an opening invoice, by the rates of tax that they carry."""
    return {frozenset(part.rates): Decimal(part.amount) for part in opening_credit_of(invoice)}


def stored(terms: Sequence[CouponTerm] | Sequence[TaxTerm]) -> list[Any]:
    """Terms as an invoice's column keeps them."""
    return encode_all(terms)


def coupons_on(column: Sequence[Any]) -> list[CouponTerm]:
    """The coupons an invoice's column keeps, in the order they apply."""
    return decode_all(CouponTerm, column)


def taxes_on(column: Sequence[Any]) -> list[TaxTerm]:
    """The tax rates an invoice's column keeps."""
    return decode_all(TaxTerm, column)
