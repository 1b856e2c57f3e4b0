"""What somebody who means harm finds: scripts in names, forged forms, forged cookies, other people's books."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from playwright.async_api import Page
from sqlalchemy import update

from farthing.api.transport import ratelimit
from farthing.core.enums import Status
from farthing.customers import portal
from farthing.identity.credentials.keys import derived_key
from farthing.identity.credentials.master_key import MasterKeys
from farthing.identity.sign_in import passwords
from farthing.identity.tables import Tenant, User
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.web.access.sessions import Session, Sessions
from tests.account import Account
from tests.conftest import running, settings_for
from tests.invoices.desk import Desk, fixed, usage
from tests.web.browsing import sign_in
from tests.web.everywhere.every_form import FORMS
from tests.web.stage import PASSWORD, Stage
from tests.web.visitor import FORM_TOKEN, Visitor

EVIL = "<script>window.caught=1</script><img src=x onerror=window.caught=1>\"'{{7*7}}"


async def _play_evil(own: Stage) -> dict[str, str]:
    """Books in which every name is a script; the ids of what was made."""
    post = own.account.post
    made = await post(
        "/customers",
        {
            "external_id": EVIL,
            "name": EVIL,
            "address_line1": EVIL,
            "address_city": EVIL,
            "metadata": {"note": EVIL, EVIL[:60]: "x"},
        },
    )
    feature = await post(
        "/features",
        {
            "name": EVIL,
            "lookup_key": "evil",
            "type": "metered",
            "unit_singular": "<b>unit",
            "unit_plural": "<b>units",
            "meter": {
                "name": EVIL,
                "event_name": EVIL,
                "aggregation": {"type": "COUNT"},
                "reset_usage": "BILLING_PERIOD",
            },
        },
    )
    plan = await post("/plans", {"name": EVIL, "description": EVIL, "lookup_key": EVIL})
    price = {
        "entity_type": "PLAN",
        "entity_id": plan["id"],
        "type": "USAGE",
        "billing_model": "FLAT_FEE",
        "price_unit_type": "FIAT",
        "billing_period": "MONTHLY",
        "invoice_cadence": "ARREAR",
        "currency": "usd",
        "amount": "1",
        "meter_id": feature["meter_id"],
        "display_name": EVIL,
    }
    made_price = await post("/prices", price)
    addon = await post("/addons", {"name": EVIL, "lookup_key": EVIL})
    await post("/coupons", {"name": EVIL, "type": "percentage", "percentage_off": "10", "cadence": "once"})
    await post("/taxes/rates", {"name": EVIL, "code": "T", "tax_rate_type": "percentage", "percentage_value": "7"})
    lines = [
        usage("60", display_name=EVIL, plan_display_name=EVIL, price_id=made_price["id"], metadata={"k": EVIL}),
        fixed("40", display_name=EVIL),
    ]
    desk = Desk(own.account)
    invoice = await desk.invoice(
        lines, customer=made["id"], description=EVIL, metadata={"notes": EVIL}, invoice_number=EVIL[:80]
    )
    payment = {
        "destination_type": "INVOICE",
        "destination_id": invoice["id"],
        "payment_method_type": "OFFLINE",
        "amount": "10",
        "currency": "usd",
        "process_payment": True,
        "metadata": {"note": EVIL},
    }
    await post("/payments", payment)
    event = {
        "event_id": EVIL,
        "event_name": EVIL,
        "external_customer_id": EVIL,
        "source": EVIL,
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {EVIL[:60]: EVIL},
    }
    await post("/events", event, expect=202)
    subscription = await post(
        "/subscriptions",
        {"customer_id": made["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"},
    )
    async with own.account.database.transaction(SYSTEM) as session:
        await session.execute(update(User).where(User.id == own.account.user_id).values(name=EVIL))
        await session.execute(update(Tenant).where(Tenant.id == own.account.tenant_id).values(name=EVIL))
    await own.account.put("/tenants/update", {"billing_details": {"email": EVIL, "address": {"address_line1": EVIL}}})
    await post("/secrets/api/keys", {"name": EVIL, "type": "private_key"})
    await own.account.put("/settings/invoice_config", {"value": {"prefix": EVIL[:50]}})
    line = (await own.account.get(f"/invoices/{invoice['id']}"))["line_items"][0]
    customer = await own.account.get(f"/customers/{made['id']}")
    visitor: Any = _Named(own, customer)
    token = portal.open_session(visitor, own.account.settings.master_key(), datetime.now(UTC), 600).token
    return {
        "customer": made["id"],
        "plan": plan["id"],
        "addon": addon["id"],
        "invoice": invoice["id"],
        "line": line["id"],
        "subscription": subscription["id"],
        "token": token,
    }


class _Named:
    """What a portal session asks of a customer."""

    def __init__(self, own: Stage, customer: dict[str, Any]) -> None:
        self.id, self.external_id = customer["id"], customer["external_id"]
        self.tenant_id, self.environment_id = own.account.tenant_id, own.account.environment_id


@pytest.mark.slow
async def test_no_name_runs_as_a_script_anywhere(page: Page, own: Stage) -> None:
    made = await _play_evil(own)
    await sign_in(page, own)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    paths = [
        "/",
        "/customers",
        "/customers?q=" + "%3Cscript%3Ewindow.caught%3D1%3C%2Fscript%3E",
        f"/customers/{made['customer']}",
        "/invoices",
        f"/invoices?customer={made['customer']}&number=%3Cscript%3Ewindow.caught%3D1%3C%2Fscript%3E",
        f"/invoices/{made['invoice']}",
        f"/invoices/{made['invoice']}/lines/{made['line']}",
        "/subscriptions",
        f"/subscriptions/{made['subscription']}",
        "/catalogue",
        f"/catalogue/plans/{made['plan']}",
        f"/catalogue/addons/{made['addon']}",
        "/events",
        "/events?name=%22%3E%3Cscript%3Ewindow.caught%3D1%3C%2Fscript%3E",
        "/keys",
        "/settings/invoice_config",
        "/company",
        f"/portal/{made['token']}",
        f"/portal/{made['token']}/invoices/{made['invoice']}",
        "/sign-in?next=%22%3E%3Cscript%3Ewindow.caught%3D1%3C%2Fscript%3E",
    ]
    for path in paths:
        answer = await page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        body = await page.content()
        assert await page.evaluate("window.caught === undefined && !document.querySelector('img[src=x]')"), path
        assert "<script>window" not in body, path
        assert ">49<" not in body
    await page.goto("/events")
    await page.locator("#tail th a").click()
    assert await page.evaluate("window.caught === undefined")
    assert [text for text in said if "Content Security Policy" in text or "Refused" in text] == []


async def test_signing_in_gives_a_new_session_and_a_planted_one_stays_worthless(own: Stage, outside: Visitor) -> None:
    await outside.http.get("/sign-in")
    planted = outside.http.cookies["farthing"]
    await outside.sign_in(own)
    assert outside.http.cookies["farthing"] != planted
    thief = Visitor(own.account)
    thief.http.cookies.set("farthing", planted)
    assert (await thief.http.get("/")).status_code == 303
    await thief.http.aclose()


async def test_the_session_cookie_is_out_of_reach(own: Stage, outside: Visitor) -> None:
    answer = await outside.http.get("/sign-in")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie


@pytest.mark.parametrize("path", [path for path, _ in FORMS])
async def test_a_form_of_another_site_or_session_does_nothing(own: Stage, inside: Visitor, path: str) -> None:
    real = await inside.token()
    target = re.sub(r"\{[^}]+\}", "any", path)
    for form, headers in (
        ({}, {}),
        ({"form_token": ""}, {}),
        ({"form_token": "0" * 64}, {}),
        ({"form_token": "é" * 10}, {}),
        ({"form_token": real}, {"sec-fetch-site": "cross-site"}),
        ({"form_token": real}, {"sec-fetch-site": "same-site"}),
    ):
        answer = await inside.post(target, form, **headers)
        assert answer.status_code == 403, (form, headers, answer.text)
    as_json = await inside.http.post(target, json={"form_token": real})
    assert as_json.status_code == 403


async def test_a_form_token_of_another_session_of_the_same_person_is_refused(own: Stage, inside: Visitor) -> None:
    other = await Visitor(own.account).sign_in(own)
    answer = await inside.post("/clock", {"form_token": await other.token(), "step": "day"})
    assert answer.status_code == 403
    await other.http.aclose()


async def test_forged_expired_and_foreign_tokens_are_no_session(own: Stage, outside: Visitor) -> None:
    master = own.account.settings.master_key()
    soon = datetime.now(UTC) + timedelta(hours=1)
    good = {"typ": "web", "sid": "s", "sub": own.account.user_id, "env": "", "exp": soon}
    key = derived_key(master, "web-sessions")
    forged = [
        jwt.encode(good, "some other key of thirty-two bytes!!", "HS256"),
        jwt.encode(good, key, "HS256"),  # signed by us, but of no session
        jwt.encode({**good, "exp": datetime.now(UTC) - timedelta(seconds=1)}, key, "HS256"),
        jwt.encode({**good, "typ": "portal"}, key, "HS256"),
        jwt.encode(good, "", "none"),
        "not.a.token",
        "",
    ]
    async with own.account.database.transaction(SYSTEM) as session:
        user = await session.get_one(User, own.account.user_id)
    from farthing.identity.authentication import Tokens

    forged.append(Tokens(MasterKeys.of(own.account.settings)).issue(user, "s", datetime.now(UTC)))
    for cookie in forged:
        answer = await outside.http.get("/customers", headers={"cookie": f"farthing={cookie}"})
        assert answer.status_code == 303, cookie


@pytest.mark.parametrize(("url", "secure"), [("https://a.example", True), ("http://a.example", False)])
def test_cookies_are_secure_where_the_address_is(url: str, secure: bool) -> None:
    settings = Settings(public_url=url, secret_key="k" * 32)
    cookie = Sessions(settings, MasterKeys.of(settings)).cookie(Session("s", "u", "e", datetime.now(UTC)))
    assert cookie.secure is secure
    assert cookie.key.startswith("__Host-") is secure


async def test_a_new_password_or_an_archived_person_ends_every_session(own: Stage, inside: Visitor) -> None:
    assert (await inside.http.get("/customers")).status_code == 200
    async with own.account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(User).where(User.id == own.account.user_id).values(password_hash=await passwords.hashed("another"))
        )
    assert (await inside.http.get("/customers")).status_code == 303
    async with own.account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(User).where(User.id == own.account.user_id).values(password_hash=await passwords.hashed(PASSWORD))
        )
    again = await Visitor(own.account).sign_in(own)
    assert (await again.http.get("/customers")).status_code == 200
    async with own.account.database.transaction(SYSTEM) as session:
        await session.execute(update(User).where(User.id == own.account.user_id).values(status=Status.ARCHIVED))
    assert (await again.http.get("/customers")).status_code == 303
    await again.http.aclose()


async def test_other_tenants_books_answer_like_missing_ones(own: Stage, inside: Visitor, stranger: Account) -> None:
    desk = Desk(stranger)
    invoice = await desk.invoice([usage("60")])
    feature = await stranger.post("/plans", {"name": "theirs"})
    line = (await stranger.get(f"/invoices/{invoice['id']}"))["line_items"][0]
    await stranger.post(
        "/events",
        {
            "event_id": "theirs",
            "event_name": "e",
            "external_customer_id": "c",
            "timestamp": datetime.now(UTC).isoformat(),
        },
        expect=202,
    )
    for path in (
        f"/customers/{invoice['customer_id']}",
        f"/invoices/{invoice['id']}",
        f"/invoices/{invoice['id']}/pdf",
        f"/invoices/{invoice['id']}/lines/{line['id']}",
        f"/catalogue/plans/{feature['id']}",
        f"/invoices/{invoice['id']}/e-invoice",
        f"/invoices/{invoice['id']}/e-invoice/facturx",
        f"/customers/{invoice['customer_id']}/billing-details",
        "/events/one?id=theirs",
    ):
        assert (await inside.http.get(path)).status_code == 404, path
    token = await inside.token()
    for path in ("finalize", "void", "edit", "edit/discard"):
        await inside.post(f"/invoices/{invoice['id']}/{path}", {"form_token": token, "amount": "10"})
    assert (
        await inside.post("/environment", {"form_token": token, "environment": stranger.environment_id})
    ).status_code == 403
    untouched = await stranger.get(f"/invoices/{invoice['id']}")
    assert (untouched["invoice_status"], untouched["amount_paid"]) == ("FINALIZED", "0")
    assert invoice["invoice_number"] not in (await inside.http.get("/invoices")).text


async def test_a_reader_is_offered_nothing_to_change_and_may_change_nothing(own: Stage, outside: Visitor) -> None:
    invoice = await Desk(own.account).invoice([usage("60")])
    await own.admit(["all_reader"])
    await outside.sign_in(own)
    page = (await outside.http.get(f"/invoices/{invoice['id']}")).text
    assert "/void" not in page
    assert "/payments/new" not in page
    token = await outside.token("/invoices")
    for path, form in (
        (f"/invoices/{invoice['id']}/void", {}),
        ("/payments/new", {"customer": invoice["customer_id"], "amount": "10"}),
        ("/invoices/new", {"customer": invoice["customer_id"]}),
        (f"/invoices/{invoice['id']}/edit", {"action": "add"}),
        (f"/customers/{invoice['customer_id']}/unapplied-money/allocate", {"currency": "usd"}),
        ("/internal-notes", {"entity_type": "invoice", "entity_id": invoice["id"], "body": "x"}),
        ("/keys", {"name": "x", "type": "private_key"}),
        ("/settings/invoice_config", {"prefix": "X"}),
        ("/company", {"name": "X"}),
        ("/clock", {"step": "day"}),
        (f"/customers/{invoice['customer_id']}/billing-details", {"tax_id": "X"}),
        (f"/customers/{invoice['customer_id']}/portal", {}),
    ):
        answer = await outside.post(path, {**form, "form_token": token})
        assert answer.status_code == 403, path


async def test_a_suspended_company_can_be_read_and_not_changed(own: Stage, inside: Visitor) -> None:
    invoice = await Desk(own.account).invoice([usage("60")])
    token = await inside.token()
    async with own.account.database.transaction(SYSTEM) as session:
        await session.execute(
            update(Tenant).where(Tenant.id == own.account.tenant_id).values(internal_status="suspended")
        )
    assert (await inside.http.get(f"/invoices/{invoice['id']}")).status_code == 200
    assert (await inside.post(f"/invoices/{invoice['id']}/void", {"form_token": token})).status_code == 403


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\tx", "evil"]
)
async def test_signing_in_never_leads_to_another_site(own: Stage, outside: Visitor, target: str) -> None:
    token = await outside.token("/sign-in")
    form = {"email": own.email, "password": PASSWORD, "form_token": token, "next": target}
    assert (await outside.post("/sign-in", form)).headers["location"] == "/"


async def test_a_form_with_a_file_holds_no_null_characters(own: Stage, inside: Visitor) -> None:
    form = {"form_token": await inside.token(), "once": "once", "entity_type": "customer", "entity_id": "cust_\0"}
    answer = await inside.http.post("/attachments", data=form, files={"file": ("a.txt", b"one")})
    assert answer.status_code == 403


async def test_a_stolen_notice_or_a_forged_one_is_not_shown(own: Stage, inside: Visitor) -> None:
    inside.http.cookies.set("farthing_notice", jwt.encode({"kind": "done", "words": "Pwned"}, "x" * 32, "HS256"))
    assert "Pwned" not in (await inside.http.get("/")).text


async def test_password_guessing_is_slowed_down(
    own: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "SIGN_IN_PER_MINUTE", 10)
    async with (
        running(settings_for(database.url), database) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        token = FORM_TOKEN.search((await client.get("/sign-in")).text)
        assert token is not None
        form = {"email": own.email, "password": "wrong", "form_token": token[1]}
        answers = [(await client.post("/sign-in", data=form)).status_code for _ in range(12)]
    assert set(answers[:5]) == {403}  # then the account itself makes one wait, and after ten the address
    assert answers[11] == 429
