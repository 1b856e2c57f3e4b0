"""What a format demands of the parties to a document, and where each piece is said.

A party's texts are given by field, as its kept versions have them. What is missing is looked for in later versions by
whoever reads them; what stands in none is answered to the caller.
Rule: docs/rules/e-invoices.md#what-a-format-demands
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from farthing.core.standards.trade_codes import VatCategory, iban_of, vat_id_of
from farthing.invoices.einvoice.model import (
    Format,
    PaymentInstructions,
    PostalAddress,
    TradeDocument,
    TradeParty,
    TypeCode,
    Vat,
)
from farthing.invoices.einvoice.national.rules import BUYER, SELLER, Fault, broken_rules

PartyTexts = Mapping[str, str]

_BUYER_COLUMNS = frozenset(
    {"name", "tax_id", "address_line1", "address_city", "address_postal_code", "address_country"}
)


def with_parties(document: TradeDocument, seller: PartyTexts, buyer: PartyTexts) -> TradeDocument:
    """The document with its parties named, and what they say of payment and of references."""
    outside_scope = any(line.vat.category is VatCategory.OUTSIDE_SCOPE for line in document.lines)
    return replace(
        document,
        seller=_seller(seller, outside_scope=outside_scope),
        buyer=_buyer(buyer, outside_scope=outside_scope),
        payment=_payment(seller, buyer),
        terms=document.terms or seller.get("payment_terms_text", ""),
        buyer_reference=buyer.get("buyer_reference", ""),
        order_reference=buyer.get("order_reference", ""),
    )


def _seller(texts: PartyTexts, *, outside_scope: bool) -> TradeParty:
    """Outside the scope of VAT, no VAT identifier may be named."""
    return TradeParty(
        name=texts.get("legal_name", ""),
        registration=texts.get("registration_number", ""),
        vat_id="" if outside_scope else texts.get("vat_id", ""),
        tax_number=texts.get("tax_number", ""),
        address_scheme=texts.get("electronic_address.scheme", ""),
        address_id=texts.get("electronic_address.id", ""),
        contact_name=texts.get("contact.name", ""),
        phone=texts.get("contact.phone", ""),
        email=texts.get("contact.email", ""),
        postal=PostalAddress(
            line1=texts.get("address.line1", ""),
            line2=texts.get("address.line2", ""),
            city=texts.get("address.city", ""),
            state=texts.get("address.state", ""),
            postal_code=texts.get("address.postal_code", ""),
            country=texts.get("address.country", ""),
        ),
    )


def _buyer(texts: PartyTexts, *, outside_scope: bool) -> TradeParty:
    """A tax number that begins with a country is a VAT identifier, another one the number in a register."""
    tax_id = texts.get("tax_id", "")
    vat_id = vat_id_of(tax_id) or ""
    return TradeParty(
        name=texts.get("name", ""),
        registration=texts.get("registration_number", "") or ("" if vat_id else tax_id),
        vat_id="" if outside_scope else vat_id,
        address_scheme=texts.get("electronic_address_scheme", ""),
        address_id=texts.get("electronic_address_id", ""),
        email=texts.get("email", ""),
        postal=PostalAddress(
            line1=texts.get("address_line1", ""),
            line2=texts.get("address_line2", ""),
            city=texts.get("address_city", ""),
            state=texts.get("address_state", ""),
            postal_code=texts.get("address_postal_code", ""),
            country=texts.get("address_country", ""),
        ),
    )


def _payment(seller: PartyTexts, buyer: PartyTexts) -> PaymentInstructions | None:
    """None where an account would have to be named and there is none."""
    instructions = PaymentInstructions(
        means_code=seller.get("payment.means_code", ""),
        iban=seller.get("payment.iban", ""),
        bic=seller.get("payment.bic", ""),
        account_name=seller.get("payment.account_name", ""),
        account_number=seller.get("payment.account_number", ""),
        bank_branch=seller.get("payment.bank_branch", ""),
    )
    if instructions.is_direct_debit:
        account = buyer.get("debited_account", "")
        return replace(
            instructions,
            mandate=buyer.get("mandate_reference", ""),
            creditor_id=seller.get("payment.creditor_id", ""),
            debited_account=iban_of(account) or account,
        )
    named = {"30": instructions.account, "58": instructions.iban}.get(instructions.means_code, instructions.means_code)
    return instructions if named else None


def faults(document: TradeDocument, wanted: Format) -> Iterator[Fault]:
    """What the format demands and the document does not say, or says in a way that the format refuses."""
    seller, buyer = document.seller, document.buyer
    yield from _absent(SELLER, {"legal_name": seller.name, "address.country": seller.postal.country})
    yield from _absent(BUYER, {"name": buyer.name, "address_country": buyer.postal.country})
    yield from _missing_for_vat(document)
    if wanted is Format.PEPPOL_UBL and not document.order_reference and not document.is_german(wanted):
        yield from _absent(BUYER, {"buyer_reference": document.buyer_reference})
    if wanted is not Format.FACTURX:
        yield from _absent(SELLER, {"electronic_address.scheme": seller.address_scheme})
        yield from _absent(SELLER, {"electronic_address.id": seller.address_id})
        yield from _absent(BUYER, {"electronic_address_scheme": buyer.address_scheme})
        yield from _absent(BUYER, {"electronic_address_id": buyer.address_id})
    yield from broken_rules(document, wanted)
    if document.type is TypeCode.INVOICE and document.payable > 0 and document.due_on is None:
        yield from _absent(SELLER, {"payment_terms_text": document.terms})


def _missing_for_vat(document: TradeDocument) -> Iterator[Fault]:
    categories = {line.vat.category for line in document.lines}
    seller, buyer = document.seller, document.buyer
    if VatCategory.OUTSIDE_SCOPE in categories:
        yield from _absent(SELLER, {"registration_number": seller.registration})
    elif categories & {VatCategory.INTRA_COMMUNITY, VatCategory.EXPORT}:
        yield from _absent(SELLER, {"vat_id": seller.vat_id})
    else:
        yield from _absent(SELLER, {"vat_id": seller.vat_id or (seller.tax_number and seller.registration)})
    if VatCategory.INTRA_COMMUNITY in categories:
        yield from _absent(BUYER, {"tax_id": buyer.vat_id})
    elif VatCategory.REVERSE_CHARGE in categories:
        yield from _absent(BUYER, {"tax_id": buyer.vat_id or buyer.registration})


def _absent(whose: str, texts: Mapping[str, str]) -> Iterator[Fault]:
    return (Fault(whose, field) for field, text in texts.items() if not text)


def vat_of_untaxed(seller: PartyTexts) -> Vat | None:
    """How what is charged without tax stands to VAT; None if the seller does not say."""
    said = seller.get("default_vat_category")
    if not said:
        return None
    reason = seller.get("default_vat_exemption_reason", "")
    return Vat(VatCategory(said), reason=reason, reason_code=seller.get("default_vat_exemption_code", ""))


def obstacle(fault: Fault) -> tuple[str, str]:
    """The field as the API names it, and what is wrong with it and where a person says it."""
    if fault.whose == SELLER:
        return f"{SELLER}.{fault.field}", f"{fault.problem}: set it under Settings, einvoice_config"
    if fault.whose == BUYER and fault.field in _BUYER_COLUMNS:
        return f"{BUYER}.{fault.field}", f"{fault.problem}: set it on the customer"
    if fault.whose == BUYER:
        return f"{BUYER}.metadata.{fault.field}", f"{fault.problem}: set it in the customer's metadata"
    settable = fault.field.startswith("metadata.")
    return fault.field, f"{fault.problem}: set it in the document's metadata" if settable else fault.problem
