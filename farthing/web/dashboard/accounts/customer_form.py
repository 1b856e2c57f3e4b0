"""The fields of a customer: who it is, where it is, and how invoices and e-invoices name it."""

from __future__ import annotations

from functools import cache

from farthing.core.standards.languages import LANGUAGES
from farthing.customers.tables import TaxTreatment
from farthing.web.forms.fields import FieldKind, FormField, FormRows, FormSection, Sections, metadata_rows
from farthing.web.forms.places import address_fields, zones

MAIN_CONTACT = "yes"
"""What the form says of the contact person who is asked first."""
_CUSTOMER = FormSection(
    "Customer",
    (
        FormField("name", "Name", required=True, hint="As invoices address it"),
        FormField("external_id", "Your id for it", hint="Events carry it: customer-42. Blank: it is made of the name"),
        FormField("email", "E-mail", FieldKind.EMAIL, longest=320, hint="Where invoices go"),
        FormField("contact", "Telephone", longest=20),
    ),
)
_CONTACT_PERSON = (
    FormField("first_name", "First name"),
    FormField("last_name", "Last name"),
    FormField("email", "E-mail", FieldKind.EMAIL, longest=320),
    FormField("designation", "Role", placeholder="Accounts"),
    FormField("is_primary", "First to ask", FieldKind.CHOICE, options=((MAIN_CONTACT, "Yes"),), placeholder="No"),
    FormField("id", "", FieldKind.HIDDEN),
)
_CONTACT_PERSONS = FormSection(
    "Contact persons",
    (
        FormRows(
            "contact_persons",
            "Contact persons",
            "contact person",
            _CONTACT_PERSON,
            "Whom to talk to there; one is asked first.",
        ),
    ),
    folded=True,
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
    FieldKind.CURRENCY,
    longest=3,
    placeholder="each subscription's currency",
    hint="Invoices in another currency are converted to it",
)
_TAX_ID = FormField("tax_id", "VAT or tax id", longest=100, placeholder="DE123456789")
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
        _TAX_ID,
        FormField("metadata.gstin", "GSTIN", hint="In India"),
        FormField("metadata.pan", "PAN", hint="In India"),
    ),
    "Which rates it is charged stands in the catalogue, under Taxes.",
)
_ORDER = (
    FormField("metadata.buyer_reference", "Buyer reference", hint="Such as a Leitweg-ID", longest=200),
    FormField("metadata.order_reference", "Order number", longest=200),
)
_REGISTER = FormField(
    "metadata.registration_number", "Number in a register", hint="Beside a VAT id, such as a CVR", longest=200
)
_DIRECT_DEBIT = (
    FormField("metadata.mandate_reference", "Mandate", hint="Of a direct debit", longest=200),
    FormField("metadata.debited_account", "Debited account", hint="An IBAN", longest=200),
)
_ELECTRONIC_ADDRESS = (
    FormField(
        "metadata.electronic_address_scheme",
        "Scheme of the electronic address",
        placeholder="0204",
        hint="A code of the EAS list: EM is e-mail",
    ),
    FormField("metadata.electronic_address_id", "Electronic address", longest=200),
)
_E_INVOICES = FormSection("E-invoices", (*_ORDER, _REGISTER, *_DIRECT_DEBIT, *_ELECTRONIC_ADDRESS), folded=True)


@cache
def billing_form() -> Sections:
    """How invoices and e-invoices name a customer: that part of its whole form."""
    return (
        FormSection("Address", address_fields("address_")),
        FormSection("Tax and register", (_TAX_ID, _REGISTER)),
        FormSection("Its references", _ORDER, "E-invoices carry them; public buyers ask for one."),
        FormSection("Direct debit", _DIRECT_DEBIT),
        FormSection("Where e-invoices reach it", _ELECTRONIC_ADDRESS),
    )


@cache
def customer_form(own_zone: str = "UTC") -> Sections:
    """The form of a new customer, who is in `own_zone` unless somebody says otherwise, and of a change."""
    zone = FormField(
        "timezone",
        "Time zone",
        FieldKind.CHOICE,
        required=True,
        options=zones(),
        initial=own_zone,
        hint="Of the days of new subscriptions; those there are keep theirs",
    )
    return (
        _CUSTOMER,
        FormSection("Address", address_fields("address_")),
        _CONTACT_PERSONS,
        FormSection("Money, time and language", (_CURRENCY, zone, _LANGUAGE)),
        _TAXES,
        _E_INVOICES,
        FormSection("Metadata", (metadata_rows(),), folded=True),
    )
