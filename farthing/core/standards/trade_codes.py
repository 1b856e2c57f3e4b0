"""The code lists of electronic invoices, and the checks of the few metadata keys that hold such codes.

What a customer, a tax rate, a feature or a price says for e-invoices is metadata; it is checked here when it is
written, so that a document is never refused later for a code that no list has.
Rule: docs/rules/e-invoices.md#where-things-are-said
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib.resources import files

from farthing.core.errors import ValidationFailed
from farthing.core.standards.party_ids import number_problem

LONGEST_REFERENCE = 200
DIRECT_DEBITS = frozenset({"49", "59"})
"""The ways to pay in which the seller collects the money."""

_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_BIC = re.compile(r"[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?")
_VAT_FORMS = {
    "AT": r"U\d{8}",
    "BE": r"[01]\d{9}",
    "BG": r"\d{9,10}",
    "CH": r"E\d{9}(MWST|TVA|IVA)?",
    "CY": r"\d{8}[A-Z]",
    "CZ": r"\d{8,10}",
    "DE": r"\d{9}",
    "DK": r"\d{8}",
    "EE": r"\d{9}",
    "EL": r"\d{9}",
    "ES": r"[A-Z0-9]\d{7}[A-Z0-9]",
    "FI": r"\d{8}",
    "FR": r"[A-Z0-9]{2}\d{9}",
    "GB": r"\d{9}|\d{12}|(GD|HA)\d{3}",
    "HR": r"\d{11}",
    "HU": r"\d{8}",
    "IE": r"\d[A-Z0-9+*]\d{5}[A-Z]{1,2}",
    "IT": r"\d{11}",
    "LT": r"\d{9}|\d{12}",
    "LU": r"\d{8}",
    "LV": r"\d{11}",
    "MT": r"\d{8}",
    "NL": r"\d{9}B\d{2}",
    "NO": r"\d{9}MVA",
    "PL": r"\d{10}",
    "PT": r"\d{9}",
    "RO": r"\d{2,10}",
    "SE": r"\d{12}",
    "SI": r"\d{8}",
    "SK": r"\d{10}",
    "XI": r"\d{9}|\d{12}|(GD|HA)\d{3}",
}
"""What follows the country in a VAT identifier; without these forms a register number such as HRB 12 would pass."""
_VAT_PREFIXES = {"GR": "EL"}
"""Countries whose VAT identifiers begin with other letters than their ISO code."""
_VAT_FORM_ELSEWHERE = r"(?=(.*\d){5})[A-Z0-9]{5,13}"
_SEPARATORS = re.compile(r"[\s.\-/]")


class VatCategory(StrEnum):
    """How a supply stands to VAT, by the letters of UNTDID 5305."""

    STANDARD = "S"
    ZERO_RATED = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    INTRA_COMMUNITY = "K"
    EXPORT = "G"
    OUTSIDE_SCOPE = "O"

    @property
    def needs_reason(self) -> bool:
        """Whether the document must say why no VAT is charged."""
        return self not in {VatCategory.STANDARD, VatCategory.ZERO_RATED}


@cache
def _listed(name: str) -> frozenset[str]:
    lists = tomllib.loads(files("farthing.core.standards").joinpath("code_lists.toml").read_text("utf-8"))
    return frozenset(lists[name].split())


@cache
def countries() -> frozenset[str]:
    """The officially assigned ISO 3166-1 alpha-2 codes."""
    # part of the pinned time zone package, and kept up to date with it
    table = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text("utf-8")
    return frozenset(line.split("\t")[0] for line in table.splitlines() if line and not line.startswith("#"))


def is_address_scheme(code: str) -> bool:
    """Whether `code` is a kind of electronic address, such as 0204 (Leitweg-ID) or EM (e-mail)."""
    return code in _listed("address_schemes")


def is_peppol_scheme(code: str) -> bool:
    """Whether the Peppol network knows electronic addresses of the kind `code`; e-mail, for instance, it does not."""
    return code in _listed("peppol_address_schemes")


def is_payment_means(code: str) -> bool:
    """Whether `code` is a way to pay, such as 30 (credit transfer) or 58 (SEPA credit transfer)."""
    return code in _listed("payment_means")


def is_unit(code: str) -> bool:
    """Whether `code` is a unit of measure, such as C62 (one), HUR (hour) or E34 (gigabyte)."""
    return code in _listed("units")


def is_exemption_code(code: str) -> bool:
    """Whether `code` is a reason for an exemption from VAT, such as VATEX-EU-AE."""
    return code in _listed("exemption_codes")


def vat_id_of(text: str) -> str | None:
    """A VAT identifier without its separators and in upper case; None for a number that begins with no country."""
    compact = _SEPARATORS.sub("", text).upper()
    country, number = _VAT_PREFIXES.get(compact[:2], compact[:2]), compact[2:]
    if country not in countries() and country not in _VAT_FORMS:
        return None
    return country + number if re.fullmatch(_VAT_FORMS.get(country, _VAT_FORM_ELSEWHERE), number) else None


def iban_of(text: str) -> str | None:
    """An IBAN without spaces; None for one whose check digits are wrong."""
    compact = text.replace(" ", "").upper()
    if not _IBAN.fullmatch(compact):
        return None
    moved = compact[4:] + compact[:4]
    return compact if int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1 else None


def is_bic(text: str) -> bool:
    """Whether `text` has the form of a bank's identifier."""
    return _BIC.fullmatch(text) is not None


