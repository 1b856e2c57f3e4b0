"""What of a customer is personal, and texts and documents without it."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.erasure.personal import PersonalData

ADA = {
    "name": "Ada Quillfeather",
    "email": "ada@ockham.example",
    "address_line1": "12 Mill Lane",
    "address_city": "Berlin",
    "address_country": "DE",
    "tax_id": "DE123456789",
    "timezone": "Europe/Berlin",
    "contact_persons": [{"id": "1", "first_name": "Jo", "last_name": "Grey", "mobile": "+49 30 1234"}],
    "metadata": {"tier": "gold", "crm": "jo@grey.example", "debited_account": "DE02120300000000202051"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("For Ada Quillfeather", "For {name}", id="the name"),
        pytest.param("for ADA QUILLFEATHER, twice", "for {name}, twice", id="whatever its case"),
        pytest.param("<ada@ockham.example>", "<{email}>", id="an address in brackets"),
        pytest.param("Adaptation of Quillfeathers", "Adaptation of Quillfeathers", id="parts of words stay"),
        pytest.param("a Berlin server in DE", "a Berlin server in DE", id="places are words"),
        pytest.param("call +49 30 1234", "call {mobile}", id="a number of a contact person"),
        pytest.param("Jo Grey, jo@grey.example", "{person}, {crm}", id="a contact person, and an address in metadata"),
        pytest.param("gold", "gold", id="a value of metadata is a word"),
        pytest.param("from DE02120300000000202051", "from {account}", id="an account that is debited"),
        pytest.param("sent to 12 Mill Lane", "sent to {street}", id="a street"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    personal = PersonalData.of([ADA], {})
    named = {
        "name": "ada quillfeather",
        "email": "ada@ockham.example",
        "mobile": "+49 30 1234",
        "person": "jo grey",
        "crm": "jo@grey.example",
        "street": "12 mill lane",
        "account": "de02120300000000202051",
    }
    replacements = {word: personal.replacements[text] for word, text in named.items()}
    assert personal.erased_text(text) == expected.format(**replacements)
    assert len(set(replacements.values())) == len(replacements)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"address_country": "FR", "country": "DE"}, id="another's country"),
        pytest.param({"plan": {"name": "gold"}, "tier": "silver"}, id="a plan that is called like a value of metadata"),
        pytest.param({"id": "ada@ockham.example", "currency": "usd", "amount": "12"}, id="facts of the books"),
        pytest.param({"timezone": "Europe/Berlin", "plan_display_name": "Ada Quillfeather"}, id="zones, the catalogue"),
        pytest.param([1, None, True, {"price": 2.5}], id="what is no text"),
    ],
)
def test_documents_that_name_nobody_stay(document: Any) -> None:
    assert PersonalData.of([ADA], {}).erased_document(document) == document


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"customer": {**ADA}}, id="a customer in a payload"),
        pytest.param({"metadata": {"tier": "gold"}}, id="metadata"),
        pytest.param([{"field": "address_city", "before": "Berlin", "after": ""}], id="a change of a city"),
        pytest.param([{"field": "metadata", "before": {"tier": "gold"}, "after": {}}], id="a change of metadata"),
        pytest.param({"lines": [{"description": "For ada quillfeather"}]}, id="deep in a list"),
    ],
)
def test_documents_that_name_somebody_are_replaced(document: Any) -> None:
    personal = PersonalData.of([ADA], {})
    written = str(personal.erased_document(document)).lower()
    for text in (
        "ada quillfeather",
        "ada@ockham",
        "mill lane",
        "': 'berlin'",
        "'de'",
        "de123456789",
        "jo@grey",
        "gold",
    ):
        assert text not in written


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({"address_country": "DE"}, {"address_country": "DE"}, id="a country"),
        pytest.param({"metadata": {"tier": "gold"}}, {"metadata": {"tier": "gold"}}, id="a value of metadata"),
        pytest.param({"label": "gold"}, {"label": "gold"}, id="a label"),
        pytest.param({"reason": ["Ada Quillfeather"]}, {"reason": ["Ada Quillfeather"]}, id="a fact"),
        pytest.param(["to ada@ockham.example"], ["to {email}"], id="an address of mail"),
    ],
)
def test_where_anybody_may_be_named_only_what_is_unmistakable_is_replaced(document: Any, expected: Any) -> None:
    personal = PersonalData.of([ADA], {}).unmistakably()
    email = personal.replacements["ada@ockham.example"]
    if isinstance(expected, list):
        expected = [text.format(email=email) for text in expected]
    assert personal.erased_document(document) == expected


def test_external_ids_have_names_of_their_own() -> None:
    personal = PersonalData.of([{"external_id": "42"}], {"42": "erased-x"})
    assert personal.erased_document({"external_customer_id": "42", "quantity": "42"}) == {
        "external_customer_id": "erased-x",
        "quantity": "42",
    }


def test_a_customer_without_texts_erases_nothing() -> None:
    assert PersonalData.of([], {}).erased_text("anything") == "anything"
