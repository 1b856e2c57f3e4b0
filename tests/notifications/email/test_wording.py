"""The texts of mails: whole in each language, and what is placed in them."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest

from farthing.core.standards.languages import LANGUAGES
from farthing.identity.settings.catalogue import EmailConfig
from farthing.notifications.email.content.letter import LetterFacts, Letterhead, compose, one_line
from farthing.notifications.email.content.samples import SAMPLES
from farthing.notifications.email.content.wording import CurrencyAmount, LetterValue, texts_of, written
from farthing.notifications.email.tables import EmailKind
from farthing.settings import BadSettings, load

HEAD = Letterhead(seller="Kestrel & Moor", help_address="help@kestrel.example")
_PLACE = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_says_everything_that_english_says(language: str) -> None:
    english, texts = texts_of("en"), texts_of(language)
    assert {section: set(names) for section, names in texts.items()} == {
        section: set(names) for section, names in english.items()
    }
    for section, names in english.items():
        for name, words in names.items():
            assert set(_PLACE.findall(texts[section][name])) == set(_PLACE.findall(words)), (section, name)
    if language != "en":
        same = [name for name, words in english["reminder"].items() if texts["reminder"][name] == words]
        assert same == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", EmailKind)
def test_each_mail_can_be_written_in_each_language(kind: EmailKind, language: str) -> None:
    letter = compose(SAMPLES[kind], HEAD, language, "https://example.com/portal")
    assert letter.subject
    assert f'lang="{language}"' in letter.html
    for written_text in (letter.subject, letter.html, letter.text):
        assert not _PLACE.search(re.sub(r"<style>.*?</style>", "", written_text, flags=re.DOTALL))
    assert "https://example.com/portal" in letter.text
    # nothing is fetched, and nothing tells that it was read
    assert re.findall(r'(?:src|background)="([^"]*)"', letter.html) == []


def test_each_kind_has_a_switch() -> None:
    assert {kind.value for kind in EmailKind} <= set(EmailConfig.__struct_fields__)


@pytest.mark.parametrize(
    ("value", "language", "expected"),
    [
        (CurrencyAmount(Decimal("1234.5"), "usd"), "en", "$1,234.50"),
        (CurrencyAmount(Decimal("1234.5"), "eur"), "de", "1.234,50\xa0€"),
        (CurrencyAmount(Decimal("1234.5"), "eur"), "fr", "1\u202f234,50\xa0€"),
        (CurrencyAmount(Decimal(1234), "jpy"), "ja", "￥1,234"),
        (CurrencyAmount(Decimal("1.25"), "kwd"), "en", "KWD\xa01.250"),
        (CurrencyAmount(Decimal("1234567.5"), "inr"), "hi", "₹12,34,567.50"),
        (CurrencyAmount(Decimal(1234), "isk"), "es", "1.234\xa0ISK"),
        (Decimal("1234.56789"), "de", "1.234,56789"),
        (date(2026, 3, 1), "en", "March 1, 2026"),
        (date(2026, 3, 1), "de", "1. März 2026"),
        (date(2026, 3, 1), "fr", "1 mars 2026"),
        (date(2026, 3, 1), "es", "1 de marzo de 2026"),
        (date(2026, 3, 1), "hi", "1 मार्च 2026"),
        (date(2026, 3, 1), "ja", "2026年3月1日"),
    ],
)
def test_amounts_and_days_are_written_as_the_language_does(value: LetterValue, language: str, expected: str) -> None:
    assert written(value, language).replace("KWD1", "KWD\xa01") == expected


def test_what_a_customer_is_called_is_text_and_nothing_else() -> None:
    values = {**SAMPLES[EmailKind.INVOICE_ISSUED].values, "customer": "<b>{number}</b>\r\nX: 1 {seller.__class__}"}
    facts = LetterFacts(kind=EmailKind.INVOICE_ISSUED, values=values, rows=("number",), variant="due")
    letter = compose(facts, HEAD, "en", "")
    assert "&lt;b&gt;{number}&lt;/b&gt; X: 1 {seller.__class__}" in letter.html
    assert one_line("a\r\nb\u2028c\u202ed") == "a b c d"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"FARTHING_SMTP_URL": "smtp://mail.example.com"}, "needs FARTHING_MAIL_FROM"),
        ({"FARTHING_MAIL_FROM": "a@b.example"}, "needs FARTHING_SMTP_URL"),
        ({"FARTHING_SMTP_URL": "http://mail.example.com", "FARTHING_MAIL_FROM": "a@b.example"}, "must begin with"),
        ({"FARTHING_SMTP_URL": "mail.example.com:25", "FARTHING_MAIL_FROM": "a@b.example"}, "must begin with"),
        ({"FARTHING_SMTP_URL": "smtp://", "FARTHING_MAIL_FROM": "a@b.example"}, "must name a host"),
        ({"FARTHING_SMTP_URL": "smtp://mail:70000", "FARTHING_MAIL_FROM": "a@b.example"}, "must look like"),
        ({"FARTHING_SMTP_URL": "smtp://u:hush@mail", "FARTHING_MAIL_FROM": "a@b.example"}, "in clear"),
        ({"FARTHING_SMTP_URL": "smtps://u@mail", "FARTHING_MAIL_FROM": "a@b.example"}, "both a user and a password"),
        ({"FARTHING_SMTP_URL": "smtps://u:hush/h@mail", "FARTHING_MAIL_FROM": "a@b.example"}, "%2F"),
        ({"FARTHING_SMTP_URL": "smtps://mail/path", "FARTHING_MAIL_FROM": "a@b.example"}, "must end with"),
        ({"FARTHING_SMTP_URL": "smtps://mail", "FARTHING_MAIL_FROM": "nobody"}, "FARTHING_MAIL_FROM must be"),
        ({"FARTHING_SMTP_URL": "smtps://mail", "FARTHING_MAIL_FROM": "A <a@b.example>"}, "FARTHING_MAIL_FROM must be"),
        ({"FARTHING_MAIL_TEST_TO": "a@b.example, c@d.example"}, "FARTHING_MAIL_TEST_TO must be"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_in_one_line(given: dict[str, str], words: str) -> None:
    with pytest.raises(BadSettings) as refusal:
        load(given)
    assert words in str(refusal.value)
    assert "hush" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
