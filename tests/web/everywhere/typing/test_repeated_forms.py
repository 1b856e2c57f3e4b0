"""A form that is sent again does nothing twice, and what is no repeat is not taken for one."""

from __future__ import annotations

import pytest

from tests.invoices.desk import Desk
from tests.web.stage import Stage
from tests.web.visitor import Visitor


async def test_another_note_or_file_from_the_same_page_is_no_repeat(own: Stage, inside: Visitor) -> None:
    customer = await Desk(own.account).customer()
    form = {"form_token": await inside.token(), "once": "once", "entity_type": "customer", "entity_id": customer}
    for body in ("They pay on Friday", "They pay on Monday", "They pay on Friday"):
        assert (await inside.post("/internal-notes", {**form, "body": body})).status_code == 303
    for name, content in (("a.txt", b"one"), ("b.txt", b"two"), ("a.txt", b"one")):
        answer = await inside.http.post("/attachments", data=form, files={"file": (name, content)})
        assert answer.status_code == 303
    page = (await inside.http.get(f"/customers/{customer}")).text
    assert page.count("/internal-notes/") == page.count("/attachments/") // 2 == 2
    assert all(page.count(f">{left}<") == 1 for left in ("They pay on Friday", "They pay on Monday", "a.txt", "b.txt"))


async def test_another_transfer_is_not_said_to_be_recorded_where_it_is_taken_for_a_repeat(
    own: Stage, inside: Visitor
) -> None:
    customer = await Desk(own.account).customer()
    form = {"form_token": await inside.token(), "once": "once", "customer": customer, "currency": "usd"}
    form |= {"amount": "10", "method": "bank_transfer", "keep_rest": "yes"}
    for reference, said in (("RF1", "$10.00 recorded"), ("RF2", "It is recorded already")):
        answer = await inside.post("/payments/new", {**form, "reference": reference})
        assert answer.status_code == 303, answer.text
        assert said in (await inside.http.get(answer.headers["location"])).text
    assert len((await own.account.get("/payments"))["items"]) == 1


@pytest.mark.parametrize("odd", [{"amount": "9" * 16}, {"currency": "zz"}])
async def test_a_transfer_that_no_book_can_hold_is_refused_on_its_form(
    own: Stage, inside: Visitor, odd: dict[str, str]
) -> None:
    customer = await Desk(own.account).customer()
    form = {"form_token": await inside.token(), "once": "once", "customer": customer, "currency": "usd"}
    form |= {"amount": "10", "method": "bank_transfer", "keep_rest": "yes"}
    answer = await inside.post("/payments/new", {**form, **odd})
    assert (answer.status_code, answer.headers["content-type"][:9]) == (400, "text/html")
    assert 'id="wrong-amount"' in answer.text


async def test_an_invoice_made_again_after_it_was_voided_is_the_one_that_stands(own: Stage, inside: Visitor) -> None:
    customer = await Desk(own.account).customer()
    form = {"form_token": await inside.token(), "once": "once", "customer": customer, "currency": "usd"}
    form |= {"name-0": "Workshop", "amount-0": "10", "action": "issue"}
    first = (await inside.post("/invoices/new", form)).headers["location"]
    await own.account.post(f"{first}/void", {}, expect=200)
    second, third = [(await inside.post("/invoices/new", form)).headers["location"] for _ in range(2)]
    assert first != second == third
