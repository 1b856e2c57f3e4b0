"""A company that moves: the books that it has at the source, and both sides as the tests look at them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console

from farthing.doctor.examination import audit
from farthing.migration.command import RequestedMigration, migrate
from farthing.subscriptions.tables import Subscription
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed

MOVED_ON = "2026-03-10"
OPEN_SINCE = "2026-03-01"
NEXT_PERIOD = "2026-04-01"

Body = Mapping[str, Any]


@dataclass
class Removal:
    """`source` is the office that has the books, `target` an empty environment of another tenant."""

    source: Office
    target: Office

    async def migrate(self, **given: Any) -> tuple[int, str]:
        """Copy in this process; the exit status and what was printed."""
        output = io.StringIO()
        values = {
            "url": self.source.account.base_url,
            "key": self.source.account.key,
            "source_environment": None,
            "environment": self.target.account.environment_id,
            "events_since": at(OPEN_SINCE),
            "report": None,
            "dry_run": False,
            "only_compare": False,
        }
        console = Console(file=output, width=200, soft_wrap=True)
        requested = RequestedMigration(**{**values, **given})
        status = await migrate(self.target.account.database, console, requested)
        return status, output.getvalue()

    async def reported(self, folder: Path, **given: Any) -> tuple[int, dict[str, Any]]:
        """The same, with the report as JSON."""
        path = folder / "report.json"
        status, _ = await self.migrate(report=path, **given)
        return status, json.loads(path.read_text())

    async def differences(self) -> list[str]:
        """What the doctor says of the target."""
        findings = await audit(self.target.account.database, only=[self.target.account.environment_id])
        return [str(difference) for difference in findings.differences]

    async def bill_both(self, moment: str = NEXT_PERIOD) -> None:
        """Let both sides bill what is due at a moment."""
        for office in (self.source, self.target):
            summary = await office.run(moment)
            assert summary.failed == {}


async def customers_of(office: Office) -> dict[str, str]:
    """The ids of customers by what they are called outside."""
    page = await office.account.post("/customers/search", {"limit": 100}, expect=200)
    return {customer["external_id"]: customer["id"] for customer in page["items"]}


async def summaries_of(office: Office) -> dict[str, Any]:
    """What each customer owes, by its external id."""
    found = {}
    for external_id, customer_id in (await customers_of(office)).items():
        answer = await office.account.get(f"/customers/{customer_id}/invoices/summary")
        found[external_id] = [
            {name: value for name, value in summary.items() if name != "customer_id"} for summary in answer["summaries"]
        ]
    return found


async def open_invoices_of(office: Office) -> dict[str, tuple[str, ...]]:
    """Number, and what stands on each invoice that is issued."""
    page = await office.account.post("/invoices/search", {"limit": 500, "invoice_status": ["FINALIZED"]}, expect=200)
    figures = ("subtotal", "total_discount", "total_tax", "total", "amount_due", "amount_paid", "amount_remaining")
    return {
        invoice["invoice_number"]: (
            *(invoice[figure] for figure in figures),
            str(invoice.get("due_date")),
            str(invoice.get("finalized_at")),
            invoice["payment_status"],
        )
        for invoice in page["items"]
    }


async def terms_of(office: Office) -> dict[str, Any]:
    """What was agreed with each customer that nothing has billed yet: phases, pause, family, commitments, groups."""
    names = {customer_id: external_id for external_id, customer_id in (await customers_of(office)).items()}
    page = await office.account.post("/subscriptions/search", {"limit": 100}, expect=200)
    owners = {each["id"]: names[each["customer_id"]] for each in page["items"]}
    found = {}
    for each in page["items"]:
        whole = await office.account.get(f"/subscriptions/{each['id']}")
        found[owners[each["id"]]] = {
            **{name: whole.get(name) for name in AGREED},
            "parent": owners.get(whole.get("parent_subscription_id") or ""),
            "payer": names.get(whole.get("invoicing_customer_id") or ""),
            "phases": [(phase["start_date"], phase.get("end_date")) for phase in whole.get("phases") or ()],
            "pauses": [{name: pause.get(name) for name in PAUSED} for pause in whole.get("pauses") or ()],
            "items": sorted(
                (str(item["display_name"]), str(item["quantity"]), *(str(item.get(name)) for name in ITEM))
                for item in whole.get("line_items") or ()
            ),
        }
    return found


async def groups_of(office: Office) -> dict[str, list[str]]:
    """What is in each group, by the names of prices and features."""
    page = await office.account.post("/groups/search", {"limit": 100}, expect=200)
    names = {group["id"]: group["lookup_key"] for group in page["items"]}
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for path, label in (("/prices/search", "amount"), ("/features/search", "name")):
        listed = await office.account.post(path, {"limit": 100}, expect=200)
        for member in listed["items"]:
            if member.get("group_id"):
                found[names[member["group_id"]]].append(member[label])
    return found


AGREED = (
    "subscription_status",
    "subscription_type",
    "pause_status",
    "commitment_amount",
    "overage_factor",
    "enable_true_up",
    "current_period_start",
    "current_period_end",
    "cancel_at",
    "trial_end",
)
PAUSED = ("pause_status", "pause_start", "pause_end", "reason")
ITEM = (
    "start_date",
    "end_date",
    "commitment_amount",
    "commitment_quantity",
    "commitment_overage_factor",
    "commitment_true_up_enabled",
)


async def billed_after(office: Office, moment: str) -> list[tuple[str, str, str, str]]:
    """What was invoiced from a moment on: customer, reason, period and total."""
    names = {customer_id: external_id for external_id, customer_id in (await customers_of(office)).items()}
    return sorted(
        (
            names[invoice.customer_id],
            str(invoice.billing_reason),
            f"{invoice.period_start:%m-%d}..{invoice.period_end:%m-%d}",
            f"{invoice.total:.2f}",
        )
        for invoice in await office.invoices()
        if invoice.period_end is not None and invoice.created_at >= at(moment)
    )


async def fill(office: Office) -> None:
    """A year's beginning of a small company: fees, tiers, a coupon, a tax, an addon, credits, payments."""
    await office.on("2026-01-01")
    post = office.account.post
    feature = await office.feature()
    plan = await office.plan(
        fixed("20", display_name="Base"),
        fixed("5", invoice_cadence="ARREAR", display_name="Support"),
        office.usage(
            feature,
            "0",
            billing_model="TIERED",
            tier_mode="SLAB",
            tiers=[{"up_to": 10, "unit_amount": "1"}, {"unit_amount": "0.5", "flat_amount": "2"}],
        ),
        name="Pro",
    )
    await office.entitle(plan, feature, usage_limit=2, usage_reset_period="MONTHLY")
    addon = await office.addon(fixed("7"), key="seats")
    await post("/taxes/rates", {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "10"})
    await post(
        "/coupons",
        {
            "name": "Friends",
            "coupon_code": "FRIENDS",
            "type": "percentage",
            "percentage_off": "25",
            "cadence": "forever",
        },
    )
    vat = [{"tax_rate_code": "vat", "currency": "usd"}]
    acme = await office.customer("acme", email="pay@acme.example", address_country="DE", tax_rate_overrides=vat)
    globex = await office.customer("globex", timezone="Europe/Berlin", metadata={"crm": "42"})
    initech, hooli = await office.customer("initech"), await office.customer("hooli")
    await office.subscribed(
        plan,
        acme,
        subscription_coupons=[{"coupon_code": "FRIENDS"}],
        addons=[{"addon_id": addon["id"]}],
    )
    await office.subscribed(
        plan,
        globex,
        override_line_items=[{"price_id": plan["prices"][0]["id"], "amount": "15", "quantity": "3"}],
    )
    ending = await office.subscribed(plan, hooli)
    paused = await subscribe_others(office, plan, feature)
    await office.used("calls", acme, 15, "2026-01-10")
    await office.used("calls", globex, 30, "2026-01-11")
    await office.used("calls", {"external_id": "wayne-labs"}, 9, "2026-01-12")
    await office.run("2026-02-01")
    await office.on("2026-02-03")
    await pay(office, "acme", "20")
    await office.used("calls", acme, 8, "2026-02-10")
    await office.run("2026-03-01")
    await office.on("2026-03-05")
    await office.subscribed(plan, initech, trial_period_days=14)
    await post(f"/subscriptions/{ending.id}/cancel", {"cancellation_type": "end_of_period"}, expect=200)
    await post(
        f"/subscriptions/{paused.id}/pause", {"pause_end": "2026-03-20T00:00:00Z", "reason": "moving"}, expect=200
    )
    await office.used("calls", acme, 20, "2026-03-04")
    await office.used("calls", globex, 4, "2026-03-04")
    for external_id, count in (("wayne", 3), ("wayne-labs", 5), ("umbrella", 9)):
        await office.used("calls", {"external_id": external_id}, count, "2026-03-06")
    wallet = await post("/wallets", {"customer_id": acme["id"], "currency": "usd", "name": "Credits"}, expect=200)
    for terms in (
        {"credits_to_add": "6", "transaction_reason": "FREE_CREDIT_GRANT", "expiry_date_utc": "2026-03-20T00:00:00Z"},
        {"credits_to_add": "4", "transaction_reason": "PURCHASED_CREDIT_DIRECT"},
    ):
        await post(f"/wallets/{wallet['id']}/top-up", {**terms, "idempotency_key": terms["credits_to_add"]}, expect=200)
    await post(
        "/invoices",
        {
            "customer_id": globex["id"],
            "currency": "usd",
            "amount_due": "99.5",
            "subtotal": "99.5",
            "total": "99.5",
            "invoice_number": "ONE-OFF-1",
            "due_date": "2026-03-08T00:00:00Z",
            "line_items": [{"display_name": "Training", "amount": "99.5", "quantity": "1", "price_type": "FIXED"}],
        },
    )
    await office.on(MOVED_ON)


