"""Commitments, payers, families, phases, groups and contact persons, on pages alone."""

from __future__ import annotations

import re

from tests.subscriptions.shop import Shop, fixed
from tests.web.stage import Stage
from tests.web.visitor import Visitor

_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


async def _carried_out(visitor: Visitor, path: str, form: dict[str, str]) -> str:
    """What a form in two steps showed before it was confirmed."""
    token = await visitor.token()
    looked = await visitor.post(f"{path}/preview", {**form, "form_token": token})
    assert 'role="alert"' not in looked.text, looked.text[looked.text.index('role="alert"') :][:300]
    outcome = looked.text[looked.text.index('id="outcome"') :]
    fields = dict(_FIELD.findall(outcome[: outcome.index("</form>")]))
    answer = await visitor.post(path, fields)
    assert answer.status_code == 303, answer.text
    return outcome


async def test_a_family_commits_pays_together_and_its_terms_change_in_phases(own: Stage, inside: Visitor) -> None:
    shop = Shop(own.account)
    await shop.on("2026-05-01")
    plan = await shop.plan(fixed("49", display_name="Platform fee"), shop.usage(await shop.feature("calls"), "0.02"))
    parent, child, payer = [await shop.customer(name) for name in ("parent", "child", "payer")]
    fee = plan["prices"][0]["id"]
    form = {"customer_id": parent["id"], "plan_id": plan["id"], "rhythm": "usd:MONTHLY:1"}
    agreed = {"commitment_amount": "100", "overage_factor": "1.5", "enable_true_up": "yes", "sharing": "child"}
    agreed |= {"phase_start:2": "2026-08-01", f"phase_amount:2:{fee}": "59"}
    shown = await _carried_out(inside, "/subscriptions/new", form | agreed)
    assert "$49.00" in shown
    (made,) = (await own.account.get("/subscriptions", customer_id=parent["id"]))["items"]
    whole = await own.account.get(f"/subscriptions/{made['id']}")
    assert (whole["commitment_amount"], whole["overage_factor"], whole["enable_true_up"]) == ("100", "1.5", True)
    assert [phase["start_date"][:10] for phase in whole["phases"]] == ["2026-05-01", "2026-08-01"]
    page = (await inside.http.get(f"/subscriptions/{made['id']}")).text
    assert "$100.00 of usage per billing period; beyond it usage costs 1.5 times as much" in page
    assert "shares this subscription" in page
    assert "$59.00 each" in page

    share = f"/subscriptions/{made['id']}/actions/share"
    await _carried_out(inside, share, {"leaving": "child"})
    assert "shares this subscription" not in (await inside.http.get(f"/subscriptions/{made['id']}")).text

    await _carried_out(inside, "/subscriptions/new", {**form, "customer_id": child["id"], "payer": "payer"})
    theirs = (await own.account.get("/subscriptions", customer_id=child["id"]))["items"]
    (paid,) = [subscription for subscription in theirs if subscription["subscription_type"] != "inherited"]
    page = (await inside.http.get(f"/subscriptions/{paid['id']}")).text
    assert f'Paid by <a href="/customers/{payer["id"]}">' in page
    whole = await own.account.get(f"/subscriptions/{paid['id']}")
    usage = next(item for item in whole["line_items"] if item["price_type"] == "USAGE")
    asked = {"line_item_id": usage["id"], "commitment_quantity": "500", "commitment_overage_factor": "2"}
    shown = await _carried_out(inside, f"/subscriptions/{paid['id']}/actions/commitment", asked)
    assert "500 units per billing period; beyond it usage costs 2 times as much" in shown
    assert "Committed: 500 units" in (await inside.http.get(f"/subscriptions/{paid['id']}")).text


async def test_what_nobody_is_called_is_said_at_its_field(own: Stage, inside: Visitor) -> None:
    shop = Shop(own.account)
    plan, customer = await shop.plan(fixed("49")), await shop.customer("alone")
    form = {"customer_id": customer["id"], "plan_id": plan["id"], "rhythm": "usd:MONTHLY:1"}
    typed = {"payer": "Nobody at all", "form_token": await inside.token()}
    answer = await inside.post("/subscriptions/new/preview", form | typed)
    assert 'id="wrong-payer"' in answer.text
    assert (await own.account.get("/subscriptions"))["items"] == []


