"""What both syntaxes write alike: elements with texts, amounts, dates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from lxml import etree

from farthing.core import currency as currencies

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
XmlElement = etree._Element


class XmlWriter:
    """Adds elements under the prefixes of one syntax; what says nothing is left out, as the standard wants."""

    def __init__(self, namespaces: Mapping[str, str], currency: str) -> None:
        self._namespaces = dict(namespaces)
        self._currency = currency
        self._digits = currencies.digits(currency.lower())

    def root(self, name: str) -> XmlElement:
        """The outermost element; the prefix "" is the namespace that needs none."""
        declared: dict[str | None, str] = {prefix or None: uri for prefix, uri in self._namespaces.items()}
        return etree.Element(self._qualified(name), nsmap=declared)  # type: ignore[arg-type]  # lxml takes None

    def group(self, parent: XmlElement, *path: str) -> XmlElement:
        """A new element under `parent`, and one in another for each further name; the innermost."""
        for name in path:
            parent = etree.SubElement(parent, self._qualified(name))
        return parent

    def say(self, parent: XmlElement, name: str, text: str, **attributes: str) -> None:
        """An element with a text; none for an empty text."""
        clean = _NOT_IN_XML.sub("", text)
        if clean.strip():
            etree.SubElement(parent, self._qualified(name), attributes).text = clean

    def amount(self, parent: XmlElement, name: str, amount: Decimal, *, with_currency: bool = True) -> None:
        """An amount of the document's currency, with all its decimals."""
        named = {"currencyID": self._currency} if with_currency else {}
        self.say(parent, name, format(amount, f".{self._digits}f"), **named)

    def amount_in(self, parent: XmlElement, name: str, amount: Decimal, code: str) -> None:
        """An amount of another currency than the document's, with the decimals that it has."""
        self.say(parent, name, format(amount, "f"), currencyID=code)

    def _qualified(self, name: str) -> str:
        prefix, _, local = name.rpartition(":")
        return f"{{{self._namespaces[prefix]}}}{local}"


def written(root: XmlElement) -> bytes:
    """The document as bytes; the same tree gives the same bytes."""
    etree.indent(root)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8")) + b"\n"


def basic_date(day: date) -> str:
    """A day as CII writes it, in the format that it calls 102."""
    return f"{day:%Y%m%d}"
