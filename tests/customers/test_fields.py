"""What the fields of a customer accept, over HTTP, and how a refusal names what is wrong."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.encoding.wire import BadField
from farthing.core.errors import ValidationFailed
from farthing.customers import fields
from tests.account import Account
from tests.conftest import running, settings_for
from tests.customers.conftest import new_customer

PERSON = {"first_name": "Ada"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("external_id", "", id="an empty external id"),
        pytest.param("external_id", "x" * 256, id="an external id of 256 characters"),
        pytest.param("external_id", None, id="a null external id"),
        pytest.param("external_id", 7, id="a number as external id"),
        pytest.param("external_id", "a\x00b", id="a NUL in the external id"),
        pytest.param("name", "", id="an empty name"),
        pytest.param("name", "x" * 256, id="a name of 256 characters"),
        pytest.param("name", ["a"], id="a list as name"),
        pytest.param("email", "ada", id="an email without an at sign"),
        pytest.param("email", "ada@", id="an email without a domain"),
        pytest.param("email", "ada@localhost", id="an email without a dot in its domain"),
        pytest.param("email", "a b@c.example", id="a space in an email"),
        pytest.param("email", "a@b..example", id="an empty label in an email's domain"),
        pytest.param("email", f"{'a' * 65}@b.example", id="a local part of 65 characters"),
        pytest.param("email", f"a@{'b.' * 150}example", id="an email of more than 254 characters"),
        pytest.param("contact", "1" * 21, id="a contact of 21 characters"),
        pytest.param("address_line1", "x" * 256, id="an address line of 256 characters"),
        pytest.param("address_line2", "x" * 256, id="a second address line of 256 characters"),
        pytest.param("address_city", "x" * 101, id="a city of 101 characters"),
        pytest.param("address_state", "x" * 101, id="a state of 101 characters"),
        pytest.param("address_postal_code", "x" * 21, id="a postal code of 21 characters"),
        pytest.param("address_country", "de", id="a country in lower case"),
        pytest.param("address_country", "XX", id="a country that ISO does not know"),
        pytest.param("address_country", "UK", id="a country code that is only reserved"),
        pytest.param("address_country", "DEU", id="a country of three letters"),
        pytest.param("timezone", "Mars/Olympus", id="a time zone that nobody keeps"),
        pytest.param("timezone", "europe/berlin", id="a time zone in lower case"),
        pytest.param("timezone", "../../etc/passwd", id="a path as time zone"),
        pytest.param("billing_currency", "euro", id="a currency of four letters"),
        pytest.param("billing_currency", "€€€", id="a currency of symbols"),
        pytest.param("tax_treatment", "reverse", id="an unknown tax treatment"),
        pytest.param("metadata", {"a": 1}, id="a number in metadata"),
        pytest.param("metadata", {"a": None}, id="a null in metadata"),
        pytest.param("metadata", {"a": {"b": "c"}}, id="an object in metadata"),
        pytest.param("metadata", {"": "x"}, id="an empty metadata key"),
        pytest.param("metadata", {"k" * 65: "x"}, id="a metadata key of 65 characters"),
        pytest.param("metadata", {"k": "x" * 501}, id="a metadata value of 501 characters"),
        pytest.param("metadata", {str(n): "" for n in range(51)}, id="51 metadata keys"),
        pytest.param("metadata", [], id="a list as metadata"),
        pytest.param("metadata", {"gstin": "27AAPFU0939F1Z"}, id="a GSTIN of 14 characters"),
        pytest.param("metadata", {"gstin": "27AAPFU0939F1XV"}, id="a GSTIN without its Z"),
        pytest.param("metadata", {"pan": "AAPFU09391"}, id="a PAN that ends in a digit"),
        pytest.param("metadata", {"gstin": "27AAPFU0939F1ZV", "pan": "AAPFU0939G"}, id="a PAN that is not the GSTIN's"),
        pytest.param("metadata", {"hsn_sac": "12345"}, id="an HSN code of 5 digits"),
        pytest.param("metadata", {"hsn_sac": "١٢٣٤"}, id="an HSN code in other digits"),
        pytest.param("contact_persons", [{"last_name": "L"}], id="a contact person without a first name"),
        pytest.param("contact_persons", [{"first_name": ""}], id="a contact person with an empty first name"),
        pytest.param("contact_persons", [{**PERSON, "email": "x"}], id="a contact person with a bad email"),
        pytest.param("contact_persons", [{**PERSON, "is_primary": True}] * 2, id="two primary contact persons"),
        pytest.param("contact_persons", [{**PERSON, "is_primary": "yes"}], id="a word where a boolean belongs"),
        pytest.param("contact_persons", [{**PERSON, "id": "1"}] * 2, id="two contact persons of one id"),
        pytest.param("contact_persons", [PERSON] * 51, id="51 contact persons"),
        pytest.param("contact_persons", PERSON, id="an object where a list belongs"),
        pytest.param("tax_rate_overrides", [{"tax_rate_code": "VAT"}], id="a tax override without currency"),
        pytest.param("tax_rate_overrides", [{"currency": "eur"}], id="a tax override without code"),
        pytest.param("skip_onboarding_workflow", "no", id="a word for skipping the onboarding"),
    ],
)
async def test_a_bad_field_is_refused_by_name(account: Account, field: str, value: Any) -> None:
    body = {"external_id": "acme", "name": "Acme", field: value}
    refused = await account.post("/customers", body, expect=400)
    assert refused["code"] == "validation_error"
    assert any(name.startswith(field) for name in refused["details"]) or "\x00" in str(value), refused
    assert (await account.get("/customers"))["items"] == []
    if field not in {"tax_rate_overrides", "skip_onboarding_workflow"} and value is not None:
        made = await new_customer(account)
        await account.put(f"/customers/{made['id']}", {field: value}, expect=400)
        assert await account.get(f"/customers/{made['id']}") == made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("external_id", "x" * 255, id="an external id of 255 characters"),
        pytest.param("external_id", "spaces, 100% and ünïcode 🙂", id="an external id of any characters"),
        pytest.param("email", "ada.lovelace+bills@mail.acme.co.uk", id="an email with a tag and subdomains"),
        pytest.param("email", "ünï@bücher.example", id="an email beyond ASCII"),
        pytest.param("contact", "1" * 20, id="a contact of 20 characters"),
        pytest.param("timezone", "America/Argentina/Buenos_Aires", id="a time zone of three parts"),
        pytest.param("address_country", "GB", id="a country"),
        pytest.param("metadata", {"k" * 64: "v" * 500}, id="metadata at their limits"),
        pytest.param("metadata", {str(n): "" for n in range(50)}, id="50 metadata keys"),
        pytest.param("metadata", {"gstin": " 27aapfu0939f1zv ", "pan": "aapfu0939f"}, id="tax numbers in lower case"),
        pytest.param("metadata", {"hsn_sac": "998314"}, id="an HSN code"),
        pytest.param("metadata", {"gstin": "", "pan": ""}, id="tax numbers left empty"),
    ],
)
async def test_a_good_field_is_kept_as_given(account: Account, field: str, value: Any) -> None:
    body = {"external_id": "acme", "name": "Acme", field: value}
    assert (await account.post("/customers", body))[field] == value


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b"[" * 200_000, id="deep nesting"),
        pytest.param(b'{"external_id":"\\ud800","name":"a"}', id="half a surrogate pair"),
        pytest.param(b'{"external_id":"\xff","name":"a"}', id="bytes that are not UTF-8"),
        pytest.param(b'{"external_id":"a","name":"' + b"x" * 3_000_000 + b'"}', id="three megabytes of name"),
        pytest.param(b'{"external_id":"a","name":"' + b"x" * 5_000_000 + b'"}', id="more than the body may hold"),
    ],
)
async def test_a_body_that_is_no_customer_is_refused(account: Account, body: bytes) -> None:
    answer = await account.http.post("/customers", content=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "validation_error"
    assert answer.json()["error"]["message"] == answer.json()["message"]


async def test_unknown_fields_are_ignored(account: Account) -> None:
    made = await new_customer(account, id="cust_mine", status="archived", parent="x", created_at="yesterday")
    assert made["id"] != "cust_mine"
    assert made["status"] == "published"


async def test_strict_mode_refuses_external_ids_awkward_in_a_url(account: Account, database_url: str) -> None:
    strict = settings_for(database_url, strict_external_ids=True)
    async with running(strict, account.database) as url, httpx.AsyncClient(base_url=f"{url}/v1") as http:
        http.headers["x-api-key"] = account.key
        for external_id in ("a b", "a%20b", "a\tb", "a\x7fb"):
            answer = await http.post("/customers", json={"external_id": external_id, "name": "A"})
            assert answer.status_code == 400
            assert "external_id" in answer.json()["details"]
        answer = await http.post("/customers", json={"external_id": "a/b-c_d.e@f", "name": "A"})
        assert answer.status_code == 201
        made = answer.json()
        assert (await http.put(f"/customers/{made['id']}", json={"external_id": "x y"})).status_code == 400


TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60)
@given(name=TEXT.filter(str.strip), line=TEXT, metadata=st.dictionaries(TEXT.filter(bool), TEXT, max_size=3))
async def test_any_text_comes_back_as_it_went_in(
    account: Account, name: str, line: str, metadata: dict[str, str]
) -> None:
    for key in ("gstin", "pan", "hsn_sac"):
        metadata.pop(key, None)
    made = await account.post(
        "/customers", {"external_id": name, "name": name, "address_line1": line, "metadata": metadata}
    )
    assert (made["name"], made["address_line1"], made["metadata"]) == (name, line, metadata)
    found = await account.post("/customers/search", {"external_id": name, "metadata": metadata}, expect=200)
    assert [customer["id"] for customer in found["items"]] == [made["id"]]
    await account.delete(f"/customers/{made['id']}")


@given(TEXT)
def test_an_email_check_keeps_an_address_or_refuses_it_by_name(text: str) -> None:
    with contextlib.suppress(BadField):
        assert fields.email_address("email", text) == text


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("gstin", "pan", "hsn_sac"), TEXT)))
def test_a_tax_check_keeps_numbers_or_refuses_them_by_name(metadata: dict[str, str]) -> None:
    with contextlib.suppress(ValidationFailed):
        assert fields.metadata(metadata) == metadata
