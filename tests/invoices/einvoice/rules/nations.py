"""Sellers and buyers of the countries that have rules of their own in Peppol, of whom everything is said."""

from __future__ import annotations

from typing import Any

from farthing.core.encoding.decoding import convert
from farthing.identity.settings.catalogue import EinvoiceConfig
from farthing.invoices.einvoice.mapping import CarriedRate
from tests.invoices.einvoice.papers import vat

_CONTACT = {"name": "Kim Søndergård", "phone": "+45 12 34 56 78", "email": "billing@example.com"}

SELLERS: dict[str, dict[str, Any]] = {
    "DE": {
        "vat_id": "DE123456789",
        "registration_number": "HRB 4711",
        "address": {"line1": "Hauptstraße 1", "city": "Berlin", "postal_code": "10115", "country": "DE"},
        "electronic_address": {"scheme": "9930", "id": "DE123456789"},
        "payment": {"iban": "DE89370400440532013000", "means_code": "58"},
    },
    "DK": {
        "vat_id": "DK13585628",
        "registration_number": "13 58 56 28",
        "address": {"line1": "Rådhuspladsen 1", "city": "København", "postal_code": "1550", "country": "DK"},
        "electronic_address": {"scheme": "0184", "id": "DK13585628"},
        "payment": {"account_number": "0440116243", "bank_branch": "0040", "means_code": "42"},
    },
    "GR": {
        "vat_id": "GR 090000045",
        "registration_number": "1234567000",
        "address": {"line1": "Ερμού 1", "city": "Αθήνα", "postal_code": "10563", "country": "GR"},
        "electronic_address": {"scheme": "9933", "id": "090000045"},
        "payment": {"iban": "GR1601101250000000012300695", "means_code": "30"},
    },
    "IS": {
        "vat_id": "IS12345",
        "registration_number": "450401-3150",
        "address": {"line1": "Laugavegur 1", "city": "Reykjavík", "postal_code": "101", "country": "IS"},
        "electronic_address": {"scheme": "0196", "id": "4504013150"},
        "payment": {"account_number": "051226123456", "means_code": "42"},
    },
    "IT": {
        "vat_id": "IT00743110157",
        "tax_number": "00743110157",
        "address": {"line1": "Via Roma 1", "city": "Milano", "postal_code": "20121", "country": "IT"},
        "electronic_address": {"scheme": "0211", "id": "IT00743110157"},
        "payment": {"iban": "IT60X0542811101000000123456", "means_code": "58"},
    },
    "NL": {
        "vat_id": "NL004495445B01",
        "registration_number": "27375186",
        "address": {"line1": "Damrak 1", "city": "Amsterdam", "postal_code": "1012 LG", "country": "NL"},
        "electronic_address": {"scheme": "0106", "id": "27375186"},
        "payment": {"iban": "NL91ABNA0417164300", "means_code": "30"},
    },
    "NO": {
        "vat_id": "NO 974 760 673 MVA",
        "tax_number": "Foretaksregisteret",
        "registration_number": "974 760 673",
        "address": {"line1": "Karl Johans gate 1", "city": "Oslo", "postal_code": "0154", "country": "NO"},
        "electronic_address": {"scheme": "0192", "id": "974760673"},
        "payment": {"iban": "NO9386011117947", "means_code": "30"},
    },
    "SE": {
        "vat_id": "SE556036079301",
        "tax_number": "Godkänd för F-skatt",
        "registration_number": "556036-0793",
        "address": {"line1": "Drottninggatan 1", "city": "Stockholm", "postal_code": "111 51", "country": "SE"},
        "electronic_address": {"scheme": "0007", "id": "5560360793"},
        "payment": {"account_number": "9999991", "bank_branch": "SE:BANKGIRO", "means_code": "30"},
    },
    "BE": {
        "vat_id": "BE0202239951",
        "registration_number": "0202239951",
        "address": {"line1": "Grote Markt 1", "city": "Brussel", "postal_code": "1000", "country": "BE"},
        "electronic_address": {"scheme": "0208", "id": "0202239951"},
        "payment": {"iban": "BE68539007547034", "means_code": "30"},
    },
    "CH": {
        "vat_id": "CHE-116.281.710 MWST",
        "registration_number": "CHE-116.281.710",
        "address": {"line1": "Bahnhofstrasse 1", "city": "Zürich", "postal_code": "8001", "country": "CH"},
        "electronic_address": {"scheme": "0088", "id": "7609999000003"},
        "payment": {"iban": "CH9300762011623852957", "means_code": "30"},
    },
}
BUYERS: dict[str, dict[str, str]] = {
    "DE": {
        "address_city": "Bonn",
        "address_postal_code": "53111",
        "tax_id": "DE987654321",
        "electronic_address_scheme": "0204",
        "electronic_address_id": "04011000-12345-34",
    },
    "DK": {
        "address_city": "Aarhus",
        "address_postal_code": "8000",
        "tax_id": "88146328",
        "electronic_address_scheme": "0184",
        "electronic_address_id": "DK88146328",
    },
    "GR": {
        "address_city": "Θεσσαλονίκη",
        "address_postal_code": "54624",
        "tax_id": "EL094014249",
        "electronic_address_scheme": "9933",
        "electronic_address_id": "094014249",
    },
    "IS": {
        "address_city": "Akureyri",
        "address_postal_code": "600",
        "tax_id": "IS54321",
        "registration_number": "5402696459",
        "electronic_address_scheme": "0196",
        "electronic_address_id": "5402696459",
    },
    "IT": {
        "address_city": "Torino",
        "address_postal_code": "10121",
        "tax_id": "IT00743110157",
        "electronic_address_scheme": "0201",
        "electronic_address_id": "UFY9MH",
    },
    "NL": {
        "address_city": "Den Haag",
        "address_postal_code": "2511 AA",
        "tax_id": "NL004495445B01",
        "registration_number": "00000001003214345000",
        "electronic_address_scheme": "0190",
        "electronic_address_id": "00000001003214345000",
    },
    "NO": {
        "address_city": "Bergen",
        "address_postal_code": "5003",
        "tax_id": "NO974760673MVA",
        "electronic_address_scheme": "0192",
        "electronic_address_id": "974760673",
    },
    "SE": {
        "address_city": "Göteborg",
        "address_postal_code": "411 03",
        "tax_id": "SE556036079301",
        "electronic_address_scheme": "0007",
        "electronic_address_id": "5560360793",
    },
    "BE": {
        "address_city": "Gent",
        "address_postal_code": "9000",
        "tax_id": "BE0202239951",
        "electronic_address_scheme": "0208",
        "electronic_address_id": "0202239951",
    },
    "CH": {
        "address_city": "Bern",
        "address_postal_code": "3001",
        "tax_id": "CHE116281710MWST",
        "electronic_address_scheme": "0088",
        "electronic_address_id": "7609999000003",
    },
}
RATES = {
    "DE": ("19", "7"),
    "DK": ("25", "25"),
    "GR": ("24", "13"),
    "IS": ("24", "11"),
    "IT": ("22", "10"),
    "NL": ("21", "9"),
    "NO": ("25", "15"),
    "SE": ("25", "12"),
    "BE": ("21", "6"),
    "CH": ("8.1", "2.6"),
}
NATIONS = sorted(SELLERS)


def seller_of(nation: str, **changes: str) -> dict[str, str]:
    """What a seller of a nation says, with changes by field such as `payment.iban`; an empty one is not said."""
    said = {"legal_name": f"Farthing {nation}", "contact": _CONTACT, "default_vat_category": "Z", **SELLERS[nation]}
    terms = convert(said, EinvoiceConfig).terms("UTC")
    return {name: text for name, text in {**terms, **changes}.items() if text}


def buyer_of(nation: str, **changes: str) -> dict[str, str]:
    """The same of a buyer."""
    said = {
        "name": f"Buyer & Søn {nation}",
        "address_line1": "Street 1",
        "address_country": nation,
        "buyer_reference": "R-1",
        "timezone": "UTC",
        **BUYERS[nation],
        **changes,
    }
    return {name: text for name, text in said.items() if text}


def rates_of(nation: str) -> tuple[CarriedRate, CarriedRate]:
    """The standard rate of a nation, and a reduced one if it has one."""
    standard, reduced = RATES[nation]
    return vat(standard), vat(reduced)
