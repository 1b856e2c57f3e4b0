"""The figures of a document are those of its invoice, and what the standard cannot say is refused."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from farthing.core.enums import PriceType
from farthing.core.errors import ValidationFailed
from farthing.invoices.einvoice.assembly import assemble, document_for
from farthing.invoices.einvoice.descriptions import line_description
from farthing.invoices.einvoice.files import written_file
from farthing.invoices.einvoice.mapping import CarriedRate, IssuedFigures, IssuedLine
from farthing.invoices.einvoice.model import Format, TradeDocument, TypeCode
from farthing.invoices.pdf.document import Days
from farthing.rating.totals.calculation import InvoiceTotals, invoice_totals
from farthing.rating.totals.discounts import Coupon, CouponType
from farthing.rating.totals.lines import ChargeLine
from farthing.rating.totals.taxes import TaxRate, TaxRateType
from tests.invoices.einvoice.exporter import NAMESPACES, totals_of, xml_of
from tests.invoices.einvoice.papers import OCTOBER, buyer, figures, issued, line, seller, vat


def stated(document: TradeDocument) -> list[str]:
    """Lines, allowances, net, tax, gross, prepaid, payable."""
    totals = (
        document.line_total,
        document.allowance_total,
        document.net_total,
        document.tax_total,
        document.gross_total,
        document.prepaid,
        document.payable,
    )
    return [f"{total:.2f}" for total in totals]


W1 = figures(
    "70.78",
    line("80", vat("8.25"), discount="20", document_discount="7.50", tax="4.33", quantity=Decimal("12.5")),
    line("20", vat("8.25"), document_discount="2.50", tax="1.45"),
    currency="usd",
    prepaid=Decimal("5.00"),
)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(
            W1,
            ["80.00", "10.00", "70.00", "5.78", "75.78", "5.00", "70.78"],
            id="prepaid credits are paid before, and lower no tax (W1)",
        ),
        pytest.param(
            figures("119.00", line("100", vat("19"), tax="19")),
            ["100.00", "0.00", "100.00", "19.00", "119.00", "0.00", "119.00"],
            id="one charge",
        ),
        pytest.param(
            figures("235.00", line("100", vat("19"), tax="19"), line("100", vat("16"), tax="16")),
            ["200.00", "0.00", "200.00", "35.00", "235.00", "0.00", "235.00"],
            id="June at 19 and July at 16 beside it",
        ),
        pytest.param(
            figures("100.00", line("100", vat("0", "AE", "VATEX-EU-AE"))),
            ["100.00", "0.00", "100.00", "0.00", "100.00", "0.00", "100.00"],
            id="reverse charge",
        ),
        pytest.param(
            figures("0.00", line("40", vat("19"), document_discount="40")),
            ["40.00", "40.00", "0.00", "0.00", "0.00", "0.00", "0.00"],
            id="a discount of everything",
        ),
        pytest.param(
            figures("7.60", line("40", vat("19"), tax="7.60"), prepaid=Decimal(40)),
            ["40.00", "0.00", "40.00", "7.60", "47.60", "40.00", "7.60"],
            id="credits pay the net, the tax is still owed",
        ),
        pytest.param(
            figures("59.50", line("50", vat("19"), tax="9.50"), type=TypeCode.CREDIT_NOTE, due_on=None),
            ["50.00", "0.00", "50.00", "9.50", "59.50", "0.00", "59.50"],
            id="half a year given back, with its tax",
        ),
        pytest.param(
            figures("1125", line("1023", vat("10"), tax="102"), currency="jpy"),
            ["1023.00", "0.00", "1023.00", "102.00", "1125.00", "0.00", "1125.00"],
            id="yen have no decimals (W10)",
        ),
    ],
)
def test_totals(said: IssuedFigures, expected: list[str]) -> None:
    assert stated(document_for(issued(said), Format.XRECHNUNG_UBL)) == expected


@pytest.mark.parametrize("wanted", list(Format), ids=str)
def test_what_is_written_is_what_is_meant(wanted: Format) -> None:
    written = totals_of(written_file(document_for(issued(W1), wanted), wanted))
    assert written == {
        "lines": Decimal("80.00"),
        "allowances": Decimal("10.00"),
        "net": Decimal("70.00"),
        "tax": Decimal("5.78"),
        "gross": Decimal("75.78"),
        "prepaid": Decimal("5.00"),
        "payable": Decimal("70.78"),
    }


def test_each_category_and_rate_has_its_own_allowance_and_tax() -> None:
    said = figures(
        "225.10",
        line("100", vat("19"), document_discount="10", tax="17.10"),
        line("50", vat("7"), document_discount="5", tax="3.15"),
        line("50", vat("7"), document_discount="5", tax="3.15"),
        line("21.70", vat("0", "Z")),
    )
    document = document_for(issued(said), Format.PEPPOL_UBL)
    groups = [(group.vat.category, group.vat.percentage, group.taxable, group.tax) for group in document.breakdown]
    assert groups == [("S", 19, 90, Decimal("17.10")), ("S", 7, 90, Decimal("6.30")), ("Z", 0, Decimal("21.70"), 0)]
    assert [(each.vat.percentage, each.amount) for each in document.allowances] == [(19, 10), (7, 10)]


def test_quantity_times_price_is_the_amount_whatever_tiers_made_it() -> None:
    said = figures("119.00", line("100", vat("19"), tax="19", quantity=Decimal("3.7"), unit="E34"))
    root = etree.fromstring(written_file(document_for(issued(said), Format.PEPPOL_UBL), Format.PEPPOL_UBL))
    price = root.find(".//cac:InvoiceLine/cac:Price", NAMESPACES)
    assert price is not None
    assert (price.findtext("cbc:PriceAmount", None, NAMESPACES)) == "100.00"
    base = price.find("cbc:BaseQuantity", NAMESPACES)
    assert base is not None
    assert (base.text, base.get("unitCode")) == ("3.7", "E34")


def test_a_charge_without_quantity_is_one_charge() -> None:
    said = figures("5.95", line("5", vat("19"), tax="0.95", quantity=Decimal(0), unit="E34"))
    (charge,) = document_for(issued(said), Format.PEPPOL_UBL).lines
    assert (charge.quantity, charge.unit) == (1, "C62")


def test_the_period_is_the_span_of_the_lines() -> None:
    july = Days(date(2026, 7, 1), date(2026, 7, 31))
    said = figures("2.38", line("1", vat("19"), tax="0.19"), line("1", vat("19"), tax="0.19", days=july))
    assert document_for(issued(said), Format.PEPPOL_UBL).days == Days(date(2026, 7, 1), date(2026, 10, 31))


@pytest.mark.parametrize(
    ("said", "field"),
    [
        pytest.param(
            figures("129.00", line("100", vat("19"), vat("10"), tax="29")), "line_items[0].taxes", id="two rates"
        ),
        pytest.param(
            figures("101.00", line("100", CarriedRate("fee", None), tax="1")), "line_items[0].taxes", id="a fixed tax"
        ),
        pytest.param(
            figures("1.190", line("1", vat("19"), tax="0.19"), currency="kwd"), "currency", id="three decimals"
        ),
        pytest.param(
            figures("119.00", line("50", vat("0", "O", "VATEX-EU-O")), line("50", vat("38"), tax="19")),
            "line_items.taxes",
            id="outside the scope beside something else",
        ),
        pytest.param(figures("0"), "line_items", id="nothing was charged"),
        pytest.param(
            figures("100.00", line("100", vat("0", "K", "VATEX-EU-IC"), days=None)),
            "line_items.period_start",
            id="a supply to another country without its time",
        ),
        pytest.param(
            figures("109.50", line("100", vat("19"), tax="9.50"), type=TypeCode.CREDIT_NOTE),
            "line_items.amount",
            id="money paid too much is given back without tax",
        ),
        pytest.param(
            figures("118.99", line("100", vat("19"), tax="19")), "total", id="another total than the invoice's"
        ),
    ],
)
def test_what_the_standard_cannot_say_is_refused(said: IssuedFigures, field: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        document_for(issued(said), Format.XRECHNUNG_CII)
    assert field in refusal.value.details


def test_a_tax_without_its_own_reason_says_those_of_all_its_lines() -> None:
    exempt = CarriedRate("a", Decimal(0), "E", reason="Education"), CarriedRate("b", Decimal(0), "E", reason="Health")
    said = figures("2.00", line("1", exempt[0]), line("1", exempt[1]))
    (group,) = document_for(issued(said), Format.FACTURX).breakdown
    assert group.vat.reason == "Education; Health"


def test_prices_by_tier_an_allowance_and_a_commitment_are_described() -> None:
    rating = {
        "parts": [
            {"quantity": "10", "unit_amount": "5", "amount": "50", "tier": 0, "above": "0", "up_to": "10"},
            {"quantity": "4", "unit_amount": "3", "amount": "12", "tier": 1, "above": "10", "flat_amount": "2"},
        ]
    }
    described = line_description("EU traffic", rating, Decimal(3), {"amount": "100", "computed_true_up_amount": "36"})
    assert described == (
        "EU traffic. Priced 10 at 5 (from 0 to 10); 4 at 3 plus 2 (above 10). 3 included free of charge. "
        "Commitment of 100; charged to reach it 36"
    )


def test_characters_that_xml_has_not_are_left_out() -> None:
    charge = replace(line("1", vat("19"), tax="0.19"), name="A\x01 & <b>\ufffe \U0001f680")
    content = written_file(document_for(issued(figures("1.19", charge)), Format.PEPPOL_UBL), Format.PEPPOL_UBL)
    assert etree.fromstring(content).findtext(".//cac:Item/cbc:Name", None, NAMESPACES) == "A & <b> \U0001f680"


# what is frozen, and what is completed


def test_what_a_party_says_later_changes_nothing() -> None:
    said, moved = figures("119.00", line("100", vat("19"), tax="19")), seller(legal_name="Other", vat_id="DE111111125")
    before = written_file(document_for(issued(said), Format.XRECHNUNG_UBL), Format.XRECHNUNG_UBL)
    after = issued(said, [seller(), moved], [buyer(), buyer(name="Other", address_line2="c/o")])
    assert written_file(document_for(after, Format.XRECHNUNG_UBL), Format.XRECHNUNG_UBL) == before


def test_what_was_missing_is_taken_from_the_first_version_that_says_it_and_stays() -> None:
    said = figures("119.00", line("100", vat("19"), tax="19"))
    versions = [
        {"timezone": "UTC"},
        seller(**{"contact.phone": ""}),
        seller(legal_name="Second"),
        seller(legal_name="X"),
    ]
    buyers = [buyer(address_postal_code=""), buyer(address_postal_code="53111"), buyer(address_postal_code="99999")]
    document = document_for(issued(said, versions, buyers), Format.XRECHNUNG_UBL)
    assert (document.seller.name, document.seller.phone) == ("Farthing GmbH", "+49 30 123456")
    assert document.buyer.postal.postal_code == "53111"


def test_a_seller_without_a_vat_id_may_name_its_tax_and_its_register_number() -> None:
    said, small = figures("100.00", line("100")), seller(vat_id="")
    assert assemble(issued(said, [{"timezone": "UTC"}, small]), Format.FACTURX).obstacles == {}
    assert (
        "einvoice_config.vat_id"
        in assemble(issued(said, [seller(vat_id="", registration_number="")]), Format.FACTURX).obstacles
    )


# random invoices

CENT = Decimal("0.01")
amounts = st.integers(0, 5_000_00).map(lambda cents: cents * CENT)


@st.composite
def random_invoices(draw: st.DrawFn) -> tuple[InvoiceTotals, IssuedFigures]:
    """An invoice's figures as the calculation gives them, and the same as what was issued."""
    rates = {
        "none": (),
        **{
            value: (CarriedRate(value, Decimal(value)),)
            for value in draw(st.lists(st.sampled_from(["0", "5.5", "7", "8.25", "19", "25"]), max_size=3, unique=True))
        },
    }
    count = draw(st.integers(1, 8))
    carried = [draw(st.sampled_from(sorted(rates))) for _ in range(count)]
    charges = [
        ChargeLine(
            id=f"line {number}",
            amount=draw(amounts),
            price_type=draw(st.sampled_from([PriceType.USAGE, PriceType.FIXED])),
            tax_rate_ids=frozenset(rate.id for rate in rates[carried[number]]),
        )
        for number in range(count)
    ]
    coupons = []
    for number in range(draw(st.integers(0, 3))):
        percentage = draw(st.booleans())
        coupons.append(
            Coupon(
                id=f"coupon {number}",
                type=CouponType.PERCENTAGE if percentage else CouponType.FIXED,
                off=draw(st.integers(1, 100).map(Decimal) if percentage else amounts.filter(bool)),
            )
        )
    totals = invoice_totals(
        charges,
        2,
        coupons=coupons,
        tax_rates=[
            TaxRate(rate.id, TaxRateType.PERCENTAGE, rate.percentage or Decimal(0))
            for (rate,) in filter(None, rates.values())
        ],
        prepaid_value=draw(amounts),
    )
    lines = tuple(
        IssuedLine(
            id=worked.id,
            field=f"line_items[{number}]",
            name="Charge",
            amount=worked.amount,
            quantity=draw(st.decimals(0, 10**9, places=6, allow_nan=False)),
            discount=worked.line_item_discount,
            document_discount=worked.invoice_level_discount,
            tax=sum((share for _, share in worked.taxes), Decimal(0)),
            rates=rates[carried[number]],
            days=OCTOBER,
        )
        for number, worked in enumerate(totals.lines)
    )
    said = figures(str(totals.total), prepaid=totals.total_prepaid_credits_applied)
    return totals, replace(said, lines=lines)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_invoices(), st.sampled_from([Format.PEPPOL_UBL, Format.XRECHNUNG_UBL, Format.XRECHNUNG_CII]))