def check_unit_code(metadata: Mapping[str, str]) -> None:
    """Raise ValidationFailed for a `unit_code` that is no unit of measure."""
    code = metadata.get("unit_code")
    if code is not None and not is_unit(code):
        raise ValidationFailed.of("metadata.unit_code", "must be a code of UN/ECE Recommendation 20 such as HUR")


_BUYER_TEXTS = (
    "buyer_reference",
    "order_reference",
    "tax_id",
    "registration_number",
    "mandate_reference",
    "electronic_address_id",
)


def check_buyer(metadata: Mapping[str, str]) -> None:
    """Raise ValidationFailed for what a customer's metadata says of it as a buyer and cannot stand on a document."""
    for key in _BUYER_TEXTS:
        problem = reference_problem(metadata.get(key))
        if problem:
            raise ValidationFailed.of(f"metadata.{key}", problem)
    account = metadata.get("debited_account")
    if account is not None and iban_of(account) is None:
        raise ValidationFailed.of("metadata.debited_account", "must be an IBAN with right check digits")
    scheme, address = metadata.get("electronic_address_scheme"), metadata.get("electronic_address_id")
    if scheme is not None and not is_address_scheme(scheme):
        raise ValidationFailed.of("metadata.electronic_address_scheme", ADDRESS_SCHEME_EXPECTED)
    if (scheme is None) != (address is None):
        missing = "electronic_address_scheme" if scheme is None else "electronic_address_id"
        raise ValidationFailed.of(f"metadata.{missing}", "is required: a scheme and an id are one electronic address")
    if scheme is not None and address is not None and number_problem(scheme, address):
        raise ValidationFailed.of("metadata.electronic_address_id", number_problem(scheme, address) or "")


ADDRESS_SCHEME_EXPECTED = "must be a code of the EAS list such as 0204, 9930 or EM"


def reference_problem(text: str | None) -> str | None:
    """Why `text` cannot stand on a document; None if it can, or if nothing is said."""
    if text is None:
        return None
    if not text.strip():
        return "must not be blank"
    if len(text) > LONGEST_REFERENCE:
        return f"must be at most {LONGEST_REFERENCE} characters long"
    return None if text.isprintable() else "must not contain control characters"


def check_vat(metadata: Mapping[str, str], percentage: Decimal | None) -> None:
    """Raise ValidationFailed for a rate's VAT category, reason or code that contradicts it or one another.

    `percentage` is None for a fixed amount, which is no VAT.
    Rule: docs/rules/e-invoices.md#vat-categories
    """
    said = metadata.get("vat_category")
    reason, code = metadata.get("vat_exemption_reason"), metadata.get("vat_exemption_code")
    if said is None and reason is None and code is None:
        return
    if percentage is None:
        raise ValidationFailed.of("metadata.vat_category", "is only for rates of type percentage")
    if said is not None and said not in set(VatCategory):
        allowed = ", ".join(VatCategory)
        raise ValidationFailed.of("metadata.vat_category", f"must be one of {allowed}")
    category = VatCategory(said) if said is not None else default_category(percentage)
    if (category is VatCategory.STANDARD) != (percentage > 0):
        expected = "above 0" if category is VatCategory.STANDARD else "0"
        raise ValidationFailed.of("metadata.vat_category", f"{category} needs a percentage_value of {expected}")
    problem = exemption_problem(category, reason or "", code or "")
    if problem:
        field, why = problem
        raise ValidationFailed.of(f"metadata.{field}", why)
    for key, text in (("vat_exemption_reason", reason), ("vat_exemption_code", code)):
        if text is not None and reference_problem(text):
            raise ValidationFailed.of(f"metadata.{key}", reference_problem(text) or "")


def default_category(percentage: Decimal) -> VatCategory:
    """The category of a rate that names none."""
    return VatCategory.STANDARD if percentage > 0 else VatCategory.ZERO_RATED


_CATEGORIES_OF_CODES = {
    "VATEX-EU-AE": VatCategory.REVERSE_CHARGE,
    "VATEX-EU-G": VatCategory.EXPORT,
    "VATEX-EU-IC": VatCategory.INTRA_COMMUNITY,
    "VATEX-EU-O": VatCategory.OUTSIDE_SCOPE,
    "VATEX-EU-D": VatCategory.EXEMPT,
    "VATEX-EU-F": VatCategory.EXEMPT,
    "VATEX-EU-I": VatCategory.EXEMPT,
    "VATEX-EU-J": VatCategory.EXEMPT,
}
"""The codes that stand for one category alone, whose documents Peppol refuses with another (P0104 to P0111)."""


def exemption_problem(category: VatCategory, reason: str, code: str) -> tuple[str, str] | None:
    """The field and what is wrong with the reason for charging no VAT; None if nothing is."""
    if code and not is_exemption_code(code):
        return "vat_exemption_code", "must be a code of the VATEX list such as VATEX-EU-AE"
    owner = _CATEGORIES_OF_CODES.get(code, category)
    if owner is not category:
        return "vat_exemption_code", f"{code} is for vat_category {owner}, not for {category}"
    if category.needs_reason and not (reason.strip() or code):
        return "vat_exemption_reason", f"or vat_exemption_code is required with vat_category {category}"
    if not category.needs_reason and (reason or code):
        field = "vat_exemption_reason" if reason else "vat_exemption_code"
        return field, f"is not for vat_category {category}"
    return None
