"""The rules of Peppol and of single countries as a table: whom and which field each one is about, and what it wants.

Each row is a rule of the published rule sets of Peppol BIS Billing 3 and XRechnung, by its identifiers there. Rules
that a document of ours keeps by its making, such as those of attachments, have no row.
Rule: docs/rules/e-invoices.md#national-rules
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from farthing.core.money import plain
from farthing.core.standards import party_ids
from farthing.core.standards.trade_codes import VatCategory, exemption_problem, is_peppol_scheme
from farthing.invoices.einvoice.model import Format, PaymentInstructions, TradeDocument, TradeParty, TypeCode
from farthing.invoices.einvoice.national.adapted import SKONTO, buyer_nation, seller_nation

SELLER, BUYER, DOCUMENT = "einvoice_config", "customer", "document"
MISSING = "is missing"

Condition = Callable[[TradeDocument], bool]
Text = Callable[[TradeDocument], str]


@dataclass(frozen=True, slots=True)
class Check:
    """A text that has to be there, or if `optional` may be left out, and what it must be where it is there."""

    ids: str
    applies: Condition
    whose: str
    field: str
    text: Text
    form: Callable[[str], bool] | None = None
    must: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A field that a format demands and that is missing, or that says what the format refuses."""

    whose: str
    field: str
    problem: str = MISSING

    @property
    def is_missing(self) -> bool:
        return self.problem == MISSING


def broken_rules(document: TradeDocument, wanted: Format) -> Iterator[Fault]:
    """What the network and the countries of the parties refuse in an adapted document."""
    for rules, holds in _TABLES:
        if not holds(document, wanted):
            continue
        for rule in rules:
            if rule.applies(document):
                yield from _fault(rule, rule.text(document))


def _fault(rule: Check, text: str) -> Iterator[Fault]:
    if not text.strip():
        if not rule.optional:
            yield Fault(rule.whose, rule.field)
    elif rule.form is not None and not rule.form(text):
        yield Fault(rule.whose, rule.field, rule.must)


# what rules ask


def _always(document: TradeDocument) -> bool:
    return True


def _sold_from(nation: str) -> Condition:
    return lambda document: seller_nation(document) == nation


def _located_in(country: str) -> Condition:
    return lambda document: document.seller.postal.country == country


def _within(country: str) -> Condition:
    return lambda document: document.seller.postal.country == document.buyer.postal.country == country


def _both(first: Condition, second: Condition) -> Condition:
    return lambda document: first(document) and second(document)


def _is_invoice(document: TradeDocument) -> bool:
    return document.type is TypeCode.INVOICE


def _is_payable(document: TradeDocument) -> bool:
    return document.payable > 0


def _paid_by(*codes: str) -> Condition:
    return lambda document: document.payment is not None and document.payment.means_code in codes


def _is_direct_debit(document: TradeDocument) -> bool:
    return document.payment is not None and document.payment.is_direct_debit


def _of_seller(text: Callable[[TradeParty], str]) -> Text:
    return lambda document: text(document.seller)


def _of_buyer(text: Callable[[TradeParty], str]) -> Text:
    return lambda document: text(document.buyer)


def _of_payment(text: Callable[[PaymentInstructions], str]) -> Text:
    return lambda document: text(document.payment) if document.payment is not None else ""


def _one_of(*allowed: str) -> Callable[[str], bool]:
    return lambda text: text in allowed


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_means = _of_payment(lambda payment: payment.means_code)
_account = _of_payment(lambda payment: payment.account)
_branch = _of_payment(lambda payment: payment.branch)
_mandate = _of_payment(lambda payment: payment.mandate)
_creditor = _of_payment(lambda payment: payment.creditor_id)
_debited = _of_payment(lambda payment: payment.debited_account)
_seller_street, _buyer_street = (
    _of_seller(lambda party: party.postal.line1),
    _of_buyer(lambda party: party.postal.line1),
)
_seller_city, _buyer_city = _of_seller(lambda party: party.postal.city), _of_buyer(lambda party: party.postal.city)
_seller_post_code = _of_seller(lambda party: party.postal.postal_code)
_buyer_post_code = _of_buyer(lambda party: party.postal.postal_code)
_seller_register, _buyer_register = (
    _of_seller(lambda party: party.registration),
    _of_buyer(lambda party: party.registration),
)
_seller_vat, _buyer_vat = _of_seller(lambda party: party.vat_id), _of_buyer(lambda party: party.vat_id)
_seller_tax_number = _of_seller(lambda party: party.tax_number)
_seller_scheme, _buyer_scheme = (
    _of_seller(lambda party: party.address_scheme),
    _of_buyer(lambda party: party.address_scheme),
)
_seller_address, _buyer_address = _of_seller(lambda party: party.address_id), _of_buyer(lambda party: party.address_id)