async def subscribe_others(office: Office, plan: Body, feature: Body) -> Subscription:
    """Phases, a family, grouped seats, commitments, prices and a feature in groups; the one that will be paused."""
    customers = {
        name: await office.customer(name)
        for name in ("stark", "wayne", "wayne-labs", "umbrella", "oscorp", "oscorp-team", "tyrell")
    }
    groups = {
        kind: await office.account.post("/groups", {"name": kind, "entity_type": kind, "lookup_key": f"{kind}s"})
        for kind in ("price", "feature")
    }
    await office.account.put(f"/features/{feature['id']}", {"group_id": groups["feature"]["id"]})
    grouped = await office.plan(
        fixed("12", group_id=groups["price"]["id"]), office.usage(feature, "0.5"), name="Committed"
    )
    base, calls = plan["prices"][0]["id"], grouped["prices"][1]["id"]
    await office.subscribed(
        plan,
        customers["stark"],
        phases=[
            {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-04-01T00:00:00Z"},
            {"start_date": "2026-04-01T00:00:00Z", "override_line_items": [{"price_id": base, "amount": "33"}]},
        ],
    )
    await office.subscribed(
        plan,
        customers["wayne"],
        inheritance={"external_customer_ids_to_inherit_subscription": ["wayne-labs"]},
    )
    await office.subscribed(
        grouped, customers["umbrella"], commitment_amount="30", overage_factor="2", enable_true_up=True
    )
    await office.subscribed(
        grouped,
        customers["oscorp"],
        line_item_commitments={calls: {"commitment_quantity": "40", "overage_factor": "1.5", "enable_true_up": True}},
        inheritance={
            "grouped_invoicing_children_to_create": [
                {"plan_id": plan["id"], "external_customer_id": "oscorp-team"},
            ]
        },
    )
    return await office.subscribed(plan, customers["tyrell"])


async def pay(office: Office, external_id: str, amount: str) -> None:
    """Pay a part of what a customer has owed longest."""
    customer_id = (await customers_of(office))[external_id]
    invoices = [
        invoice
        for invoice in await office.invoices()
        if invoice.customer_id == customer_id and invoice.amount_remaining >= Decimal(amount)
    ]
    await office.account.post(
        "/payments",
        {
            "destination_type": "INVOICE",
            "destination_id": invoices[0].id,
            "payment_method_type": "OFFLINE",
            "amount": amount,
            "currency": "usd",
            "process_payment": True,
        },
    )
