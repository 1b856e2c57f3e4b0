"""What packages are given from above is complete, and does its work in the real application.

Each test here starts from a request to the HTTP server, or from the duty that the worker performs, and sees the whole
effect of a port; nothing is put in a port's place.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from sqlalchemy import func, select

import farthing
from farthing.api.guards import AccessControl
from farthing.app import Services
from farthing.billing.tables import ProrationSettlement
from farthing.core.composition import Composition
from farthing.core.money import plain
from farthing.events.tables import StoredEvent
from farthing.events.usage.event_store import EventStore
from farthing.jobs.duties.duty import perform
from farthing.jobs.duties.schedule import duties
from farthing.storage.postgres import Database
from farthing.wiring import Wiring, wire
from tests.account import Account
from tests.billing.counter import opened, seats
from tests.billing.office import Office
from tests.conftest import running, settings_for
from tests.payments.till import Till
from tests.subscriptions.shop import fixed

ROOT = Path(__file__).parent.parent


# --- complete ---------------------------------------------------------------------------------------------------------


def declared_ports() -> Iterator[type[Any]]:
    """Every dataclass of a `ports.py` that is named after what it holds."""
    for module in pkgutil.walk_packages(farthing.__path__, "farthing."):
        if module.name.endswith(".ports"):
            found = vars(importlib.import_module(module.name)).items()
            yield from (kind for name, kind in found if name.endswith("Ports") and kind.__module__ == module.name)


PORTS = sorted(declared_ports(), key=lambda kind: kind.__qualname__)


def test_each_package_that_declares_ports_is_wired() -> None:
    # where events are stored is the deployment's to say, and no package above has it
    assert set(get_type_hints(Wiring).values()) == {*PORTS, EventStore}


@pytest.mark.parametrize("kind", [*PORTS, Wiring, Services, AccessControl])
def test_nothing_has_a_default(kind: type[Any]) -> None:
    fields = dataclasses.fields(kind)
    assert fields
    for field in fields:
        assert (field.default, field.default_factory) == (dataclasses.MISSING, dataclasses.MISSING), field.name


def test_a_part_is_found_by_its_type_and_by_no_other() -> None:
    wiring = wire()
    for field in dataclasses.fields(wiring):
        assert wiring.part(get_type_hints(Wiring)[field.name]) is getattr(wiring, field.name)
    with pytest.raises(LookupError, match="Wiring has no part of type str"):
        wiring.part(str)


def test_two_parts_of_one_type_are_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Twice(Composition):
        first: int
        second: int

    with pytest.raises(TypeError, match="Twice"):
        Twice(1, 2).part(int)


@pytest.mark.slow
def test_a_port_that_nobody_fills_does_not_type_check(tmp_path: Path) -> None:
    kinds = [*PORTS, Wiring]
    script = tmp_path / "unfilled.py"
    imports = [f"from {kind.__module__} import {kind.__name__}" for kind in kinds]
    script.write_text("\n".join([*imports, *(f"{kind.__name__}()" for kind in kinds)]) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    for line, kind in enumerate(kinds, start=len(kinds) + 1):
        errors = "".join(text for text in done.stdout.splitlines() if f"unfilled.py:{line}: error: Missing" in text)
        for field in dataclasses.fields(kind):
            assert f'"{field.name}"' in errors


# --- whole, as the application sees it --------------------------------------------------------------------------------


@pytest.fixture
async def office(account: Account) -> Office:
    office = Office(account)
    await office.on("2026-01-01")
    return office


async def test_a_customer_with_a_live_subscription_is_not_deleted(office: Office) -> None:
    customer = await office.customer()
    await opened(office, await office.plan(fixed("5")), customer)
    refused = await office.account.delete(f"/customers/{customer['id']}", expect=400)
    assert refused["message"] == "Please cancel all subscriptions before deleting the customer"


async def test_a_debtor_is_not_deleted_by_who_insists_on_settled_invoices(account: Account) -> None:
    till = Till(account)
    invoice = await till.invoice()
    path = f"/customers/{invoice['customer_id']}?require_settled=true"
    refused = await account.delete(path, expect=400)
    assert (refused["code"], refused["details"]["unpaid_invoice_count"]) == ("invalid_operation", 1)
    await till.pay(invoice, "40")
    assert (await account.delete(path, expect=400))["details"]["unpaid_invoice_count"] == 1
    await till.pay(invoice, "60")
    await account.delete(path)


async def test_a_new_customer_has_the_taxes_of_the_tenant(office: Office) -> None:
    await office.account.post("/taxes/rates", {"name": "VAT", "code": "VAT", "percentage_value": "19"})
    of_tenant = {"tax_rate_code": "VAT", "entity_type": "tenant", "entity_id": office.account.tenant_id}
    await office.account.post("/taxes/associations", {**of_tenant, "auto_apply": True}, expect=200)
    customer = await office.customer()
    links = (await office.account.get("/taxes/associations", entity_id=customer["id"]))["items"]
    assert [link["entity_type"] for link in links] == ["customer"]


async def test_a_charged_tax_rate_is_neither_renamed_nor_recoded(office: Office) -> None:
    rate = await office.account.post("/taxes/rates", {"name": "VAT", "code": "VAT", "percentage_value": "19"})
    path = f"/taxes/rates/{rate['id']}"
    await office.account.put(path, {"name": "Value added tax"})
    customer = await office.customer(tax_rate_overrides=[{"tax_rate_code": "VAT", "currency": "usd"}])
    made = await opened(office, await office.plan(fixed("100")), customer)
    assert [f"{invoice.total}".rstrip("0").rstrip(".") for invoice in await office.invoices()] == ["119"]
    for owner in (customer["id"], made["id"]):
        for link in (await office.account.get("/taxes/associations", entity_id=owner))["items"]:
            await office.account.delete(f"/taxes/associations/{link['id']}", expect=200)
    for change in ({"name": "x"}, {"code": "x"}):
        refused = await office.account.put(path, change, expect=400)
        assert "was charged" in refused["message"]


async def test_what_is_in_use_is_not_retired(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    addon = await office.addon(fixed("5"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="MONTHLY")
    await opened(office, plan, addons=[{"addon_id": addon["id"]}])
    delete = office.account.delete
    assert (await delete(f"/meters/{calls['meter_id']}", expect=400))["details"] == {
        "prices": 1,
        "subscription_line_items": 1,
    }
    assert (await delete(f"/features/{calls['id']}", expect=400))["details"] == {"entitlements": 1}
    assert (await delete(f"/plans/{plan['id']}", expect=400))["details"] == {"subscriptions": 1}
    assert (await delete(f"/addons/{addon['id']}", expect=400))["details"] == {
        "active_associations": 1,
        "line_items": 1,
    }


async def test_prices_leave_a_group_that_goes(office: Office) -> None:
    group = await office.account.post("/groups", {"name": "Seats", "entity_type": "price", "lookup_key": "seats"})
    plan = await office.plan(fixed("5", group_id=group["id"]))
    path = f"/prices/{plan['prices'][0]['id']}"
    assert (await office.account.get(path))["group_id"] == group["id"]
    await office.account.delete(f"/groups/{group['id']}")
    assert not (await office.account.get(path)).get("group_id")


async def test_subscriptions_and_cost_sheets_own_prices_and_subscriptions_are_taxed(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("5")))
    sheet = (await office.account.post("/costs", {"name": "Costs"}))["costsheet"]
    for entity_type, entity_id in (("SUBSCRIPTION", made["id"]), ("COSTSHEET", sheet["id"])):
        owner = {"entity_type": entity_type, "entity_id": entity_id}
        assert (await office.account.post("/prices", {**fixed("1"), **owner}))["entity_id"] == entity_id
        await office.account.post("/prices", {**fixed("1"), **owner, "entity_id": "none"}, expect=404)
    await office.account.post("/taxes/rates", {"name": "VAT", "code": "VAT", "percentage_value": "19"})
    taxed = {"tax_rate_code": "VAT", "entity_type": "subscription", "entity_id": made["id"]}
    await office.account.post("/taxes/associations", taxed, expect=200)
    await office.account.post("/taxes/associations", {**taxed, "entity_id": "none"}, expect=404)


async def test_a_coupon_shows_the_line_it_is_attached_to(office: Office) -> None:
    coupon = {"name": "Ten", "coupon_code": "ten", "type": "percentage", "percentage_off": "10", "cadence": "forever"}
    await office.account.post("/coupons", coupon)
    plan = await office.plan(fixed("5"))
    given = [{"coupon_code": "ten", "price_id": plan["prices"][0]["id"]}]
    made = await opened(office, plan, subscription_coupons=given)
    query = {"subscription_ids": made["id"], "expand": "subscription_line_items"}
    (association,) = (await office.account.get("/coupons/associations", **query))["items"]
    assert association["subscription_line_item"]["price_id"] == plan["prices"][0]["id"]


async def test_usage_is_shown_with_what_it_costs(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    await opened(office, await office.plan(office.usage(calls, "2")), customer)
    await office.used("calls", customer, 3, "2026-01-10")
    asked = {"external_customer_id": customer["external_id"], "start_time": "2026-01-01T00:00:00Z"}
    shown = await office.account.post("/events/analytics", {**asked, "end_time": "2026-02-01T00:00:00Z"}, expect=200)
    assert (shown["total_cost"], shown["currency"]) == ("6", "usd")


async def test_credits_go_into_the_payers_wallet(office: Office) -> None:
    plan = await office.plan(fixed("10"))
    line = {"price_id": plan["prices"][0]["id"], "quantity": "3"}
    made = await opened(office, plan, override_line_items=[line])
    answer = await office.account.http.put(
        f"/invoices/{made['latest_invoice']['id']}/payment", json={"payment_status": "SUCCEEDED"}
    )
    assert answer.status_code == 200
    await office.on("2026-01-11")
    shown = await office.account.get(f"/subscriptions/{made['id']}")
    await seats(office, made, shown["line_items"][0], 1)
    async with office.account.transaction(read_only=True) as session:
        owed = (await session.scalars(select(ProrationSettlement))).one()
    (wallet,) = await office.account.get(f"/customers/{made['customer_id']}/wallets")
    (row,) = (await office.account.get(f"/wallets/{wallet['id']}/transactions"))["items"]
    assert (plain(owed.credited_to_payer), owed.wallet_transaction_id) == (row["amount"], row["id"])


async def test_grants_are_given_shown_copied_and_ended(office: Office) -> None:
    plan, account = await office.plan(fixed("10")), office.account
    terms = {"name": "g", "credits": "5", "cadence": "ONETIME", "expiration_type": "NEVER"}
    await account.post("/creditgrants", {**terms, "scope": "PLAN", "plan_id": plan["id"]})
    (shown,) = (await account.get(f"/plans/{plan['id']}", expand="credit_grant"))["credit_grants"]
    copy = await account.post(f"/plans/{plan['id']}/clone", {"name": "Copy", "lookup_key": "copy"})
    assert (shown["credits"], [grant["credits"] for grant in copy["credit_grants"]]) == ("5", ["5"])
    made = await opened(office, plan)
    (granted,) = (await account.get(f"/subscriptions/{made['id']}"))["credit_grants"]
    assert (granted["subscription_id"], granted["plan_id"]) == (made["id"], plan["id"])
    (wallet,) = await account.get(f"/customers/{made['customer_id']}/wallets")
    assert wallet["credit_balance"] == "5"
    await account.post(f"/subscriptions/{made['id']}/cancel", {"cancellation_type": "immediate"}, expect=200)
    assert (await account.get(f"/creditgrants/{granted['id']}"))["end_date"] == "2026-01-01T00:00:00Z"


async def test_a_paid_opening_activates_its_subscription(office: Office) -> None:
    terms: dict[str, Any] = {"collection_method": "send_invoice", "payment_behavior": "default_incomplete"}
    made = await opened(office, await office.plan(fixed("10")), **terms)
    assert made["subscription_status"] == "incomplete"
    (invoice,) = await office.invoices()
    await Till(office.account).pay({"id": invoice.id, "currency": "usd"}, "10")
    assert (await office.account.get(f"/subscriptions/{made['id']}"))["subscription_status"] == "active"


async def test_a_provider_answers_and_a_void_withdraws_the_link(account: Account) -> None:
    till = Till(account)
    await till.connect()
    invoice = await till.invoice()
    link = await till.link(invoice)
    assert link["payment_url"]
    await account.post(f"/invoices/{invoice['id']}/void", expect=200)
    assert (await till.read(link))["payment_status"] == "VOIDED"


async def test_a_revoked_key_is_refused_at_once(account: Account) -> None:
    made = await account.post("/secrets/api/keys", {"name": "k", "type": "private_key"})
    async with account.client(made["api_key"]) as client:
        assert (await client.get("/customers")).status_code == 200
        await account.delete(f"/secrets/api/keys/{made['secret']['id']}")
        assert (await client.get("/customers")).status_code == 401


async def test_retention_keeps_an_open_quarter_and_then_lets_it_go(new_database: Callable[..., str]) -> None:
    """Seven events in January and three in March are billed as ten, whatever 30 days of retention say in March."""
    settings = settings_for(new_database(), event_retention_days=30)
    database = Database(settings.database_url or "", wire(), pool_size=5)
    by_name = {duty.name: duty for duty in duties(database, settings)}

    async with running(settings, database) as url, Account(url, settings, database) as account:
        office = Office(account)

        async def do(name: str, moment: str) -> None:
            await office.on(moment)
            run = await perform(database, by_name[name], office.now)
            assert (run.error, run.counts.get("failed", 0)) == (None, 0)

        async def stored() -> int | None:
            async with account.transaction(read_only=True) as session:
                return await session.scalar(select(func.count()).select_from(StoredEvent))

        await office.on("2026-01-01")
        calls, customer = await office.feature("calls"), await office.customer()
        plan = await office.plan(office.usage(calls, "1", billing_period="QUARTERLY"))
        await opened(office, plan, customer, billing_period="QUARTERLY")
        await office.recorded("calls", customer, ("2026-01-10", 7), ("2026-03-10", 3))
        await do("event_retention", "2026-03-31")
        assert await stored() == 10
        await do("subscription_billing", "2026-04-01T06:00")
        await do("draft_invoice_finalization", "2026-04-01T12:00")
        (invoice,) = (await account.get("/invoices", invoice_type="SUBSCRIPTION"))["items"]
        assert (invoice["invoice_status"], invoice["total"]) == ("FINALIZED", "10")
        await do("event_retention", "2026-05-15")
        assert await stored() == 0
    await database.close()