def _unknown_number(party: TradeParty) -> str:
    """What is wrong with an electronic address, as the text of a rule that no text keeps."""
    return party_ids.number_problem(party.address_scheme, party.address_id) or ""


def _contradicting_codes(document: TradeDocument) -> str:
    return ", ".join(
        group.vat.reason_code
        for group in document.breakdown
        if exemption_problem(group.vat.category, group.vat.reason, group.vat.reason_code) and group.vat.reason_code
    )


def _unknown_swedish_rates(document: TradeDocument) -> str:
    rates = (group.vat.percentage for group in document.breakdown if group.vat.category is VatCategory.STANDARD)
    return ", ".join(plain(rate) for rate in rates if plain(rate) not in {"6", "12", "25"})


def _never(text: str) -> bool:
    return False


def _is_danish(number: str) -> bool:
    return party_ids.number_problem("0184", number) is None


def _is_dutch(number: str) -> bool:
    return any(party_ids.number_problem(scheme, number) is None for scheme in ("0106", "0190"))


def _is_icelandic(number: str) -> bool:
    return party_ids.number_problem("0196", number) is None


def _is_norwegian_vat(vat_id: str) -> bool:
    return not vat_id.startswith("NO") or party_ids.is_norwegian_organisation(vat_id[2:11])


def _is_greek_vat(vat_id: str) -> bool:
    return vat_id.startswith("EL") and party_ids.is_greek_taxpayer(vat_id[2:])


_KVK_OR_OIN = "must be a KVK number of 8 digits or an OIN of 20"
_CVR = "must be the CVR number: 8 digits"
_KENNITALA = "must be the kennitala: 10 digits"
_AFM = "must be EL and the tax number (AFM): 9 digits with a right check digit"
_NETWORK = "must be a scheme that the Peppol network knows, such as 0088, 0204 or 9930"
_GREEK_SCHEME = "must be 9933, the tax number (AFM)"

