from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from farthing.identity.settings.logo import Logo
from farthing.invoices.pdf import fonts
from farthing.invoices.pdf.document import (
    Days,
    Detail,
    Discount,
    DocumentPayment,
    InvoiceDocument,
    Line,
    LineGroup,
    Party,
    Tax,
    Totals,
)
from farthing.invoices.pdf.render import render
from tests.identity.test_logo import png

NOVEMBER = Days(date(2026, 11, 1), date(2026, 11, 30))
HOSTILE = [
    '#read("/etc/passwd")',
    "$x$ *b* _i_ <a> @ref `raw` \\ // /* */ = head - item",
    '"} #panic() {"',
    "#import sys: inputs",
    "]#[eval(1)]",
    "{{ 7*7 }} ${7*7} <script>alert(1)</script>",
]


def invoice(**changes: object) -> InvoiceDocument:
    plain = InvoiceDocument(
        seller=Party(
            name="Halfpenny Cloud Ltd",
            address=("12 Foundry Lane", "Bristol BS1 4QA"),
            country="GB",
            tax_id="GB 123 4567 89",
            help_email="help@halfpenny.example",
        ),
        customer=Party(name="Brightwater GmbH", address=("Lindenstraße 7", "10969 Berlin"), country="DE"),
        currency="eur",
        status="FINALIZED",
        number="INV-202612-00042",
        issued=date(2026, 12, 1),
        due_on=date(2026, 12, 31),
        days=NOVEMBER,
        billing_period="HALF_YEARLY",
        groups=(
            LineGroup(
                title="Platform",
                lines=(
                    Line(name="Team plan", amount=Decimal(499), quantity=Decimal(1), days=NOVEMBER),
                    Line(name="Seats", amount=Decimal(240), quantity=Decimal(12), unit="seats", unit_price=Decimal(20)),
                ),
            ),
            LineGroup(
                title="API calls",
                lines=(
                    Line(
                        name="Requests",
                        amount=Decimal("1284.37"),
                        quantity=Decimal(2284370),
                        details=(Detail(label="eu-west", quantity=Decimal(2000000), amount=Decimal(1000)),),
                    ),
                ),
            ),
        ),
        discounts=(Discount(name="Launch offer", kind="Percentage", value="10%", amount=Decimal("202.34")),),
        taxes=(
            Tax(
                name="VAT Germany",
                code="de_vat",
                kind="Percentage",
                rate="19%",
                taxable=Decimal("1821.03"),
                amount=Decimal(346),
            ),
        ),
        payments=(
            DocumentPayment(day=date(2026, 12, 4), amount=Decimal(500), method="Bank transfer", reference="RF18 5390"),
        ),
        totals=Totals(
            subtotal=Decimal("2023.37"),
            discount=Decimal("202.34"),
            prepaid_credits=Decimal(50),
            tax=Decimal(346),
            total=Decimal("2117.03"),
            paid=Decimal(500),
            due=Decimal("1617.03"),
        ),
        notes="Purchase order 4500017265.\nThank you.",
        vat="0.19",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # each test names real fields


def lines_of(amounts: Sequence[int], title: str = "Usage") -> tuple[LineGroup, ...]:
    return (LineGroup(title=title, lines=tuple(Line(name=f"Item {n}", amount=Decimal(n)) for n in amounts)),)


def pages(document: InvoiceDocument) -> list[str]:
    """The text of each page, runs of white space as one space."""
    reader = PdfReader(io.BytesIO(render(document)))
    return [" ".join(page.extract_text().split()) for page in reader.pages]


def fonts_used(pdf: bytes) -> set[str]:
    """Names of the fonts embedded for the first page, without the subset's tag."""
    page: Any = PdfReader(io.BytesIO(pdf)).pages[0]
    return {str(font.get_object()["/BaseFont"]).partition("+")[2] for font in page["/Resources"]["/Font"].values()}


@pytest.mark.parametrize(
    "stands",
    [
        pytest.param("Halfpenny Cloud Ltd 12 Foundry Lane Bristol BS1 4QA Tax ID GB 123 4567 89", id="who bills"),
        pytest.param("Brightwater GmbH Lindenstraße 7 10969 Berlin", id="who is billed"),
        pytest.param("Invoice number INV-202612-00042", id="the number"),
        pytest.param("Issue date Dec 1, 2026 Due date Dec 31, 2026 Period Nov 1 – 30, 2026", id="the days"),
        pytest.param("Billing period Half yearly", id="the billing period in words"),
        pytest.param("Balance due €1,617.03", id="what is owed"),
        pytest.param("Quantity Unit price Amount (EUR)", id="heads that name the currency"),
        pytest.param("Platform Team plan Nov 1 – 30, 2026 1 499.00", id="a line under its feature"),
        pytest.param("Seats 12 seats 20.00 240.00 Subtotal Platform 739.00", id="a feature's subtotal"),
        pytest.param("Requests 2,284,370 1,284.37 eu-west 2,000,000 1,000.00", id="a line's breakdown"),
        pytest.param("Launch offer Percentage The whole invoice 10% −202.34", id="a discount on no line in particular"),
        pytest.param("VAT Germany de_vat Percentage 19% 1,821.03 346.00", id="a tax with its base"),
        pytest.param("Dec 4, 2026 Bank transfer RF18 5390 500.00", id="a payment"),
        pytest.param(
            "Subtotal €2,023.37 Discounts −€202.34 Prepaid credits −€50.00 Tax €346.00 Total €2,117.03 "
            "Paid −€500.00 Balance due €1,617.03",
            id="the way from subtotal to balance",
        ),
        pytest.param("VAT rate: 19% Purchase order 4500017265. Thank you.", id="the notes"),
        pytest.param("Questions? help@halfpenny.example Page 1 of 1", id="the foot"),
    ],
)
def test_what_an_invoice_says(stands: str) -> None:
    (page,) = pages(invoice())
    assert stands in page


def test_a_draft_is_marked_and_has_no_number() -> None:
    pdf = render(invoice(status="DRAFT"))
    (page,) = pages(invoice(status="DRAFT"))
    assert page.count("DRAFT") == 2  # beside the title and across the page
    assert "INV-" not in page
    assert PdfReader(io.BytesIO(pdf)).metadata.title == "Invoice"  # type: ignore[union-attr]  # it has metadata


def test_a_voided_invoice_is_marked_keeps_its_number_and_owes_nothing() -> None:
    (page,) = pages(invoice(status="VOIDED"))
    assert page.count("VOIDED") == 2
    assert "INV-202612-00042" in page
    assert "Nothing is owed" in page
    assert "Balance due" not in page


def test_a_final_invoice_has_no_mark() -> None:
    (page,) = pages(invoice())
    assert not [mark for mark in ("DRAFT", "VOID", "SKIPPED", "PAID") if mark in page]


def test_every_page_of_a_draft_is_marked() -> None:
    assert all("DRAFT" in page for page in pages(invoice(status="DRAFT", groups=lines_of(range(1, 90)))))


@pytest.mark.parametrize(
    ("payment_status", "tag"),
    [("SUCCEEDED", "PAID"), ("OVERPAID", "OVERPAID"), ("PARTIALLY_REFUNDED", "PARTLY REFUNDED")],
)
def test_a_settled_invoice_says_so(payment_status: str, tag: str) -> None:
    (page,) = pages(invoice(payment_status=payment_status))
    assert f"Invoice {tag}" in page


def test_later_figures_appear_only_when_there_are_any() -> None:
    totals = replace(invoice().totals, adjustment=Decimal(10), overpaid=Decimal(3), refunded=Decimal(4))
    (with_them,), (without,) = pages(invoice(totals=totals)), pages(invoice())
    assert "Credit notes −€10.00" in with_them
    assert "Overpaid €3.00 Refunded €4.00" in with_them
    assert not [label for label in ("Credit notes", "Overpaid", "Refunded") if label in without]


def test_lines_of_zero_and_groups_of_nothing_are_left_out() -> None:
    free = LineGroup(title="Free tier", lines=(Line(name="Gift", amount=Decimal("0.00")),))
    (page,) = pages(invoice(groups=(*lines_of([7]), free)))
    assert "Item 7" in page
    assert "Free tier" not in page
    assert "Gift" not in page


def test_an_invoice_without_charges_says_so() -> None:
    (page,) = pages(invoice(groups=lines_of([0])))
    assert "Nothing was charged." in page


def test_long_invoices_repeat_heads_and_count_pages() -> None:
    texts = pages(invoice(groups=lines_of(range(1, 121), title="Compute hours")))
    assert len(texts) >= 3
    for number, page in enumerate(texts, 1):
        assert f"Page {number} of {len(texts)}" in page
        assert ("Invoice INV-202612-00042" in page) == (number > 1)  # a running head from the second page on
    for page in texts[:-1]:
        assert "Description" in page
        assert "Compute hours" in page  # the feature's head stands again above its lines
    together = " ".join(texts)
    assert all(f"Item {n} {n}.00" in together for n in range(1, 121))


def test_figures_too_wide_for_columns_stand_under_the_description() -> None:
    line = Line(
        name="Storage",
        amount=Decimal("12345678901234567.89"),
        quantity=Decimal("123456789.123456789012345"),
        unit="GiB",
        unit_price=Decimal("0.000000012345678"),
        days=NOVEMBER,
    )
    (page,) = pages(invoice(groups=(LineGroup(lines=(line,)),)))
    assert "Unit price" not in page
    assert "Nov 1 – 30, 2026 · 123,456,789.123456789012345 GiB × 0.000000012345678" in page
    assert "12,345,678,901,234,567.89" in page


@pytest.mark.parametrize(("currency", "due"), [("jpy", "¥1,412,804"), ("kwd", "KWD 1,412,804.000")])
def test_amounts_have_their_currency_s_digits(currency: str, due: str) -> None:
    totals = Totals(subtotal=Decimal(1412804), total=Decimal(1412804), due=Decimal(1412804))
    (page,) = pages(invoice(currency=currency, totals=totals))
    assert f"Balance due {due}" in page


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_is_ever_code(hostile: str) -> None:
    document = invoice(
        seller=Party(name=hostile, address=(hostile,), tax_id=hostile, email=hostile, phone=hostile),
        customer=Party(name=hostile, address=(hostile,), country=hostile),
        number=hostile,
        description=hostile,
        billing_period=hostile,
        groups=(
            LineGroup(
                title=hostile,
                lines=(
                    Line(
                        name=hostile,
                        description=hostile,
                        amount=Decimal(1),
                        quantity=Decimal(1),
                        unit=hostile,
                        details=(Detail(label=hostile),),
                    ),
                ),
            ),
        ),
        discounts=(Discount(name=hostile, kind=hostile, value=hostile, line=hostile, amount=Decimal(1)),),
        taxes=(Tax(name=hostile, code=hostile, kind=hostile, rate=hostile, amount=Decimal(1)),),
        payments=(DocumentPayment(day=date(2026, 12, 4), method=hostile, reference=hostile, amount=Decimal(1)),),
        notes=hostile,
        vat=hostile,
    )
    page = "".join("".join(pages(document)).split())
    assert page.count("".join(hostile.split())) >= 15
    assert "root:" not in page


@settings(max_examples=60)
@given(anything=st.text(st.characters(categories=None), max_size=40), vat=st.text(max_size=8))
def test_no_text_stops_an_invoice(anything: str, vat: str) -> None:
    party = Party(name=anything, address=(anything,), country=anything, tax_id=anything, email=anything)
    line = Line(name=anything, description=anything, unit=anything, quantity=Decimal(1), amount=Decimal(1))
    document = invoice(
        seller=party,
        customer=party,
        number=anything,
        description=anything,
        notes=anything,
        vat=vat,
        groups=(LineGroup(title=anything, lines=(line,)),),
    )
    assert render(document).startswith(b"%PDF-")


@pytest.mark.parametrize("vat", ["", "banana", "-1", "NaN", "1e9"])
def test_a_bad_vat_is_left_out(vat: str) -> None:
    (page,) = pages(invoice(vat=vat))
    assert "VAT rate" not in page
    assert "Purchase order" in page


def test_a_long_word_is_broken_and_copied_whole() -> None:
    address = "accounts.receivable.department@a-domain-of-uncommon-length.example"
    reader = PdfReader(io.BytesIO(render(invoice(customer=Party(name="Brightwater", email=address)))))
    assert address in reader.pages[0].extract_text().replace("\n", "")


def test_a_logo_stands_in_for_the_name_at_the_head() -> None:
    page: Any = PdfReader(io.BytesIO(render(invoice(logo=Logo(png(40, 20)))))).pages[0]
    (picture,) = (drawn.get_object() for drawn in page["/Resources"]["/XObject"].values())
    assert (picture["/Subtype"], picture["/Width"], picture["/Height"]) == ("/Image", 40, 20)
    assert page.extract_text().count("Halfpenny Cloud Ltd") == 1


@pytest.mark.parametrize(
    "pixels", [pytest.param(b"garbage", id="no stream"), pytest.param(zlib.compress(b"\0"), id="too few pixels")]
)
def test_a_logo_that_cannot_be_decoded_is_left_out(pixels: bytes) -> None:
    document = invoice(logo=Logo(png(40, 20, pixels)))
    assert render(document) == render(invoice())


def test_the_same_document_gives_the_same_bytes() -> None:
    first = render(invoice(logo=Logo(png(40, 20))))
    render(invoice(status="DRAFT"))
    assert render(invoice(logo=Logo(png(40, 20)))) == first


def test_threads_do_not_disturb_one_another() -> None:
    documents = [invoice(number=f"INV-{n}") for n in range(24)]
    alone = [render(document) for document in documents]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(render, documents)) == alone


