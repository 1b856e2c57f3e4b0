"""What the portal says and how it looks, before a page is opened: languages are whole, and accents can be read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import jinja2
import pytest

from farthing.calendar.period import Period
from farthing.core.standards.colours import Colour
from farthing.core.standards.languages import LANGUAGES
from farthing.credits.enums import TransactionReason, TransactionStatus
from farthing.identity.settings.portal_sections import DARK_BACKGROUNDS, LIGHT_BACKGROUNDS, Theme
from farthing.invoices.receivable import PaymentStatus
from farthing.payments.tables import PaymentMethodType
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.web import site
from farthing.web.portal.usage import projected_amount
from farthing.web.portal.visit.showing import problem_text
from farthing.web.portal.visit.typed_numbers import NotANumber, typed_number
from farthing.web.rendering.languages import PORTAL, LocalWords, page_texts
from farthing.web.rendering.themes import theme_style

TEMPLATES = Path(site.__file__).parent / "templates" / "portal"


def test_every_language_says_everything_with_the_same_values_in_it() -> None:
    english = page_texts(PORTAL, "en")
    places = re.compile(r"\{(\w+)\}")
    for language in LANGUAGES:
        texts = page_texts(PORTAL, language)
        assert list(texts) == list(english), language
        for name, words in english.items():
            assert words.strip(), name
            assert set(places.findall(texts[name])) == set(places.findall(words)), (language, name)
    states = (*PaymentStatus, *SubscriptionStatus, *TransactionStatus)
    assert {f"state_{each.value.lower()}" for each in states} <= set(english)
    assert {f"reason_{each.value.lower()}" for each in TransactionReason} <= set(english)
    assert {f"kind_{each.value.lower()}" for each in PaymentMethodType} <= set(english)


@pytest.mark.parametrize(
    ("language", "typed", "read"),
    [
        ("en", "1,250.50", "1250.50"),
        ("en", "49,50", None),
        ("de", "49,50", "49.50"),
        ("de", "1.250,50", "1250.50"),
        ("de", "0,125", "0.125"),
        ("de", "49.50", "49.50"),
        pytest.param("de", "1.250", None, id="a point that may part thousands or decimals"),
        pytest.param("es", "1,250", None, id="a comma that may do so too"),
        ("fr", "1 250,5", "1250.5"),
        ("fr", "1.250.000", "1250000"),
        ("ja", "x", None),
        ("de", "", None),
    ],
)
def test_a_number_is_read_as_the_language_writes_it_and_refused_in_it(
    language: str, typed: str, read: str | None
) -> None:
    words = LocalWords(language, page_texts(PORTAL, language))
    if read is not None:
        assert typed_number(words, "threshold", typed) == Decimal(read)
        return
    with pytest.raises(NotANumber) as refused:
        typed_number(words, "threshold", typed)
    assert problem_text(words, refused.value) == words.text("problem_number", field=words.texts["field_threshold"])


def test_no_template_of_the_portal_has_words_of_its_own() -> None:
    lexer = jinja2.Environment()
    for path in TEMPLATES.glob("*.html"):
        own = "".join(text for _, kind, text in lexer.lex(path.read_text()) if kind == "data")
        own = re.sub(r"<[^>]*>?", " ", own)  # tags, whose attributes come from expressions
        own = re.sub(r'[\w-]+="|"|>|&\w+;', " ", own)
        left = [word for word in re.findall(r"[A-Za-z]{3,}", own) if word not in {"lang", "theme", "css"}]
        assert left == [], path.name


@pytest.mark.parametrize(
    "accent", ["#000000", "#ffffff", "#1f5fbf", "#8f4a1b", "#ffee00", "#808080", "#ff0000", "#00ff7f"]
)
def test_whatever_the_accent_what_is_written_in_it_can_be_read(accent: str) -> None:
    style = theme_style(Theme(primary_color=accent))
    pairs = [tuple(map(Colour.of_hex, pair)) for pair in re.findall(r"light-dark\((#\w{6}), (#\w{6})\)", style)]
    links, on_links, faces, _, on_faces = pairs
    for scheme, backgrounds in enumerate((LIGHT_BACKGROUNDS, DARK_BACKGROUNDS)):
        assert links[scheme].least_contrast(backgrounds) >= 4.5
        assert on_links[scheme].contrast_with(links[scheme]) >= 4.5
        assert on_faces[scheme].contrast_with(faces[scheme]) >= 4.5
        assert faces[scheme].least_contrast(backgrounds) >= 3


def test_contrast_is_judged_against_the_backgrounds_of_the_style_sheet() -> None:
    sheet = (Path(site.__file__).parent / "assets" / "farthing.css").read_text()
    for name, light, dark in zip(("paper", "sheet", "sunken"), LIGHT_BACKGROUNDS, DARK_BACKGROUNDS, strict=True):
        assert f"--{name}: light-dark({light.hex}, {dark.hex});" in sheet


def test_what_is_projected_is_so_far_by_the_part_that_has_passed() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    november = Period(start, start + timedelta(days=30))
    assert projected_amount(Decimal("10.00"), november, start + timedelta(days=10), "usd") == Decimal("30.00")
    assert projected_amount(Decimal(100), november, start + timedelta(days=7), "jpy") == Decimal(429)
    assert projected_amount(Decimal("10.00"), november, start + timedelta(days=40), "usd") == Decimal("10.00")
    assert projected_amount(Decimal("10.00"), november, start + timedelta(hours=23), "usd") is None