_PEPPOL = (
    Check("PEPPOL-EN16931-CL008", _always, SELLER, "electronic_address.scheme", _seller_scheme, is_peppol_scheme,
          _NETWORK, optional=True),
    Check("PEPPOL-EN16931-CL008", _always, BUYER, "electronic_address_scheme", _buyer_scheme, is_peppol_scheme,
          _NETWORK, optional=True),
    Check("PEPPOL-COMMON-R040 to R057", _always, SELLER, "electronic_address.id", _of_seller(_unknown_number), _never,
          "must be a number of its scheme, with right check digits", optional=True),
    Check("PEPPOL-COMMON-R040 to R057", _always, BUYER, "electronic_address_id", _of_buyer(_unknown_number), _never,
          "must be a number of its scheme, with right check digits", optional=True),
    Check("PEPPOL-EN16931-P0104 to P0111", _always, DOCUMENT, "line_items.taxes", _contradicting_codes, _never,
          "must not give a reason for charging no VAT that stands for another category", optional=True),

    Check("NO-R-001", _sold_from("NO"), SELLER, "vat_id", _seller_vat, _is_norwegian_vat,
          "must be NO, an organisation number with a right check digit, and MVA", optional=True),

    Check("DK-R-002 DK-R-014 PEPPOL-COMMON-R042", _located_in("DK"), SELLER, "registration_number", _seller_register,
          _is_danish, _CVR),
    Check("DK-R-017", _within("DK"), BUYER, "registration_number", _buyer_register, _is_danish, _CVR, optional=True),
    Check("DK-R-005", _both(_within("DK"), _is_invoice), SELLER, "payment.means_code", _means,
          _one_of("1", "10", "31", "42", "48", "49", "50", "58", "59", "93", "97"),
          "must be 1, 10, 31, 42, 48, 49, 50, 58, 59, 93 or 97 between Danish parties", optional=True),
    Check("DK-R-006", _both(_within("DK"), _paid_by("31", "42")), SELLER, "payment.account_number", _account),
    Check("DK-R-006", _both(_within("DK"), _paid_by("31", "42")), SELLER, "payment.bank_branch", _branch),
    Check("DK-R-007", _both(_within("DK"), _paid_by("49")), BUYER, "debited_account", _debited),
    Check("DK-R-008 DK-R-009", _both(_within("DK"), _paid_by("50")), SELLER, "payment.account_number", _account,
          _matches("[0-9]{7}"), "must be a giro account of 7 digits with means_code 50"),
    Check("DK-R-010 DK-R-011", _both(_within("DK"), _paid_by("93")), SELLER, "payment.account_number", _account,
          _matches("[0-9]{8}"), "must be a FIK creditor number of 8 digits with means_code 93"),

    Check("IT-R-001", _sold_from("IT"), SELLER, "tax_number", _seller_tax_number, _matches("[A-Z0-9]{11,16}"),
          "must be an Italian tax code (codice fiscale) of 11 to 16 letters and digits", optional=True),
    Check("IT-R-002", _sold_from("IT"), SELLER, "address.line1", _seller_street),
    Check("IT-R-003", _sold_from("IT"), SELLER, "address.city", _seller_city),
    Check("IT-R-004", _sold_from("IT"), SELLER, "address.postal_code", _seller_post_code),

    Check("SE-R-003 SE-R-004 SE-R-013", _located_in("SE"), SELLER, "registration_number", _seller_register,
          party_ids.is_swedish_organisation, "must be an organisation number: 10 digits with a right check digit",
          optional=True),
    Check("SE-R-005", _both(_located_in("SE"), lambda document: bool(document.seller.registration)), SELLER,
          "tax_number", _seller_tax_number, lambda text: text.upper() == "GODKÄND FÖR F-SKATT",
          "must be Godkänd för F-skatt, or be left empty", optional=True),
    Check("SE-R-006", _both(_located_in("SE"), lambda document: document.seller.vat_id.startswith("SE")), DOCUMENT,
          "line_items.taxes", _unknown_swedish_rates, _never, "must be 6, 12 or 25 %, the rates of Swedish VAT",
          optional=True),
    Check("SE-R-007 SE-R-010", _both(_located_in("SE"), lambda document: _branch(document) == "SE:PLUSGIRO"), SELLER,
          "payment.account_number", _account, _matches("[0-9]{2,8}"), "must be a plusgiro number of 2 to 8 digits"),
    Check("SE-R-008 SE-R-009", _both(_located_in("SE"), lambda document: _branch(document) == "SE:BANKGIRO"), SELLER,
          "payment.account_number", _account, _matches("[0-9]{7,8}"), "must be a bankgiro number of 7 or 8 digits"),
    Check("SE-R-011", _both(_located_in("SE"), _paid_by("50", "56")), SELLER, "payment.means_code", _means, _never,
          "must be 30, with bank_branch SE:BANKGIRO or SE:PLUSGIRO"),
    Check("SE-R-012", _both(_within("SE"), _paid_by("31")), SELLER, "payment.means_code", _means, _never,
          "must be 30 for a credit transfer between Swedish parties"),

    Check("GR-R-003 GR-S-011 GR-R-001-2", _sold_from("EL"), SELLER, "vat_id", _seller_vat, _is_greek_vat, _AFM),
    Check("GR-R-001-6", _sold_from("EL"), DOCUMENT, "number", lambda document: document.number,
          lambda number: number.count("|") == 5, "must not contain |, which parts the number in Greece"),
    Check("GR-R-009", _sold_from("EL"), SELLER, "electronic_address.scheme", _seller_scheme, _one_of("9933"),
          _GREEK_SCHEME, optional=True),
    Check("GR-R-010", _both(_sold_from("EL"), lambda document: buyer_nation(document) == "EL"), BUYER,
          "electronic_address_scheme", _buyer_scheme, _one_of("9933"), _GREEK_SCHEME, optional=True),
    Check("GR-R-006", _both(_sold_from("EL"), lambda document: buyer_nation(document) == "EL"), BUYER, "tax_id",
          _buyer_vat, _is_greek_vat, _AFM),
    Check("GR-R-004-1 GR-R-004-2", _both(_sold_from("EL"), _located_in("GR")), DOCUMENT, "metadata.mydata_mark",
          lambda document: document.mark, _matches("[1-9][0-9]*"), "must be the MARK, a number, that myDATA answered"),

    Check("IS-R-002", _located_in("IS"), SELLER, "registration_number", _seller_register, _is_icelandic, _KENNITALA),
    Check("IS-R-003", _located_in("IS"), SELLER, "address.line1", _seller_street),
    Check("IS-R-003", _located_in("IS"), SELLER, "address.postal_code", _seller_post_code),
    Check("IS-R-004", _within("IS"), BUYER, "registration_number", _buyer_register, _is_icelandic, _KENNITALA),
    Check("IS-R-005", _within("IS"), BUYER, "address_line1", _buyer_street),
    Check("IS-R-005", _within("IS"), BUYER, "address_postal_code", _buyer_post_code),
    Check("IS-R-006 IS-R-007", _both(_located_in("IS"), _paid_by("9", "42")), SELLER, "payment.account_number",
          _account, _matches("[0-9]{12}"), "must have 12 digits with means_code 9 or 42"),

    Check("NL-R-002", _located_in("NL"), SELLER, "address.line1", _seller_street),
    Check("NL-R-002", _located_in("NL"), SELLER, "address.city", _seller_city),
    Check("NL-R-002", _located_in("NL"), SELLER, "address.postal_code", _seller_post_code),
    Check("NL-R-003", _located_in("NL"), SELLER, "registration_number", _seller_register, _is_dutch, _KVK_OR_OIN,
          optional=True),
    Check("NL-R-004", _within("NL"), BUYER, "address_line1", _buyer_street),
    Check("NL-R-004", _within("NL"), BUYER, "address_city", _buyer_city),
    Check("NL-R-004", _within("NL"), BUYER, "address_postal_code", _buyer_post_code),
    Check("NL-R-005", _within("NL"), BUYER, "registration_number", _buyer_register, _is_dutch, _KVK_OR_OIN,
          optional=True),
    Check("NL-R-007", _both(_located_in("NL"), _is_payable), SELLER, "payment.iban", _means),
    Check("NL-R-008", _located_in("NL"), SELLER, "payment.means_code", _means,
          _one_of("30", "48", "49", "57", "58", "59"), "must be 30, 48, 49, 57, 58 or 59 for a Dutch seller",
          optional=True),
)  # fmt: skip

