"""What the e-invoice setting says of the seller, part by part; every part can be empty."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from farthing.core.encoding.wire import BadField, Request
from farthing.core.standards import party_ids, trade_codes

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
        problem = party_ids.number_problem(self.scheme, self.id)
        if problem:
            raise BadField("id", problem)


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
    """Where the seller is paid. `means_code` is of UNTDID 4461: 30 is a credit transfer, 58 one within SEPA, 59 a
    direct debit within SEPA.

    `account_number` is an account that has no IBAN, and `bank_branch` what a country says beside it, such as
    SE:BANKGIRO or a Danish registration number. `creditor_id` is for direct debits.
    """

    iban: Entry = ""
    bic: Entry = ""
    account_name: Entry = ""
    account_number: Entry = ""
    bank_branch: Entry = ""
    creditor_id: Entry = ""
    means_code: Entry = "30"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_entries(self)
        if self.iban:
            iban = trade_codes.iban_of(self.iban)
            if iban is None:
                raise BadField("iban", "must be an IBAN with right check digits")
            self.iban = iban
        if self.iban and self.account_number:
            raise BadField("account_number", "is for an account that has no IBAN, and there is one")
        if self.bic and not trade_codes.is_bic(self.bic):
            raise BadField("bic", "must be a BIC of 8 or 11 characters in upper case")
        if self.bank_branch and self.bic:
            raise BadField("bank_branch", "is for a bank that is named without a BIC, and there is one")
        if self.creditor_id:
            self.creditor_id = party_ids.compact(self.creditor_id).upper()
            if not party_ids.is_creditor_id(self.creditor_id):
                raise BadField("creditor_id", "must be a creditor identifier such as DE98ZZZ09999999999")
        if not trade_codes.is_payment_means(self.means_code):
            raise BadField("means_code", "must be a code of UNTDID 4461 such as 30 or 58")

    @property
    def is_paid_by_transfer(self) -> bool:
        """Whether there is an account that buyers transfer money to."""
        return bool(self.iban or self.account_number) and self.means_code not in trade_codes.DIRECT_DEBITS
