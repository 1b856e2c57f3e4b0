"""A document as its format and the countries of its parties want it written. Pure; figures stay as they are.

Rule: docs/rules/e-invoices.md#national-rules
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

from farthing.core.standards.party_ids import compact, number_problem
from farthing.invoices.einvoice.model import (
    Format,
    PaymentInstructions,
    SupportingDocument,
    TradeDocument,
    TradeParty,
    TypeCode,
)

GREEK_MARK, GREEK_URL = "##M.AR.K##", "##INVOICE|URL##"
SKONTO = re.compile(r"#SKONTO#TAGE=\d+#PROZENT=\d+\.\d{2}(#BASISBETRAG=-?\d+\.\d{2})?#")
"""A cash discount as Germany wants it in the terms of payment; it is a line of its own."""

_REGISTERS = {"DK": ("0184",), "IS": ("0196",), "NL": ("0106", "0190"), "NO": ("0192",), "SE": ("0007",)}
"""The registers by which a number is named over Peppol, where a country's rules ask for one."""
_GREEK_TYPES = {TypeCode.INVOICE: "2.1", TypeCode.CREDIT_NOTE: "5.1"}
"""Of services, and a credit note on an invoice, by myDATA's list of documents."""
_GREEK_HEAD_OFFICE = _GREEK_NO_SERIES = "0"
_DANISH_CARDS = {"50": "01#", "93": "73#"}
"""Giro and FIK payments that carry no number of their own (kortartkode)."""


def seller_nation(document: TradeDocument) -> str:
    """The country whose rules a seller keeps: of its VAT identifier, else of its address. Greece is EL."""
    nation = document.seller.vat_id[:2] or document.seller.postal.country
    return "EL" if nation == "GR" else nation


def buyer_nation(document: TradeDocument) -> str:
    """The same of the buyer."""
    nation = document.buyer.vat_id[:2] or document.buyer.postal.country
    return "EL" if nation == "GR" else nation


def adapted(document: TradeDocument, wanted: Format) -> TradeDocument:
    """The document as it is written in a format."""
    if wanted is Format.FACTURX:
        return document
    if document.payment is not None and document.payment.is_direct_debit:
        # whoever collects the money names no account to pay to
        collected = replace(document.payment, iban="", bic="", account_name="", account_number="", bank_branch="")
        document = replace(document, payment=collected)
    if document.is_german(wanted) and SKONTO.fullmatch(document.terms):
        document = replace(document, terms=document.terms + "\n")
    return _over_peppol(document) if wanted is Format.PEPPOL_UBL else document


def _over_peppol(document: TradeDocument) -> TradeDocument:
    document = replace(document, seller=_registered(document.seller), buyer=_registered(document.buyer))
    if document.seller.postal.country == document.buyer.postal.country == "DK" and document.payment is not None:
        document = replace(document, payment=_danish(document.payment))
    return _greek(document) if seller_nation(document) == "EL" else document


def _registered(party: TradeParty) -> TradeParty:
    """The party with its register named, if its number is one of that register."""
    number = compact(party.registration)
    if party.postal.country == "DK" and number.isdigit():
        number = f"DK{number}"
    schemes = _REGISTERS.get(party.postal.country, ())
    scheme = next((each for each in schemes if number and number_problem(each, number) is None), "")
    return replace(party, registration=number, registration_scheme=scheme) if scheme else party


def _danish(payment: PaymentInstructions) -> PaymentInstructions:
    return replace(payment, reference=_DANISH_CARDS.get(payment.means_code, ""))


def _greek(document: TradeDocument) -> TradeDocument:
    """The number is said with seller, day, branch, type and series, as the document is registered in myDATA."""
    taxpayer = document.seller.vat_id[2:]
    supporting = []
    if document.mark:
        supporting.append(SupportingDocument(GREEK_MARK, document.mark))
    if document.mark and document.mark_url:
        supporting.append(SupportingDocument(GREEK_URL, document.mark, document.mark_url))
    preceding = document.preceding
    if preceding is not None and preceding.issued is not None:
        number = _greek_number(taxpayer, preceding.issued, TypeCode.INVOICE, preceding.number)
        preceding = replace(preceding, number=number)
    return replace(
        document,
        number=_greek_number(taxpayer, document.issued, document.type, document.number),
        preceding=preceding,
        seller=replace(document.seller, trading_name=document.seller.name),
        buyer=replace(document.buyer, trading_name=document.buyer.name),
        supporting=tuple(supporting),
    )


def _greek_number(taxpayer: str, day: date, type_code: TypeCode, number: str) -> str:
    parts = (taxpayer, f"{day:%d/%m/%Y}", _GREEK_HEAD_OFFICE, _GREEK_TYPES[type_code], _GREEK_NO_SERIES, number)
    return "|".join(parts)
