"""The whole document: figures and parties put together, and everything that stands against it said at once.

A party is named as it stood when the document became final. What a format demands and was not said then is taken from
the first later version of the party that says it, so that a document, once it could be made, stays the same.
Rule: docs/rules/e-invoices.md#what-is-kept-at-finalization
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from farthing.core import currency as currencies
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, round_to
from farthing.core.standards.trade_codes import VatCategory
from farthing.invoices.einvoice.mapping import MOST_DECIMALS, IssuedFigures, trade_document
from farthing.invoices.einvoice.model import Format, TradeDocument, Vat
from farthing.invoices.einvoice.requirements import (
    BUYER,
    SELLER,
    PartyTexts,
    missing_fields,
    place_of,
    vat_of_untaxed,
    with_parties,
)

_SAID_TOGETHER = {
    "default_vat_category": ("default_vat_exemption_reason", "default_vat_exemption_code"),
    "payment.iban": ("payment.means_code", "payment.bic", "payment.account_name"),
}
"""Fields that are taken from the same version as the one they belong to."""
_INSTEAD = {"vat_id": ("tax_number", "registration_number"), "buyer_reference": ("order_reference",)}
"""Fields of which all together may do where the one is not said."""


@dataclass(frozen=True, slots=True)
class IssuedDocument:
    """What was issued, and what its parties said when it was and ever since, oldest first."""

    figures: IssuedFigures
    seller: Sequence[PartyTexts]
    buyer: Sequence[PartyTexts]


@dataclass(frozen=True, slots=True)
class Assembly:
    """A document as far as it can be put together, and what stands against it: a reason by field."""

    document: TradeDocument
    obstacles: dict[str, str]


def document_for(issued: IssuedDocument, wanted: Format) -> TradeDocument:
    """The document in a format. Raises ValidationFailed naming everything that is missing or cannot be said."""
    assembly = assemble(issued, wanted)
    if assembly.obstacles:
        raise ValidationFailed.listing(assembly.obstacles)
    return assembly.document


def assemble(issued: IssuedDocument, wanted: Format) -> Assembly:
    """Put the document together, with what later versions of its parties say and the format demands."""
    seller = dict(issued.seller[0]) if issued.seller else {}
    buyer = dict(issued.buyer[0]) if issued.buyer else {}
    while True:
        obstacles: dict[str, str] = {}
        untaxed = vat_of_untaxed(seller)
        figures = trade_document(issued.figures, untaxed or Vat(VatCategory.ZERO_RATED), obstacles)
        document = with_parties(figures, seller, buyer)
        missing = list(missing_fields(document, wanted))
        if untaxed is None and issued.figures.has_untaxed_lines:
            missing.append((SELLER, "default_vat_category"))
        filled = _fill(seller, issued.seller, (field for whose, field in missing if whose == SELLER))
        filled |= _fill(buyer, issued.buyer, (field for whose, field in missing if whose == BUYER))
        if not filled:
            break
    document = _accounted(seller, document, issued.figures.accounting_rate, obstacles)
    return Assembly(document, dict(place_of(*said) for said in missing) | obstacles)


def _fill(texts: dict[str, str], versions: Sequence[PartyTexts], fields: Iterable[str]) -> bool:
    """Take missing fields from the first later version that says them; whether any was found."""
    filled = False
    for field in fields:
        together = _SAID_TOGETHER.get(field, ())
        for wanted, more in (((field,), together), (_INSTEAD.get(field, ()), ())):
            version = next((said for said in versions[1:] if wanted and all(said.get(name) for name in wanted)), None)
            if version is None or all(texts.get(name) for name in wanted):
                continue
            texts.update({name: version[name] for name in (*wanted, *more) if version.get(name)})
            filled = True
            break
    return filled


def _accounted(
    seller: PartyTexts, document: TradeDocument, rate: Decimal | None, obstacles: dict[str, str]
) -> TradeDocument:
    """The document with its tax in the seller's accounting currency too, where that is another one.

    Rule: docs/rules/e-invoices.md#accounting-currency
    """
    accounting = seller.get("accounting_currency", "").upper()
    if not accounting or accounting == document.currency:
        return document
    if rate is None:
        obstacles["currency"] = (
            f"{document.currency} is not the seller's accounting currency {accounting}: the tax has to be said in it "
            "too, and there is no exchange rate between them"
        )
        return document
    digits = min(currencies.digits(accounting.lower()), MOST_DECIMALS)
    tax = round_to(EXACT.multiply(document.tax_total, rate), digits)
    return replace(document, accounting_currency=accounting, accounting_tax=tax)
