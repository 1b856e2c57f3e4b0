"""Settings of spend over HTTP: what is refused, who may, and the published client through every operation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.account import Account
from tests.billing.counter import opened
from tests.billing.office import Office
from tests.credits.wallets.test_real_time import wallet_of
from tests.credits.wallets.test_wallets import debit
from tests.notifications.alerts.watching import above, alerts, level
from tests.subscriptions.shop import fixed


@pytest.fixture
async def subscription(office: Office) -> Any:
    feature = await office.feature("calls")
    return await opened(office, await office.plan(office.usage(feature, "1")))


@pytest.mark.parametrize(
    ("config", "field"),
    [
        pytest.param({"alert_enabled": True}, "config", id="on without a threshold"),
        pytest.param(
            {"alert_enabled": True, "warning": level("5", "above")}, "config.warning", id="a warning without critical"
        ),
        pytest.param(above("100", warning="101"), "config", id="a warning beyond critical"),
        pytest.param(above("100", info="50", warning="40"), "config", id="information beyond a warning"),
        pytest.param(
            {"alert_enabled": True, "critical": level("9")}, "config.critical.condition", id="spend below a threshold"
        ),
        pytest.param(above("100") | {"info": level("5")}, "config", id="two conditions"),
        pytest.param(above("100") | {"info": level("5", "beside")}, "config.info.condition", id="no condition"),
        pytest.param(above("many"), "config.critical.threshold", id="no number"),
        pytest.param(above("100") | {"alert_threshold_type": "some"}, "config.alert_threshold_type", id="no type"),
    ],
)
async def test_thresholds_that_make_no_sense(office: Office, subscription: Any, config: Any, field: str) -> None:
    body = {"entity_type": "subscription", "entity_id": subscription["id"], "config": config}
    answer = await office.account.post("/alerts/setting", body, expect=400)
    assert field in answer["details"], answer


async def test_what_can_be_watched(office: Office, subscription: Any) -> None:
    account, other = office.account, await opened(office, await office.plan(fixed("5"), name="Other"))
    item, parent = subscription["line_items"][0]["id"], {"parent_entity_type": "subscription"}
    config = {"config": above("100")}
    of_item = {"entity_type": "subscription_line_item", "entity_id": item, **config}
    for body, status, field in (
        ({"entity_type": "wallet", "entity_id": "w"}, 400, "entity_type"),
        ({"entity_type": "subscription", "entity_id": "subs_unknown"}, 404, "subscription_id"),
        ({**of_item, **parent}, 400, "parent_entity_id"),
        (of_item, 400, "parent_entity_type"),
        ({**of_item, **parent, "parent_entity_id": other["id"]}, 400, "parent_entity_id"),
        ({**of_item, **parent, "parent_entity_id": "subs_unknown"}, 404, "subscription_id"),
        ({**of_item, **parent, "parent_entity_id": other["id"], "entity_id": "x"}, 404, "subscription_line_item_id"),
        (
            {"entity_type": "group", "entity_id": "x", **parent, "parent_entity_id": subscription["id"]},
            404,
            "group_id",
        ),
        (
            {"entity_type": "subscription", "entity_id": other["id"], **parent, "parent_entity_id": other["id"]},
            400,
            "parent_entity_type",
        ),
    ):
        answer = await account.post("/alerts/setting", config | body, expect=status)
        assert field in answer["details"], (body, answer)


async def test_one_setting_for_each_entity(office: Office, subscription: Any) -> None:
    """Of parallel ones one is made; after it is deleted there may be another."""
    body = {"entity_type": "subscription", "entity_id": subscription["id"], "config": above("100")}
    answers = await asyncio.gather(*(office.account.http.post("/alerts/setting", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    (made,) = [answer.json() for answer in answers if answer.status_code == 201]
    deleted = await office.account.http.delete(f"/alerts/setting/{made['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    await office.account.get(f"/alerts/setting/{made['id']}", expect=404)
    await office.account.post("/alerts/setting", body)


async def test_only_who_may_reads_and_changes(office: Office, subscription: Any, stranger: Account) -> None:
    body = {"entity_type": "subscription", "entity_id": subscription["id"], "config": above("100")}
    made = await office.account.post("/alerts/setting", body)
    await stranger.get(f"/alerts/setting/{made['id']}", expect=404)
    await stranger.post("/alerts/setting", body, expect=404)
    assert (await stranger.post("/alerts/setting/search", {}, expect=200))["items"] == []
    assert (await stranger.post("/alerts/search", {}, expect=200))["items"] == []


async def test_the_published_client_through_every_operation(office: Office, subscription: Any) -> None:
    client, item = office.account.sdk(), subscription["line_items"][0]["id"]
    made = await client.alert_settings.create_alert_settings_async(
        entity_type="subscription", entity_id=subscription["id"], config=above("100", warning="80")
    )
    assert (made.entity_type, made.enabled, made.config.critical.threshold) == ("subscription", True, "100")
    assert made.config.warning.condition == "above"
    of_item = await client.alert_settings.create_alert_settings_async(
        entity_type="subscription_line_item",
        entity_id=item,
        parent_entity_type="subscription",
        parent_entity_id=subscription["id"],
        config=above("50") | {"alert_enabled": False},
    )
    assert (of_item.parent_entity_id, of_item.enabled) == (subscription["id"], False)
    changed = await client.alert_settings.update_alert_settings_async(id=made.id, config=above("70"))
    assert (changed.config.critical.threshold, changed.config.warning) == ("70", None)
    assert (await client.alert_settings.get_alert_settings_async(id=made.id)) == changed
    page = await client.alert_settings.query_alert_settings_async(
        parent_entity_ids=[subscription["id"]], entity_type="subscription_line_item", enabled=False
    )
    assert [row.id for row in page.items] == [of_item.id]
    await client.alert_settings.delete_alert_settings_async(id=of_item.id)
    page = await client.alert_settings.query_alert_settings_async(entity_ids=[subscription["id"], item])
    assert [row.id for row in page.items] == [made.id]
    wallet = await wallet_of(
        office, await office.customer(), "10", alert_settings={"alert_enabled": True, "critical": level("5")}
    )
    await debit(office.account, wallet, "5", "d")
    log = await client.alerts.query_alert_log_async(
        alert_type="low_credit_balance", alert_status="in_alarm", entity_type="wallet", expand="customer,wallet"
    )
    (row,) = log.items
    assert (row.entity_id, row.wallet.id, row.customer.id) == (wallet["id"], wallet["id"], wallet["customer_id"])
    assert row.alert_info.alert_settings.critical.threshold == "5"


async def test_searching_the_log(office: Office) -> None:
    low = {"alert_enabled": True, "critical": level("5")}
    first, second = [await wallet_of(office, await office.customer(), "4", alert_settings=low) for _ in range(2)]
    newest, oldest = (await office.account.post("/alerts/search", {}, expect=200))["items"]
    assert [newest["entity_id"], oldest["entity_id"]] == [second["id"], first["id"]]
    page = await office.account.post("/alerts/search", {"limit": 1, "offset": 1}, expect=200)
    assert page["pagination"] == {"total": 2, "limit": 1, "offset": 2}
    condition = {"field": "value_at_time", "operator": "gt", "data_type": "number", "value": {"number": 4}}
    assert await alerts(office.account, filters=[condition]) == []
    assert len(await alerts(office.account, customer_id=first["customer_id"])) == 1
    for wrong, field in (
        ({"expand": "plan"}, "expand"),
        ({"alert_type": "low"}, "alert_type"),
        ({"alert_status": "bad"}, "alert_status"),
        ({"start_time": "x"}, "start_time"),
    ):
        answer = await office.account.post("/alerts/search", wrong, expect=400)
        assert field in answer["details"]


async def test_changes_of_a_setting_are_among_those_around_its_customer(office: Office) -> None:
    customer = await office.customer()
    subscription = await opened(office, await office.plan(office.usage(await office.feature("calls"), "1")), customer)
    body = {"entity_type": "subscription", "entity_id": subscription["id"], "config": above("100")}
    setting = await office.account.post("/alerts/setting", body)
    await office.account.put(f"/alerts/setting/{setting['id']}", {"config": above("200")})
    await office.account.delete(f"/alerts/setting/{setting['id']}")
    asked = {"customer_id": customer["id"], "entity_type": "alert_setting"}
    listed = (await office.account.post("/activity", asked, expect=200))["items"]
    assert [activity["action"].rpartition(".")[2] for activity in listed] == ["deleted", "updated", "created"]
