"""An assistant that asks a running Farthing: what it is told, what it may do, and what it is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from farthing.assistants.api import ApiRefused, FarthingApi
from tests.account import Account
from tests.billing.office import Office
from tests.ports import free_port
from tests.processes import farthing, run_farthing
from tests.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from mcp import Client  # takes most of a second to load, in each worker that collects these tests

READING = {
    "find_customers",
    "get_customer_summary",
    "list_invoices",
    "get_invoice",
    "explain_invoice_line",
    "preview_next_invoice",
    "get_usage",
    "get_statement",
    "list_payments",
    "get_wallet_balances",
    "list_notes",
    "list_subscriptions",
    "get_plan_prices",
    "list_reports",
    "run_report",
}
CHANGING = {"add_note", "create_draft_invoice", "send_invoice_email", "record_payment"}
TIERS = [{"up_to": 1000, "unit_amount": "0.05"}, {"up_to": None, "unit_amount": "0.02"}]


class Assistant:
    """An assistant in a session; `tell` calls a tool, `refusal` one that must fail."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def tools(self) -> dict[str, Any]:
        return {tool.name: tool for tool in (await self.client.list_tools()).tools}

    async def tell(self, tool: str, **arguments: Any) -> Any:
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return result.structured_content

    async def refusal(self, tool: str, **arguments: Any) -> str:
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        return "".join(getattr(part, "text", "") for part in result.content)


def is_described(argument: dict[str, Any]) -> bool:
    """Whether an argument, or what it is where it is given, says what it means."""
    return bool(argument.get("description")) or any(map(is_described, argument.get("anyOf", ())))


@asynccontextmanager
async def assistant(account: Account, key: str = "", *, allows_changes: bool = False) -> AsyncIterator[Assistant]:
    """An assistant of the server's own, without a process between; what it asks goes over HTTP."""
    from mcp import Client

    from farthing.assistants.server import build_server

    async with (
        FarthingApi(account.base_url, lambda: key or account.key) as api,
        Client(build_server(api, allows_changes=allows_changes)) as client,
    ):
        yield Assistant(client)


@pytest.fixture
async def office(account: Account) -> Office:
    """Acme was billed for February: a fee of 40, and 1,500 calls in two tiers. 30 of it are paid."""
    office = await Office(account).set_up()
    calls = await office.feature()
    plan = await office.plan(
        {**office.usage(calls, "0"), "billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS, "amount": None},
        {**office.usage(calls, "40"), "type": "FIXED", "meter_id": None},
    )
    acme = await office.customer("acme")
    await account.put(f"/customers/{acme['id']}", {"name": "Acme Ltd", "email": "ap@acme.example"})
    await office.on("2026-02-01")
    await office.subscribed(plan, acme)
    await office.used("calls", acme, 1000, "2026-02-10")
    await office.used("calls", acme, 500, "2026-02-11")
    await office.run("2026-03-01")
    (invoice,) = (await account.get("/invoices", customer_id=acme["id"], invoice_status="FINALIZED"))["items"]
    paid = {"destination_type": "INVOICE", "destination_id": invoice["id"], "payment_method_type": "OFFLINE"}
    await account.post("/payments", {**paid, "amount": "30", "currency": "usd", "process_payment": True})
    await office.on("2026-03-02")
    return office


@pytest.mark.slow
async def test_over_http_each_request_asks_with_its_own_key(office: Office, stranger: Account) -> None:
    account, port = office.account, free_port()
    process = farthing(["mcp", "--http", "--port", str(port)], {"FARTHING_URL": account.base_url})
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        async with httpx.AsyncClient() as plain:
            await until(lambda: _listens(plain, url))
            refused = await plain.post(url, json={})
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            elsewhere = {"Authorization": f"Bearer {account.key}", "Host": "elsewhere.example"}
            assert (await plain.post(url, json={}, headers=elsewhere)).status_code == 421
        async with _over_http(url, account.key) as ours, _over_http(url, stranger.key) as theirs:
            assert set(await ours.tools()) == READING
            for _ in range(2):
                found = await asyncio.gather(*(each.tell("find_customers", name="acme") for each in (ours, theirs)))
                assert ["Acme Ltd" in str(answer) for answer in found] == [True, False]
        async with _over_http(url, "sk_NOBODYNOBODYNOBODYNOBODYNO") as nobody:
            assert "the API key is not accepted" in await nobody.refusal("find_customers", name="acme")
    finally:
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) in {0, -signal.SIGTERM}