@pytest.mark.parametrize(
    ("paper", "size"), [pytest.param("a4", (595, 842), id="A4"), pytest.param("us-letter", (612, 792), id="letter")]
)
def test_paper(paper: str, size: tuple[int, int]) -> None:
    box = PdfReader(io.BytesIO(render(invoice(paper=paper)))).pages[0].mediabox
    assert (round(box.width), round(box.height)) == size


def test_a_currency_not_in_stored_form_is_refused() -> None:
    with pytest.raises(ValueError, match="stored form"):
        invoice(currency="EUR")


def test_latin_greek_and_cyrillic_need_no_font_of_ours() -> None:
    name = "Łódź Ελλάδα Україна"
    (page,) = pages(invoice(customer=Party(name=name)))
    assert name in page


@pytest.mark.skipif(
    not all(find_spec(package) for package in fonts.PACKAGES), reason="the font packages are not installed"
)
@pytest.mark.parametrize(
    ("name", "country", "font"),
    [
        pytest.param("株式会社ハーフペニー", "", "NotoSansCJKjp", id="kana make it Japanese"),
        pytest.param("直角骨今", "JP", "NotoSansCJKjp", id="a Japanese address makes characters Japanese"),
        pytest.param("直角骨今", "TW", "NotoSansCJKtc", id="one in Taiwan makes them traditional"),
        pytest.param("北京示例科技有限公司", "", "NotoSansCJKsc", id="characters alone are simplified Chinese"),
        pytest.param("주식회사 한국", "", "NotoSansCJKkr", id="Hangul makes it Korean"),
        pytest.param("شركة المثال للتجارة", "", "NotoSansArabic", id="Arabic"),
        pytest.param("שלום עולם", "", "NotoSansHebrew", id="Hebrew"),
        pytest.param("प्रौद्योगिकी समाधान", "", "NotoSansDevanagari", id="Hindi"),
        pytest.param("বাংলা", "", "NotoSansBengali", id="Bengali"),
        pytest.param("தமிழ்", "", "NotoSansTamil", id="Tamil"),
        pytest.param("ประเทศไทย", "", "NotoSansThai", id="Thai"),
    ],
)
def test_names_in_any_script(name: str, country: str, font: str) -> None:
    used = fonts_used(render(invoice(customer=Party(name=name, country=country))))
    others = {family for family in used if not family.startswith("NotoSans-")}
    assert len(others) == 1  # one font sets all of it, so no letter fell through to another
    assert others.pop().startswith(font)
