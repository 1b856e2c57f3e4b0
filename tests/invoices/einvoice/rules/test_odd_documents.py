"""Odd documents pass the official rules too: very long ones, credit lines, mixed rates, strange texts, quantities."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any

import pytest

from farthing.invoices.einvoice.assembly import document_for
from farthing.invoices.einvoice.files import written_file
from farthing.invoices.einvoice.mapping import CarriedRate, IssuedFigures, IssuedLine
from farthing.invoices.einvoice.model import Format
from tests.invoices.einvoice.exporter import xml_of
from tests.invoices.einvoice.papers import buyer, figures, issued, line, vat
from tests.invoices.einvoice.rules.official_rules import EMPTY_DELIVERY, violations

CENT = Decimal("0.01")
GERMAN, REDUCED, ZERO = vat("19"), vat("7"), vat("0", "Z")
EXEMPT = vat("0", "E", "VATEX-EU-132")
REVERSE = vat("0", "AE", "VATEX-EU-AE")
XML_FORMATS = (Format.XRECHNUNG_UBL, Format.XRECHNUNG_CII, Format.PEPPOL_UBL)
STRANGE = "Zażółć <gęślą> & \"jaźń\" 'x' \u202e日本 \U0001f600 ]]> &amp; \x01"


def taxed(*lines: IssuedLine, **more: Any) -> IssuedFigures:
    """The lines with their tax, rounded once for each rate, and the total that they come to."""
    bases: dict[str, Decimal] = defaultdict(Decimal)
    net = Decimal(0)
    for each in lines:
        left = each.amount - each.discount - each.document_discount
        net += left
        bases[each.rates[0].id] += left
    unsaid = {each.rates[0].id: each.rates[0].percentage or Decimal(0) for each in lines}
    total, told = net, []
    for each in lines:
        rate = each.rates[0].id
        percentage = unsaid.pop(rate, None)
        tax = Decimal(0)
        if percentage is not None:
            tax = (bases[rate] * percentage / 100).quantize(CENT, ROUND_HALF_UP)
            total += tax
        told.append(replace(each, tax=tax))
    return figures(str(total), *told, **more)


LINES = 300
"""A thousand pass as well; rules look at each line for each, which takes time."""
ODD = {
    "very many lines": taxed(*(line(f"{n}.37", GERMAN, quantity=Decimal(n)) for n in range(1, LINES + 1))),
    "a credit line": taxed(line("100", GERMAN), line("-30.55", GERMAN)),
    "a credit line alone in its rate": taxed(line("100", GERMAN), line("-10", REDUCED)),
    "discounts on lines and on the whole": taxed(
        line("100", GERMAN, discount="12.34", document_discount="5.55"),
        line("50", REDUCED, document_discount="2.78"),
        document_discount_reason="Loyalty",
    ),
    "standard, reduced, zero-rated and exempt": taxed(
        line("10", GERMAN), line("20.01", REDUCED), line("30", ZERO), line("40", EXEMPT)
    ),
    "standard and reverse charge": taxed(line("10", GERMAN), line("20", REVERSE)),
    "many decimals": taxed(
        line("0.01", GERMAN, quantity=Decimal("0.000000000000001")),
        line("7.77", GERMAN, quantity=Decimal("123456789012345678901.123456789012345")),
        line("7.77", GERMAN, quantity=Decimal("123456789.012345")),
        line("99999.99", GERMAN, quantity=Decimal(999999999999999)),
        line("0.03", GERMAN, quantity=Decimal("1e20")),
    ),
    "a quantity of nothing": taxed(line("5", GERMAN, quantity=Decimal(0)), line("0", GERMAN, quantity=Decimal(0))),
    "strange texts": taxed(line("5", GERMAN, name=STRANGE, description=STRANGE), note=STRANGE),
    "long names": taxed(line("5", GERMAN, name="Long name " * 100, description="Word " * 2000), note="Note " * 1000),
}


def broken_rules(said: IssuedFigures, wanted: Format, **party: str) -> list[str]:
    document = document_for(issued(said, buyers=[buyer(**party)]), wanted)
    broken = violations(xml_of(written_file(document, wanted)), wanted)
    return [each for each in broken if not each.startswith(EMPTY_DELIVERY)]


@pytest.mark.slow
@pytest.mark.parametrize("wanted", XML_FORMATS, ids=str)
def test_odd_documents_pass(wanted: Format) -> None:
    found = {kind: broken for kind, said in ODD.items() if (broken := broken_rules(said, wanted))}
    assert found == {}


def test_an_order_number_does_for_a_missing_buyer_reference() -> None:
    said = taxed(line("5", GERMAN))
    assert (
        broken_rules(said, Format.PEPPOL_UBL, address_country="FR", buyer_reference="", order_reference="PO-4711") == []
    )


CREDITS = 0.2
"""How many lines of a random document give something back."""


def random_document(seed: int) -> IssuedFigures:
    """A document of up to 30 lines; the same for the same seed."""
    random = Random(seed)
    rates: list[CarriedRate] = random.sample([GERMAN, REDUCED, ZERO, EXEMPT, REVERSE], k=random.randint(1, 4))
    lines: list[Any] = []
    for _ in range(random.randint(1, 30)):
        amount = Decimal(random.randint(1, 10 ** random.randint(1, 7))).scaleb(-2)
        discount = (amount * random.choice([Decimal(0), Decimal(0), Decimal("0.1"), Decimal("0.333")])).quantize(CENT)
        left = amount - discount
        on_all = (left * random.choice([Decimal(0), Decimal(0), Decimal("0.05")])).quantize(CENT)
        quantity = Decimal(random.randint(0, 10 ** random.randint(0, 12))).scaleb(-random.randint(0, 9))
        more = {"quantity": quantity, "name": random.choice(["Calls", STRANGE, "x" * 150])}
        rate = random.choice(rates)
        if lines and random.random() < CREDITS and discount == on_all == 0:
            amount = -min(amount, lines[0].amount)
        lines.append(line(str(amount), rate, discount=str(discount), document_discount=str(on_all), **more))
    return taxed(*lines)


@pytest.mark.parametrize("seed", range(6))
def test_random_documents_pass(seed: int) -> None:
    wanted = XML_FORMATS[seed % len(XML_FORMATS)]
    assert broken_rules(random_document(seed), wanted) == []
