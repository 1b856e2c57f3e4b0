"""What a migration refuses, survives and reports."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.settings import Settings
from farthing.storage.postgres import Database
from tests.account import Account
from tests.billing.office import Office
from tests.migration.conftest import removal_of
from tests.migration.go_between import going_between
from tests.migration.removal import Removal, customers_of, open_invoices_of, summaries_of


@dataclass(frozen=True)
class Moved:
    """A dry run, and then a migration to the end."""

    removal: Removal
    dry_status: int
    dry_report: dict[str, Any]
    customers_after_dry_run: dict[str, str]
    status: int


@pytest.fixture(scope="module")
async def moved(
    source: Office, base_url: str, settings: Settings, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Moved]:
    """What has been copied, to be looked at."""
    async with Account(base_url, settings, database) as account:
        removal = await removal_of(source, account)
        dry_status, dry_report = await removal.reported(tmp_path_factory.mktemp("dry"), dry_run=True)
        customers = await customers_of(removal.target)
        status, _ = await removal.migrate()
        yield Moved(removal, dry_status, dry_report, customers, status)


async def test_an_environment_with_books_of_its_own_is_refused(removal: Removal) -> None:
    await removal.target.customer("already here")
    with pytest.raises(InvalidOperation, match="not empty: it has a customer"):
        await removal.migrate()


async def test_an_environment_that_mails_is_refused(removal: Removal) -> None:
    await removal.target.account.put("/settings/email_config", {"value": {"enabled": True}})
    with pytest.raises(InvalidOperation, match="email_config"):
        await removal.migrate()


async def test_another_source_is_refused_later(moved: Moved) -> None:
    async with going_between(moved.removal.source.account.base_url) as between:
        with pytest.raises(InvalidOperation, match="is being filled from"):
            await moved.removal.migrate(url=between.url)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param({"key": "sk_wrong"}, "key", id="a key that the source refuses"),
        pytest.param({"url": "ftp://example.com"}, "url", id="an address that is none"),
        pytest.param({"report": Path("/nowhere/at/all.json")}, "report", id="a report in a folder that is not there"),
    ],
)
async def test_what_was_typed_wrong_is_named(removal: Removal, given: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await removal.migrate(**given)
    assert field in refused.value.details


async def test_a_dry_run_changes_nothing(moved: Moved) -> None:
    assert moved.dry_status == 0
    carried = {"carried": len(await open_invoices_of(moved.removal.source))}
    assert moved.dry_report["counts"]["invoices"] == carried
    assert moved.customers_after_dry_run == {}
    assert moved.status == 0


async def test_comparing_alone_says_what_is_not_there(removal: Removal) -> None:
    status, output = await removal.migrate(only_compare=True)
    assert status == 1
    assert "customer acme: copied: yes at the source, no here" in output
    assert await customers_of(removal.target) == {}


async def test_a_source_that_is_busy_and_writes_otherwise_is_read(removal: Removal) -> None:
    def as_others_write(path: str, answer: Any) -> Any:
        for record in answer.get("items", ()) if isinstance(answer, dict) else ():
            record |= {"not_known_here": {"deep": [1]}, "deleted_at": "0001-01-01T00:00:00Z", "legacy": None}
            for figure in ("amount", "total", "credits_available", "percentage_off"):
                if isinstance(record.get(figure), str) and record[figure]:
                    record[figure] = float(record[figure])
        if isinstance(answer, dict) and isinstance(answer.get("line_items"), list):
            for item in answer["line_items"]:
                item.setdefault("end_date", "0001-01-01T00:00:00Z")
                if not item.get("commitment_quantity"):
                    item |= {"commitment_true_up_enabled": False, "commitment_amount": "0", "commitment_type": ""}
        if path.endswith("/search") and isinstance(answer, dict):
            answer["pagination"] = {"total": 0}  # some say how many a page has, some nothing
        return answer

    busy = {"/plans/search": 2, "/customers/search": 1}
    async with going_between(removal.source.account.base_url, busy=busy, rewrite=as_others_write) as between:
        status, output = await removal.migrate(url=between.url)
    assert busy == {"/plans/search": 0, "/customers/search": 0}
    assert status == 0, output
    assert await summaries_of(removal.target) == await summaries_of(removal.source)


async def test_what_is_not_carried_is_in_the_report_and_tried_again(removal: Removal, tmp_path: Path) -> None:
    def with_faults(path: str, answer: Any) -> Any:
        if path == "/customers/search":
            for customer in answer["items"]:
                if customer["external_id"] == "globex":
                    customer["email"] = "no address"
        if path.startswith("/invoices/") and isinstance(answer, dict) and answer.get("invoice_number") == "ONE-OFF-1":
            answer["amount_remaining"] = "1"
        elif path.startswith("/invoices/") and isinstance(answer, dict) and answer.get("subscription_id"):
            answer["fx_conversion"] = {"charge_currency": "eur", "rate": "1.25"}
            for line in answer["line_items"]:
                line["fx_conversion"] = {"source": {"subtotal": "1"}}
        return answer

    path = tmp_path / "report.csv"
    async with going_between(removal.source.account.base_url, rewrite=with_faults) as between:
        status, output = await removal.migrate(url=between.url, report=path, events_since=None)
        assert status == 1
        assert "Usage of the open periods was not copied" in output
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        problems = {(row["kind"], row["label"]): (row["outcome"], row["problem"]) for row in rows if row["problem"]}
        assert problems["customers", "globex"][0] == "carried_in_part"
        assert problems["customers", "globex"][1].startswith("email ")
        converted = {why for (kind, label), why in problems.items() if kind == "invoices" and label != "ONE-OFF-1"}
        assert {outcome for outcome, _ in converted} == {"carried_in_part"}
        assert all("how it was converted is not kept" in problem for _, problem in converted)
        assert problems["invoices", "ONE-OFF-1"] == (
            "failed",
            "amount_remaining would be 99.5; at the source it is 1",
        )
        assert {row["target_id"] for row in rows if row["kind"] == "customers"} == set(
            (await customers_of(removal.target)).values()
        )
        assert "invoice ONE-OFF-1: amount_remaining: 99.5 at the source, 0 here" in output

        between.rewrite = lambda path, answer: answer
        again, output = await removal.migrate(url=between.url)
    assert again == 0, output
    assert await open_invoices_of(removal.target) == await open_invoices_of(removal.source)


async def test_the_lines_of_invoices_name_the_plan_that_they_charge_for(moved: Moved) -> None:
    named = []
    for office in (moved.removal.source, moved.removal.target):
        plans = {plan["id"]: plan["name"] for plan in (await office.account.get("/plans", limit=100))["items"]}
        invoices = [
            await office.account.get(f"/invoices/{row['id']}")
            for row in (await office.account.get("/invoices", limit=100))["items"]
            if row["invoice_status"] == "FINALIZED"
        ]
        named.append(Counter(plans.get(line.get("entity_id")) for row in invoices for line in row["line_items"]))
    assert named[0] == named[1]
    assert set(named[0]) - {None}


async def test_credits_keep_their_expiry(moved: Moved) -> None:
    lots = []
    for office in (moved.removal.source, moved.removal.target):
        customer = (await customers_of(office))["acme"]
        (wallet,) = await office.account.get(f"/customers/{customer}/wallets")
        page = await office.account.get(f"/wallets/{wallet['id']}/transactions", credits_available_gt=0)
        lots.append(
            sorted(
                (lot["credits_available"], lot.get("expiry_date"), lot["transaction_reason"]) for lot in page["items"]
            )
        )
    assert lots[0] == lots[1]
    assert len(lots[0]) == 2


@pytest.mark.parametrize("is_gone", [False, True], ids=["it fails, too", "it is carried without one"])
async def test_an_invoice_of_a_subscription_that_is_not_here(removal: Removal, tmp_path: Path, is_gone: bool) -> None:
    """Of one that failed, and that a later run copies, they fail; of one that the source has no more they do not."""

    def without_subscriptions(path: str, answer: Any) -> Any:
        if path == "/subscriptions/search":
            if is_gone:
                return {**answer, "items": [], "pagination": {"total": 0}}
            for subscription in answer["items"]:
                subscription["current_period_end"] = "2026-03-02T00:00:00Z"
        elif path.startswith("/subscriptions/") and "current_period_end" in answer:
            answer["current_period_end"] = "2026-03-02T00:00:00Z"
        return answer

    async with going_between(removal.source.account.base_url, rewrite=without_subscriptions) as between:
        status, report = await removal.reported(tmp_path, url=between.url, events_since=None)
        not_here = {row["source_id"] for row in report["problems"] if row["kind"] == "subscriptions"}
        of_subscriptions = {
            invoice["id"]
            for invoice in (await removal.source.account.get("/invoices", limit=100))["items"]
            if invoice["invoice_status"] == "FINALIZED"
            and (invoice.get("subscription_id") in not_here or (is_gone and invoice.get("subscription_id")))
        }
        failed = {row["source_id"]: row for row in report["problems"] if row["kind"] == "invoices"}
        carried = {row["source_id"] for row in report["ids"] if row["kind"] == "invoices"}
        assert len(of_subscriptions) > 1
        assert "as the API writes it" not in str(failed)
        if is_gone:
            assert of_subscriptions <= carried
            return
        assert status == 1
        assert of_subscriptions <= failed.keys() - carried
        assert all("subscription_id names" in str(failed[invoice_id]["problems"]) for invoice_id in of_subscriptions)
        between.rewrite = lambda path, answer: answer
        status, output = await removal.migrate(url=between.url, events_since=None)
    assert status == 0, output
    assert await summaries_of(removal.target) == await summaries_of(removal.source)