async def test_contact_persons_are_kept_whole(own: Stage, inside: Visitor) -> None:
    token = await inside.token()
    typed = {"name": "Acme", "timezone": "UTC", "tax_treatment": "taxable", "form_token": token}
    typed |= {"contact_persons[0].first_name": "Ada", "contact_persons[0].is_primary": "yes"}
    answer = await inside.post("/customers/new", typed)
    customer_id = answer.headers["location"].rpartition("/")[2]
    customer = await own.account.get(f"/customers/{customer_id}")
    assert (customer["external_id"], len(customer["contact_persons"])) == ("acme", 1)
    (ada,) = customer["contact_persons"]
    assert (ada["first_name"], ada["is_primary"]) == ("Ada", True)
    # what the form has no field for is said over the API, and stays
    persons = [{**ada, "mobile": "+43 1 234567"}]
    await own.account.put(f"/customers/{customer_id}", {"contact_persons": persons})
    change = {
        **typed,
        "external_id": "acme",
        "contact_persons[0].last_name": "Fair",
        "contact_persons[0].id": ada["id"],
    }
    assert (await inside.post(f"/customers/{customer_id}/edit", change)).status_code == 303
    (kept,) = (await own.account.get(f"/customers/{customer_id}"))["contact_persons"]
    assert kept == {**persons[0], "last_name": "Fair"}
    assert "First to ask" in (await inside.http.get(f"/customers/{customer_id}")).text
    gone = {name: text for name, text in change.items() if "contact_persons" not in name}
    await inside.post(f"/customers/{customer_id}/edit", gone)
    assert not (await own.account.get(f"/customers/{customer_id}")).get("contact_persons")


async def test_a_group_is_made_filled_and_archived(own: Stage, inside: Visitor) -> None:
    feature = await Shop(own.account).feature("calls")
    plan = await Shop(own.account).plan(fixed("49", display_name="Platform fee"))
    token = await inside.token()
    for kind, member, read in (
        ("feature", feature["id"], f"/features/{feature['id']}"),
        ("price", plan["prices"][0]["id"], f"/prices/{plan['prices'][0]['id']}"),
    ):
        typed = {"name": f"All {kind}s", "entity_type": kind, "lookup_key": kind, "form_token": token}
        made = await inside.post("/catalogue/groups/new", typed)
        here = made.headers["location"]
        moved = {"member": member, "form_token": token}
        await inside.post(f"{here}/members", {**moved, "action": "add"})
        assert (await own.account.get(read))["group_id"] == here.rpartition("/")[2]
        assert f"1 {kind}" in (await inside.http.get("/catalogue/groups")).text
        await inside.post(f"{here}/members", {**moved, "action": "remove"})
        assert not (await own.account.get(read)).get("group_id")
        assert (await inside.post(f"{here}/archive", {"form_token": token})).status_code == 303
        again = await inside.post("/catalogue/groups/new", typed)
        assert again.status_code == 303
        taken = await inside.post("/catalogue/groups/new", typed)
        assert (taken.status_code, 'id="lookup_key-about"' in taken.text) == (400, True)


async def test_a_test_event_is_sent_from_a_page_and_counted(own: Stage, inside: Visitor) -> None:
    shop = Shop(own.account)
    assert "Nothing counts events yet" in (await inside.http.get("/events/new")).text
    await shop.feature("tokens", type="SUM", field="count")
    await shop.customer("acme")
    typed = {"event_name": "tokens", "external_customer_id": "acme", "once": await inside.once("/events/new")}
    typed |= {"properties[0].key": "count", "properties[0].value": "120", "form_token": await inside.token()}
    sent = await inside.post("/events/new", typed)
    assert sent.headers["location"] == (await inside.post("/events/new", typed)).headers["location"]
    page = (await inside.http.get(sent.headers["location"])).text
    assert "120" in page


async def test_a_plan_begins_with_prices_and_a_refused_row_is_said_there(own: Stage, inside: Visitor) -> None:
    feature = await Shop(own.account).feature("calls")
    token = await inside.token()
    typed = {"name": "Growth", "currency": "eur", "billing_period": "MONTHLY", "fee": "49", "form_token": token}
    rows = {"usage[0].name": feature["name"].upper(), "usage[0].amount": "0.01", "usage[1].name": "Storage"}
    refused = await inside.post("/catalogue/plans/new", typed | rows)
    assert (refused.status_code, 'id="usage[1].amount-about"' in refused.text) == (400, True)
    assert (await own.account.get("/plans"))["items"] == []
    rows |= {"usage[1].amount": "2", "usage[1].event_name": "stored"}
    made = await inside.post("/catalogue/plans/new", {**typed, **rows, "once": "plan"})
    prices = (await own.account.get("/prices", plan_ids=made.headers["location"].rpartition("/")[2]))["items"]
    assert {(price["type"], price["amount"]) for price in prices} == {
        ("FIXED", "49"),
        ("USAGE", "0.01"),
        ("USAGE", "2"),
    }
    assert len((await own.account.get("/features"))["items"]) == 2
