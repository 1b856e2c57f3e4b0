"""The whole document: figures and parties put together, and everything that stands against it said at once.

A party is named as it stood when the document became final. What a format demands and was not said then is taken from
the first later version of the party that says it, so that a document, once it could be made, stays the same.
Rule: docs/rules/e-invoices.md#what-is-kept-at-finalization
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from farthing.core import currency as currencies
from farthing.core.errors import ValidationFailed
from farthing.core.money import EXACT, round_to
from farthing.core.standards.trade_codes import VatCategory
from farthing.invoices.einvoice.mapping import MOST_DECIMALS, IssuedFigures, trade_document
from farthing.invoices.einvoice.model import Format, TradeDocument, Vat
from farthing.invoices.einvoice.national.adapted import adapted
from farthing.invoices.einvoice.national.rules import BUYER, SELLER, Fault
from farthing.invoices.einvoice.requirements import (
    PartyTexts,
    faults,
    obstacle,
    vat_of_untaxed,
    with_parties,
)

_ACCOUNT = tuple(
    f"payment.{part}" for part in ("means_code", "iban", "bic", "account_name", "account_number", "bank_branch")
)
_SAID_TOGETHER = {
    "default_vat_category": ("default_vat_exemption_reason", "default_vat_exemption_code"),
    "payment.iban": ("payment.means_code", "payment.bic", "payment.account_name"),
    "payment.means_code": _ACCOUNT,
    "payment.account_number": _ACCOUNT,
    "electronic_address.scheme": ("electronic_address.id",),
    "electronic_address_scheme": ("electronic_address_id",),
}
"""Fields that are taken from the same version as the one they belong to."""
_INSTEAD = {
    "vat_id": ("tax_number", "registration_number"),
    "buyer_reference": ("order_reference",),
    "payment.iban": ("payment.account_number",),
}
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
    seller = _NamedParty(SELLER, issued.seller)
    buyer = _NamedParty(BUYER, issued.buyer)
    while True:
        obstacles: dict[str, str] = {}
        untaxed = vat_of_untaxed(seller.texts)
        figures = trade_document(issued.figures, untaxed or Vat(VatCategory.ZERO_RATED), obstacles)
        document = adapted(with_parties(figures, seller.texts, buyer.texts), wanted)
        found = list(faults(document, wanted))
        if untaxed is None and issued.figures.has_untaxed_lines:
            found.append(Fault(SELLER, "default_vat_category"))
        if not (seller.take_later(found) | buyer.take_later(found)):
            break
    document = _accounted(seller.texts, document, issued.figures.accounting_rate, obstacles)
    return Assembly(document, dict(obstacle(fault) for fault in found) | obstacles)


class _NamedParty:
    """What a document says of a party: what was said at its issue, and what was taken from later versions."""

    def __init__(self, whose: str, versions: Sequence[PartyTexts]) -> None:
        self._whose, self._later = whose, versions[1:]
        self.texts = dict(versions[0]) if versions else {}
        self._tried: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)

    def take_later(self, found: Iterable[Fault]) -> bool:
        """Take what the party lacks, or says wrongly, from the first later version that says it; whether any was."""
        faults_by_field = {fault.field: fault for fault in found if fault.whose == self._whose}
        taken = [
            self._fill(field) if fault.is_missing else self._correct(field) for field, fault in faults_by_field.items()
        ]
        return any(taken)

    def _fill(self, field: str) -> bool:
        for wanted in ((field,), _INSTEAD.get(field, ())):
            more = [name for each in wanted for name in _SAID_TOGETHER.get(each, ())]
            version = next((said for said in self._later if wanted and all(said.get(name) for name in wanted)), None)
            if version is None or all(self.texts.get(name) for name in wanted):
                continue
            self.texts.update({name: version[name] for name in (*wanted, *more) if version.get(name)})
            return True
        return False

    def _correct(self, field: str) -> bool:
        """What a version says is tried once, so that this ends."""
        group = (field, *_SAID_TOGETHER.get(field, ()))
        tried = self._tried[field]
        tried.add(_said(self.texts, group))
        untried = next((said for version in self._later if (said := _said(version, group)) not in tried), None)
        if untried is None:
            return False
        tried.add(untried)
        self.texts.update(zip(group, untried, strict=True))
        return True


def _said(texts: PartyTexts, fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts.get(field, "") for field in fields)


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
