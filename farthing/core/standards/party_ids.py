"""Numbers of organisations in official registers: their forms and check digits, by the code of their register.

The codes are those of the lists EAS (electronic addresses) and ICD (registers), which agree where both have one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SEPARATORS = re.compile(r"[\s.\-]")


@dataclass(frozen=True, slots=True)
class NumberForm:
    """What numbers of a register look like, in words that follow "must be"."""

    words: str
    is_valid: Callable[[str], bool]


def form_of(scheme: str) -> NumberForm | None:
    """The form of numbers of a register; None for one whose numbers may be anything."""
    return _FORMS.get(scheme)


def number_problem(scheme: str, number: str) -> str | None:
    """Why `number` cannot be one of the register `scheme`; None if it can."""
    form = _FORMS.get(scheme)
    return None if form is None or form.is_valid(number) else f"must be {form.words} under scheme {scheme}"


def compact(number: str) -> str:
    """A number without the separators that people write in it."""
    return _SEPARATORS.sub("", number)


def is_swedish_organisation(number: str) -> bool:
    """Ten digits, the last one by Luhn's algorithm."""
    if not re.fullmatch(r"[0-9]{10}", number):
        return False
    doubled = (int(digit) * (2 - place % 2) for place, digit in enumerate(number))
    return sum(part // 10 + part % 10 for part in doubled) % 10 == 0


def is_norwegian_organisation(number: str) -> bool:
    """Nine digits, the last one modulo 11."""
    return re.fullmatch(r"[0-9]{9}", number) is not None and _weighted(number, (3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def is_greek_taxpayer(number: str) -> bool:
    """Nine digits (AFM), the last one modulo 11."""
    if not re.fullmatch(r"[0-9]{9}", number):
        return False
    return _weighted(number[:8], (256, 128, 64, 32, 16, 8, 4, 2)) % 11 % 10 == int(number[8])


def is_creditor_id(text: str) -> bool:
    """A creditor identifier of SEPA direct debits, such as DE98ZZZ09999999999; its business code is not counted."""
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{3}[A-Z0-9]{1,28}", text):
        return False
    counted = text[7:] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in counted)) % 97 == 1


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def _is_gln(number: str) -> bool:
    return re.fullmatch(r"[0-9]{13}", number) is not None and _weighted(number, (1, 3) * 6 + (1,)) % 10 == 0


def _is_belgian_enterprise(number: str) -> bool:
    return re.fullmatch(r"[0-9]{10}", number) is not None and int(number[8:]) == 97 - int(number[:8]) % 97


def _is_australian_business(number: str) -> bool:
    if not re.fullmatch(r"[0-9]{11}", number):
        return False
    weights = (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)
    return (_weighted(number, weights) - weights[0]) % 89 == 0


def _is_italian_vat(number: str) -> bool:
    if not re.fullmatch(r"IT[0-9]{11}", number):
        return False
    parts = (int(digit) * (1 + place % 2) for place, digit in enumerate(number[2:]))
    return sum(part // 10 + part % 10 for part in parts) % 10 == 0


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda number: compiled.fullmatch(number) is not None


_ITALIAN_TAX_CODE = NumberForm(
    "an Italian tax code (11 digits, or 16 characters such as RSSMRA80A01H501U)",
    _matches(r"[0-9]{11}|[A-Za-z]{6}[0-9]{2}[A-Za-z][0-9]{2}.{3}[0-9][A-Za-z]"),
)
_FORMS = {
    "0007": NumberForm("a Swedish organisation number: 10 digits with a right check digit", is_swedish_organisation),
    "0088": NumberForm("a GLN: 13 digits with a right check digit", _is_gln),
    "0096": NumberForm("a Danish P number: 10 digits", _matches("[0-9]{10}")),
    "0106": NumberForm("a Dutch KVK number: 8 digits", _matches("[0-9]{8}")),
    "0151": NumberForm("an Australian ABN: 11 digits with right check digits", _is_australian_business),
    "0184": NumberForm("a Danish CVR number: DK and 8 digits", _matches("DK[0-9]{8}")),
    "0190": NumberForm("a Dutch OIN: 20 digits", _matches("[0-9]{20}")),
    "0192": NumberForm("a Norwegian organisation number: 9 digits with a right check digit", is_norwegian_organisation),
    "0196": NumberForm("an Icelandic kennitala: 10 digits", _matches("[0-9]{10}")),
    "0198": NumberForm("a Danish SE number: DK and 8 digits", _matches("DK[0-9]{8}")),
    "0201": NumberForm("an Italian IPA code: 6 letters or digits", _matches("[A-Za-z0-9]{6}")),
    "0208": NumberForm("a Belgian enterprise number: 10 digits with right check digits", _is_belgian_enterprise),
    "0210": _ITALIAN_TAX_CODE,
    "0211": NumberForm("an Italian VAT number: IT and 11 digits with a right check digit", _is_italian_vat),
    "0217": NumberForm("a Dutch establishment number: 12 digits", _matches("[0-9]{12}")),
    "9907": _ITALIAN_TAX_CODE,
    "9933": NumberForm("a Greek tax number (AFM): 9 digits with a right check digit", is_greek_taxpayer),
    "9944": NumberForm("a Dutch VAT number such as NL123456789B12", _matches("NL[0-9]{9}B[0-9]{2}")),
}
