"""Whatever is sent, the answer is a refusal in the error body, never a failure of ours."""

from __future__ import annotations

import pytest

from tests.account import Account
from tests.invoices.desk import Desk, fixed

BODIES = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b'"text"', id="a text"),
    pytest.param(b"{", id="half an object"),
    pytest.param(b'{"metadata": []}', id="metadata as a list"),
    pytest.param(b'{"metadata": {"a\\u0000": "b"}}', id="a NUL in a key"),
    pytest.param(b'{"payment_status": "PENDING", "amount": 1e999}', id="a number beyond all measure"),
    pytest.param(b'{"payment_status": "PENDING", "amount": "Infinity"}', id="infinity"),
    pytest.param(b'{"type": "line_item", "line_item_params": {"action": "add", "items": [null]}}', id="a null line"),
    pytest.param(b'{"due_date": "0001-01-01T00:00:00+23:59"}', id="a time before time"),
    pytest.param(b"\xff\xfe", id="bytes that are no text"),
    pytest.param(b"[" * 5000, id="a deep hole"),
]


@pytest.mark.parametrize("body", BODIES)
async def test_no_body_breaks_a_door(account: Account, body: bytes) -> None:
    desk = Desk(account)
    draft = await desk.invoice([fixed("10")], invoice_status="DRAFT")
    path = f"/invoices/{draft['id']}"
    headers = {"content-type": "application/json"}
    for method, endpoint in (
        ("post", "/invoices"),
        ("put", path),
        ("put", f"{path}/payment"),
        ("post", f"{path}/modify/execute"),
        ("post", f"{path}/compute"),
        ("post", "/invoices/search"),
    ):
        answer = await account.http.request(method, endpoint, content=body, headers=headers)
        assert answer.status_code < 500, (method, endpoint, answer.text)
        if answer.status_code >= 400:
            assert answer.json()["code"] == "validation_error", (method, endpoint, answer.text)
    assert (await desk.get(draft))["total"] == "10"


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=x",
        "offset=99999999999999999999",
        "amount_due_gt=NaN",
        "start_time=yesterday",
        "start_time=2025-02-01T00:00:00Z&end_time=2025-01-01T00:00:00Z",
        "invoice_type=GIFT",
        "currency=x",
        "skip_line_items=perhaps",
        "sort=nothing",
    ],
)
async def test_a_bad_query_is_refused(account: Account, query: str) -> None:
    answer = await account.http.get(f"/invoices?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")


@pytest.mark.parametrize("token", ["x", "a.b.c", "..%2f", "%00"])
async def test_a_link_that_is_none_opens_nothing(account: Account, token: str) -> None:
    async with account.client() as anybody:
        answer = await anybody.get(f"/invoices/documents/{token}")
        assert answer.status_code in {400, 403, 404}, answer.text
