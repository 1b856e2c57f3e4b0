"""What the fields of a customer must look like; each check returns the stored form or refuses, naming the field."""

from __future__ import annotations

import re
from collections.abc import Mapping

from farthing.calendar.zones import zone
from farthing.core.encoding.wire import BadField, checked_metadata
from farthing.core.errors import ValidationFailed
from farthing.core.standards import trade_codes
from farthing.core.standards.email_address import is_email_address

DEFAULT_TIMEZONE = "UTC"


def email_address(field: str, text: str) -> str:
    """An address that mail could be sent to, or "" for none. Raises BadField."""
    if text and not is_email_address(text):
        raise BadField(field, "must be an email address such as ada@example.com")
    return text


def country(field: str, code: str) -> str:
    """An officially assigned ISO 3166-1 alpha-2 code in upper case, or "" for none. Raises BadField."""
    if code and code not in trade_codes.countries():
        raise BadField(field, "must be a two-letter ISO 3166-1 country code in upper case, such as DE")
    return code


def timezone(field: str, name: str) -> str:
    """An IANA time zone name; "" is UTC. Raises BadField."""
    try:
        zone(name, field)
    except ValidationFailed as error:
        raise BadField(field, error.details[field]) from error
    return name or DEFAULT_TIMEZONE


_GSTIN = re.compile(r"[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][A-Z0-9]Z[A-Z0-9]")
_PAN = re.compile(r"[A-Z]{5}[0-9]{4}[A-Z]")
_HSN_SAC = re.compile(r"[0-9]{4}|[0-9]{6}|[0-9]{8}")
_PAN_IN_GSTIN = slice(2, 12)


def metadata(entries: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata within its limits, whose tax numbers, if any, are well-formed; None is empty. Raises ValidationFailed.

    Tax numbers are checked trimmed and in upper case, and stored as given.
    Rule: docs/rules/customers.md#tax-numbers
    """
    checked = checked_metadata(entries)
    gstin, pan = (checked.get(key, "").strip().upper() for key in ("gstin", "pan"))
    if gstin and not _GSTIN.fullmatch(gstin):
        raise ValidationFailed.of("metadata.gstin", "must be a GSTIN of 15 characters such as 27AAPFU0939F1ZV")
    if pan and not _PAN.fullmatch(pan):
        raise ValidationFailed.of("metadata.pan", "must be a PAN of 10 characters such as AAPFU0939F")
    if gstin and pan and gstin[_PAN_IN_GSTIN] != pan:
        raise ValidationFailed.of("metadata.pan", "must equal characters 3 to 12 of gstin")
    hsn_sac = checked.get("hsn_sac", "")
    if hsn_sac and not _HSN_SAC.fullmatch(hsn_sac):
        raise ValidationFailed.of("metadata.hsn_sac", "must be 4, 6 or 8 digits")
    return checked


def buyer_metadata(entries: Mapping[str, str] | None) -> dict[str, str]:
    """The same for a customer, whose metadata also says how e-invoices name it. Raises ValidationFailed.

    Rule: docs/rules/e-invoices.md#where-things-are-said
    """
    checked = metadata(entries)
    trade_codes.check_buyer(checked)
    return checked


def tax_id(field: str, text: str) -> str:
    """The customer's VAT or other tax number, or "" for none. Raises BadField."""
    problem = trade_codes.reference_problem(text) if text else None
    if problem:
        raise BadField(field, problem)
    return text