async def _listens(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 401
    except httpx.TransportError:
        return False


@asynccontextmanager
async def _over_http(url: str, key: str) -> AsyncIterator[Assistant]:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async with (
        create_mcp_http_client({"Authorization": f"Bearer {key}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield Assistant(client)


@pytest.mark.slow
async def test_a_process_tells_an_assistant_what_acme_owes_and_why(office: Office) -> None:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters

    account = office.account
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "farthing", "mcp"],
        env={**os.environ, "FARTHING_URL": account.base_url, "FARTHING_KEY": account.key},
    )
    async with Client(command, read_timeout_seconds=2 * PATIENCE_SECONDS) as client:
        acme = Assistant(client)
        tools = await acme.tools()
        assert set(tools) == READING, "nothing that changes anything is offered unless it is allowed"
        for tool in tools.values():
            assert tool.description
            assert tool.annotations.read_only_hint
            assert all(is_described(argument) for argument in tool.input_schema["properties"].values()), tool.name

        summary = await acme.tell("get_customer_summary", customer="acme")
        id = summary["customer"]["id"]
        said = (await account.get(f"/customers/{id}/invoices/summary", scope="billed"))["summaries"]
        assert summary["owes"] == [
            {name: value for name, value in row.items() if name != "customer_id"} for row in said
        ]
        assert summary["owes"][0]["total_unpaid_amount"] == "70"
        (unpaid,) = summary["unpaid_invoices"]["items"]
        assert (unpaid["amount_remaining"], unpaid["currency"], unpaid["total"]) == ("70", "usd", "100")

        invoice = await acme.tell("get_invoice", invoice_id=unpaid["id"])
        (calls,) = [line for line in invoice["lines"] if line["price_type"] == "USAGE"]
        assert (calls["quantity"], calls["amount"]) == ("1500", "60")
        assert [tier["unit_amount"] for tier in calls["price"]["tiers"]] == ["0.05", "0.02"]

        story = await acme.tell("explain_invoice_line", invoice_id=unpaid["id"], line_id=calls["id"])
        parts = [
            (part["tier"], part["quantity"], part["unit_amount"], part["amount"]) for part in story["price"]["parts"]
        ]
        assert parts == [(1, "1000", "0.05", "50"), (2, "500", "0.02", "10")]
        assert story["usage_now"] == {"quantity": "1500", "event_count": 1500, "agrees": True}

        prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
        assert prompts == {"who_owes_most", "what_a_customer_owes"}
        prompt = await client.get_prompt("what_a_customer_owes", {"customer": "Acme Ltd"})
        assert "Acme Ltd" in str(prompt.messages[0].content)


async def test_every_reading_tool_answers(office: Office) -> None:
    account = office.account
    async with assistant(account) as acme:
        (found,) = (await acme.tell("find_customers", name="cme"))["items"]
        assert (found["external_id"], found["name"]) == ("acme", "Acme Ltd")
        (invoice,) = (await acme.tell("list_invoices", external_customer_id="acme", only_unpaid=True))["items"]
        (subscription,) = (await acme.tell("list_subscriptions", customer="Acme Ltd"))["items"]
        assert subscription["subscription_status"] == "active"
        plan = await acme.tell("get_plan_prices", plan=subscription["plan_id"])
        assert sorted(price["type"] for price in plan["prices"]) == ["FIXED", "USAGE"]
        preview = await acme.tell("preview_next_invoice", subscription_id=subscription["id"])
        assert preview["subtotal"] == "40"
        used = await acme.tell("get_usage", customer="acme", start="2026-02-01T00:00:00", end="2026-03-01T00:00:00Z")
        assert [(item["total_usage"], item["total_cost"]) for item in used["items"]] == [("1500", "60")]
        assert (await acme.tell("get_usage", customer="acme"))["features"] == []  # the plan includes none
        statement = await acme.tell(
            "get_statement", customer="acme", currency="USD", start="2026-02-01T00:00:00Z", end="2026-04-01T00:00:00Z"
        )
        moved = [(entry["kind"], entry["amount"], entry["balance"]) for entry in statement["entries"]]
        assert moved == [("invoice", "100", "100"), ("payment", "-30", "70")]
        assert (statement["opening_balance"], statement["closing_balance"]) == ("0", "70")
        (payment,) = (await acme.tell("list_payments", invoice_id=invoice["id"]))["items"]
        assert (payment["amount"], payment["payment_status"]) == ("30", "SUCCEEDED")
        assert (await acme.tell("get_wallet_balances", customer="acme"))["wallets"] == []
        assert await acme.tell("list_notes", customer="acme") == {"items": []}
        keys = str(await acme.tell("list_reports"))
        assert "total_receivables" in keys
        report = await acme.tell("run_report", key="total_receivables", time_range="2026-02-01..2026-03-02")
        assert "70" in str(report["rows"])
        assert await acme.refusal("add_note", customer="acme", text="x", idempotency_key="note-0001")


async def test_changes_are_made_once_and_only_where_they_are_allowed(office: Office) -> None:
    account = office.account
    async with assistant(account, allows_changes=True) as acme:
        assert set(await acme.tools()) == READING | CHANGING
        for _ in range(2):
            await acme.tell("add_note", customer="acme", text="Pays on Friday", idempotency_key="note-0001")
        (note,) = (await acme.tell("list_notes", customer="acme"))["items"]
        assert note["body"] == "Pays on Friday"

        lines = [{"display_name": "Workshop", "amount": "100.10"}, {"display_name": "Travel", "amount": "20.05"}]
        asked = {"customer": "acme", "currency": "usd", "lines": lines, "idempotency_key": "draft-0001"}
        draft = await acme.tell("create_draft_invoice", **asked)
        assert (draft["invoice_status"], draft["total"]) == ("DRAFT", "120.15")
        assert (await acme.tell("create_draft_invoice", **asked))["id"] == draft["id"]
        assert (await acme.tell("get_customer_summary", customer="acme"))["owes"][0]["total_unpaid_amount"] == "70"

        (invoice,) = (await acme.tell("list_invoices", only_unpaid=True))["items"]
        asked = {"invoice_id": invoice["id"], "amount": "70", "currency": "usd", "idempotency_key": "transfer-1"}
        assert not (await acme.tell("record_payment", **asked))["recorded"], "not before a person has agreed"
        assert (await account.get(f"/invoices/{invoice['id']}"))["amount_remaining"] == "70"
        for _ in range(2):
            assert (await acme.tell("record_payment", **asked, confirmed=True))["recorded"]
        assert (await account.get(f"/invoices/{invoice['id']}"))["amount_remaining"] == "0"
        assert (await acme.tell("list_payments", invoice_id=invoice["id"]))["total"] == 2

        sent = await acme.tell("send_invoice_email", invoice_id=invoice["id"], idempotency_key="mail-0001")
        assert sent["email"] == "off"
        assert "idempotency_key" in await acme.refusal("record_payment", invoice_id="x", amount="1", currency="usd")


async def test_an_assistant_can_do_no_more_than_its_key(office: Office) -> None:
    account = office.account
    lesser = await account.new_key(["event_reader"])
    async with assistant(account, lesser, allows_changes=True) as acme:
        for refused in (
            await acme.refusal("get_customer_summary", customer="acme"),
            await acme.refusal("list_invoices"),
            await acme.refusal("add_note", customer="acme", text="x", idempotency_key="note-0001"),
        ):
            assert "the role of the API key does not allow this" in refused
            assert lesser not in refused
    async with assistant(account, "sk_WRONGWRONGWRONGWRONG") as acme:
        refused = await acme.refusal("list_invoices")
        assert "not accepted" in refused
        assert "WRONG" not in refused


async def test_strangers_and_several_of_a_name_are_told_apart(account: Account, stranger: Account) -> None:
    for number in (1, 2):
        await account.post("/customers", {"external_id": f"twin-{number}", "name": f"Twin {number}"})
    await stranger.post("/customers", {"external_id": "theirs", "name": "Theirs"})
    async with assistant(account) as helper:
        refused = await helper.refusal("get_customer_summary", customer="Twin")
        assert "twin-1" in refused
        assert "twin-2" in refused
        assert "No customer" in await helper.refusal("get_customer_summary", customer="theirs")
        assert "currency" in await helper.refusal(
            "get_statement", customer="twin-1", currency="dollars", start="2026-01-01", end="2026-02-01"
        )
        assert "end_time: must be after start_time" in await helper.refusal(
            "get_statement", customer="twin-1", currency="usd", start="2026-02-01", end="2026-01-01"
        )


async def test_an_answer_is_never_endless(account: Account) -> None:
    customer = await account.post("/customers", {"external_id": "large", "name": "Large"})
    lines = [{"display_name": "x" * 255, "amount": "1", "quantity": "1"} for _ in range(1000)]
    totals = dict.fromkeys(("subtotal", "total", "amount_due"), "1000")
    body = {"customer_id": customer["id"], "currency": "usd", "line_items": lines, **totals}
    invoice = await account.post("/invoices", body)
    async with assistant(account) as helper:
        first = await helper.tell("get_invoice", invoice_id=invoice["id"])
        assert (len(first["lines"]), first["line_count"], first["next_line_offset"]) == (50, 1000, 50)
        last = await helper.tell("get_invoice", invoice_id=invoice["id"], line_offset=950)
        assert len(last["lines"]) == 50
        assert "next_line_offset" not in last


@pytest.mark.slow
def test_what_a_start_needs_is_said_in_one_line() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FARTHING_", "API_KEY"))}
    no_key = run_farthing(["mcp"], clean)
    assert (no_key.returncode, no_key.stdout) == (2, "")
    assert "key is required" in no_key.stderr
    no_address = run_farthing(["mcp", "--url", "ftp://x"], {**clean, "FARTHING_KEY": "sk_x"})
    assert (no_address.returncode, no_address.stdout) == (2, "")
    assert "must be an http or https address" in no_address.stderr


@pytest.mark.parametrize("given", ["", ".", ".."])
async def test_what_is_no_id_leads_to_no_other_path(account: Account, given: str) -> None:
    async with FarthingApi(account.base_url, lambda: account.key) as api:
        with pytest.raises(ApiRefused, match="There is nothing with the id"):
            await api.get("invoices", given, "lines")