_MANDATES = (
    Check("PEPPOL-EN16931-R061", _is_direct_debit, BUYER, "mandate_reference", _mandate),
)  # fmt: skip

_GERMAN = (
    Check("BR-DE-1 DE-R-001", _always, SELLER, "payment.iban", _means),
    Check("BR-DE-2 BR-DE-5 DE-R-002 DE-R-005", _always, SELLER, "contact.name",
          _of_seller(lambda party: party.contact_name)),
    Check("BR-DE-3 DE-R-003", _always, SELLER, "address.city", _seller_city),
    Check("BR-DE-4 DE-R-004", _always, SELLER, "address.postal_code", _seller_post_code),
    Check("BR-DE-6 DE-R-006", _always, SELLER, "contact.phone", _of_seller(lambda party: party.phone)),
    Check("BR-DE-7 DE-R-007", _always, SELLER, "contact.email", _of_seller(lambda party: party.email)),
    Check("BR-DE-8 DE-R-008", _always, BUYER, "address_city", _buyer_city),
    Check("BR-DE-9 DE-R-009", _always, BUYER, "address_postal_code", _buyer_post_code),
    Check("BR-DE-15 DE-R-015", _always, BUYER, "buyer_reference", lambda document: document.buyer_reference),
    Check("BR-DE-18 DE-R-018", lambda document: document.terms.startswith("#"), SELLER, "payment_terms_text",
          lambda document: document.terms.rstrip("\n"), lambda text: SKONTO.fullmatch(text) is not None,
          "must not begin with #, except for a cash discount such as #SKONTO#TAGE=14#PROZENT=2.00#"),
    Check("BR-DE-24-a DE-R-024-1", lambda document: document.payment is not None and document.payment.is_card, SELLER,
          "payment.means_code", _means, _never,
          "must not be 48, 54 or 55: the number of a card would be demanded, and none is kept"),
    Check("BR-DE-30 DE-R-030", _is_direct_debit, SELLER, "payment.creditor_id", _creditor),
    Check("BR-DE-31 DE-R-031", _is_direct_debit, BUYER, "debited_account", _debited),
)  # fmt: skip

_TABLES: tuple[tuple[tuple[Check, ...], Callable[[TradeDocument, Format], bool]], ...] = (
    (_PEPPOL, lambda document, wanted: wanted is Format.PEPPOL_UBL),
    (_MANDATES, lambda document, wanted: wanted is not Format.FACTURX),
    (_GERMAN, lambda document, wanted: document.is_german(wanted)),
)