def test_every_figure_is_the_invoices_to_the_cent(invoice: tuple[InvoiceTotals, IssuedFigures], wanted: Format) -> None:
    totals, said = invoice
    content = written_file(document_for(issued(said), wanted), wanted)
    written = totals_of(content)
    line_discounts = sum((worked.line_item_discount for worked in totals.lines), Decimal(0))
    assert written["lines"] == totals.subtotal - line_discounts
    assert written["allowances"] == totals.total_discount - line_discounts
    assert written["net"] == totals.subtotal - totals.total_discount
    assert written["tax"] == totals.total_tax
    assert written["prepaid"] == totals.total_prepaid_credits_applied
    assert written["payable"] == totals.total
    root: Any = etree.fromstring(content)
    nets = (
        "//cac:InvoiceLine/cbc:LineExtensionAmount"
        if "ubl" in wanted
        else "//ram:LineTotalAmount[../../ram:ApplicableTradeTax and ancestor::ram:IncludedSupplyChainTradeLineItem]"
    )
    found = [Decimal(each.text) for each in root.xpath(nets, namespaces=NAMESPACES)]
    assert found == [worked.amount - worked.line_item_discount for worked in totals.lines]


# Factur-X


def test_the_archive_says_what_readers_look_for() -> None:
    content = written_file(document_for(issued(W1), Format.FACTURX), Format.FACTURX)
    with pikepdf.open(io.BytesIO(content)) as pdf:
        (attached,) = pdf.Root.AF
        assert (str(attached.F), str(attached.UF), str(attached.AFRelationship)) == (
            "factur-x.xml",
            "factur-x.xml",
            "/Alternative",
        )
        assert str(attached.EF.F.Subtype) == "/text/xml"
        assert str(pdf.Root.OutputIntents[0].S) == "/GTS_PDFA1"
        metadata = pdf.Root.Metadata.read_bytes().decode()
        with pdf.open_metadata() as said:
            extension = {
                name: said[f"{{urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#}}{name}"] for name in FACTURX
            }
            assert (said["pdfaid:part"], said["pdfaid:conformance"]) == ("3", "B")
    assert extension == FACTURX
    for name in FACTURX:
        assert f"<pdfaProperty:name>{name}</pdfaProperty:name>" in metadata
    assert metadata.count("<pdfaSchema:prefix>fx</pdfaSchema:prefix>") == 1


FACTURX = {
    "DocumentFileName": "factur-x.xml",
    "DocumentType": "INVOICE",
    "Version": "1.0",
    "ConformanceLevel": "EN 16931",
}


@pytest.mark.parametrize("name", ["Ünïcode & <b>", "\U00012000 cuneiform", "no shape \U0001fbff \u0378"], ids=ascii)
def test_the_archive_is_the_same_bytes_each_time_whatever_a_name_holds(name: str) -> None:
    document = document_for(issued(W1, buyers=[buyer(name=name)]), Format.FACTURX)
    content = written_file(document, Format.FACTURX)
    assert content == written_file(document, Format.FACTURX)
    assert name in etree.tostring(etree.fromstring(xml_of(content)), encoding="unicode").replace("&amp;", "&").replace(
        "&lt;", "<"
    ).replace("&gt;", ">")
