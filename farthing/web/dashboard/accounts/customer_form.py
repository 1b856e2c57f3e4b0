"""The fields of a customer: who it is, where it is, and how invoices and e-invoices name it."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

from babel import Locale

from farthing.core.languages import LANGUAGES
from farthing.core.trade_codes import countries
from farthing.customers.tables import TaxTreatment
from farthing.web.forms.fields import FieldKind, FormField, FormSection, Sections, metadata_rows

_CUSTOMER = FormSection(
    "Customer",
    (
        FormField("name", "Name", required=True, hint="As invoices address it"),
        FormField("external_id", "Your id for it", required=True, hint="Events carry it: customer-42"),
        FormField("email", "E-mail", FieldKind.EMAIL, longest=320, hint="Where invoices go"),
        FormField("contact", "Telephone", longest=20),
    ),
)
_ADDRESS = (
    FormField("address_line1", "Street"),
    FormField("address_line2", "Second line"),
    FormField("address_postal_code", "Postal code", longest=20),
    FormField("address_city", "City", longest=100),
    FormField("address_state", "State or region", longest=100),
)
_LANGUAGE = FormField(
    "language",
    "Language",
    FieldKind.CHOICE,
    options=tuple(LANGUAGES.items()),
    placeholder="Not said",
    hint="Of its mails and its portal",
)
_CURRENCY = FormField(
    "billing_currency",
    "Billed in",
    longest=3,
    placeholder="each subscription's currency",
    hint="Invoices in another currency are converted to it",
)
_TAXES = FormSection(
    "Taxes",
    (
        FormField(
            "tax_treatment",
            "Taxes",
            FieldKind.CHOICE,
            required=True,
            initial=TaxTreatment.TAXABLE.value,
            options=((TaxTreatment.TAXABLE.value, "Are charged"), (TaxTreatment.EXEMPT.value, "Are not charged")),
        ),
        FormField("tax_id", "VAT or tax id", longest=100, placeholder="DE123456789"),
        FormField("metadata.gstin", "GSTIN", hint="In India"),
        FormField("metadata.pan", "PAN", hint="In India"),
    ),
    "Which rates it is charged stands in the catalogue, under Taxes.",
)
_E_INVOICES = FormSection(
    "E-invoices",
    (
        FormField("metadata.buyer_reference", "Buyer reference", hint="Such as a Leitweg-ID", longest=200),
        FormField("metadata.order_reference", "Order number", longest=200),
        FormField(
            "metadata.electronic_address_scheme",
            "Scheme of the electronic address",
            placeholder="0204",
            hint="A code of the EAS list: EM is e-mail",
        ),
        FormField("metadata.electronic_address_id", "Electronic address", longest=200),
    ),
    folded=True,
)


@cache
def customer_form() -> Sections:
    """The form of a new customer and of a change."""
    country = FormField("address_country", "Country", FieldKind.CHOICE, options=_countries(), placeholder="Not said")
    zone = FormField(
        "timezone",
        "Time zone",
        FieldKind.CHOICE,
        required=True,
        options=_zones(),
        initial="UTC",
        hint="Of the days of new subscriptions; those there are keep theirs",
    )
    return (
        _CUSTOMER,
        FormSection("Address", (*_ADDRESS, country)),
        FormSection("Money, time and language", (_CURRENCY, zone, _LANGUAGE)),
        _TAXES,
        _E_INVOICES,
        FormSection("Metadata", (metadata_rows(),), folded=True),
    )


def _countries() -> list[tuple[str, str]]:
    names = Locale("en").territories
    return sorted(((code, names.get(code, code)) for code in countries()), key=lambda option: option[1])


def _zones() -> list[tuple[str, str]]:
    common = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
    return [("UTC", "UTC"), *((name, name.replace("_", " ")) for name in common)]
