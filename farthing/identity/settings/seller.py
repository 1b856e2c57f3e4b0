"""What the e-invoice setting says of the seller, part by part; every part can be empty."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from farthing.core.encoding.wire import BadField, Request
from farthing.core.standards import trade_codes

Entry = Annotated[str, Meta(max_length=200)]
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_FEWEST_PHONE_DIGITS = 3


def check_entries(part: Request) -> None:
    """Raise BadField for a text of only blanks, or with characters that no document can show."""
    for name in part.__struct_fields__:
        text = getattr(part, name)
        problem = trade_codes.reference_problem(text) if isinstance(text, str) and text else None
        if problem:
            raise BadField(name, problem)


class SellerAddress(Request):
    """Where the seller is registered."""

    line1: Entry = ""
    line2: Entry = ""
    city: Entry = ""
    state: Entry = ""
    postal_code: Entry = ""
    country: Entry = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_entries(self)
        if self.country and self.country not in trade_codes.countries():
            raise BadField("country", "must be a two-letter ISO 3166-1 country code in upper case, such as DE")


class ElectronicAddress(Request):
    """Where the seller is reached in the network of e-invoices."""

    scheme: Entry = ""
    id: Entry = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_entries(self)
        if self.scheme and not trade_codes.is_address_scheme(self.scheme):
            raise BadField("scheme", trade_codes.ADDRESS_SCHEME_EXPECTED)
        if bool(self.scheme) != bool(self.id):
            raise BadField("scheme" if self.id else "id", "is required: a scheme and an id are one address")


class SellerContact(Request):
    """Whom a buyer asks about an invoice."""

    name: Entry = ""
    phone: Entry = ""
    email: Entry = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_entries(self)
        if self.email and not _EMAIL.fullmatch(self.email):
            raise BadField("email", "must be an email address such as ada@example.com")
        if self.phone and sum(letter.isdigit() for letter in self.phone) < _FEWEST_PHONE_DIGITS:
            raise BadField("phone", f"must have at least {_FEWEST_PHONE_DIGITS} digits")


class SellerPayment(Request):
    """Where the seller is paid. `means_code` is of UNTDID 4461: 30 is a credit transfer, 58 one within SEPA."""

    iban: Entry = ""
    bic: Entry = ""
    account_name: Entry = ""
    means_code: Entry = "30"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_entries(self)
        if self.iban:
            iban = trade_codes.iban_of(self.iban)
            if iban is None:
                raise BadField("iban", "must be an IBAN with right check digits")
            self.iban = iban
        if self.bic and not trade_codes.is_bic(self.bic):
            raise BadField("bic", "must be a BIC of 8 or 11 characters in upper case")
        if not trade_codes.is_payment_means(self.means_code):
            raise BadField("means_code", "must be a code of UNTDID 4461 such as 30 or 58")
