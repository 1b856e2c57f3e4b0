"""Signing in and out with a browser: sessions that end everywhere, passwords, links, and the second factor."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyotp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect
from sqlalchemy import select

from farthing.core.ids import Kind, new_id
from farthing.identity.sign_in import back_off
from farthing.identity.sign_in.passwords import hashed
from farthing.identity.sign_in.tables import SecondFactor, SignInAttempts, SignInSession
from farthing.identity.tables import User
from farthing.identity.users import invite
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.conftest import running, settings_for
from tests.web.browsing import sign_in
from tests.web.stage import PASSWORD, Stage
from tests.web.visitor import Visitor

OTHER = "another good password"


@pytest.fixture
async def inside(own: Stage) -> Any:
    visitor = await Visitor(own.account).sign_in(own)
    yield visitor
    await visitor.http.aclose()


async def serious_faults(page: Page) -> list[str]:
    """What axe finds serious, as on every page."""
    found = (await Axe().run(page)).response["violations"]
    return [fault["id"] for fault in found if fault["impact"] in {"serious", "critical"}]


async def is_inside(visitor: Visitor) -> bool:
    return (await visitor.http.get("/account")).status_code == 200


async def test_signing_out_ends_the_session_for_a_copied_cookie_too(own: Stage, inside: Visitor) -> None:
    thief = Visitor(own.account)
    thief.http.cookies.set("farthing", inside.http.cookies["farthing"])
    assert await is_inside(thief)
    assert (await inside.post("/sign-out", {"form_token": await inside.token("/account")})).status_code == 303
    assert not await is_inside(thief)
    await thief.http.aclose()


async def test_signing_out_everywhere_and_one_by_one(own: Stage, inside: Visitor, page: Page) -> None:
    other = await Visitor(own.account).sign_in(own)
    await sign_in(page, own)
    await page.get_by_role("link", name="Ada Fairweather").click()
    rows = page.get_by_role("row", name="Python")
    await expect(rows).to_have_count(2)
    await rows.first.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_have_text("That session has ended.")
    await expect(rows).to_have_count(1)
    assert sorted([await is_inside(inside), await is_inside(other)]) == [False, True]
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Sign out everywhere").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not await is_inside(inside)
    assert not await is_inside(other)
    await other.http.aclose()


async def test_a_session_of_somebody_else_cannot_be_ended(own: Stage, inside: Visitor, stranger: Account) -> None:
    theirs = await Stage(stranger).admit()
    other = await Visitor(stranger).sign_in(theirs)
    async with stranger.database.transaction(SYSTEM) as session:
        row = (await session.scalars(select(SignInSession).where(SignInSession.user_id == stranger.user_id))).one()
    form = {"form_token": await inside.token("/account")}
    await inside.post(f"/account/sessions/{row.id}/sign-out", form)
    assert await is_inside(other)
    await other.http.aclose()


async def test_looking_at_pages_writes_no_session(own: Stage, inside: Visitor) -> None:
    async def versions() -> list[Any]:
        async with own.account.database.transaction(SYSTEM) as session:
            query = select(SignInSession.id, SignInSession.last_seen_at)
            return list(await session.execute(query.where(SignInSession.user_id == own.account.user_id)))

    before = await versions()
    for path in ("/", "/account", "/team"):
        assert (await inside.http.get(path)).status_code == 200
    assert await versions() == before


async def test_changing_the_password_keeps_this_session_and_ends_the_others(
    own: Stage, inside: Visitor, page: Page
) -> None:
    await sign_in(page, own)
    await page.goto("/account")
    await page.get_by_label("Old password").fill("wrong")
    await page.get_by_label("New password").fill(OTHER)
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_role("status")).to_contain_text("old password is not right")
    assert await is_inside(inside)
    await page.get_by_label("Old password").fill(PASSWORD)
    await page.get_by_label("New password").fill(OTHER)
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_role("status")).to_contain_text("The password is changed")
    assert not await is_inside(inside)
    await page.reload()
    await expect(page.get_by_role("heading", name="Your account")).to_be_visible()


async def invited(stage: Stage, role: str = "all_reader", password: str = "") -> User:
    password_hash = await hashed(password) if password else ""
    async with stage.account.transaction() as session:
        email = f"{uuid.uuid4().hex}@example.com"
        return await invite(
            session, stage.account.tenant_id, email=email, name="Grace", roles=[role], password_hash=password_hash
        )


async def test_an_administrator_makes_a_link_that_sets_a_password_once(own: Stage, page: Page) -> None:
    person = await invited(own)
    await sign_in(page, own)
    await page.get_by_role("link", name="Team").click()
    await page.get_by_role("button", name="Password link for Grace").click()
    url = await page.locator("code.secret").inner_text()
    assert url.startswith(f"{own.account.settings.base_url}/password/")
    await page.goto(f"{own.account.base_url}/password/{url.rpartition('/')[2]}")
    await page.get_by_label("New password").fill(OTHER)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("The password is set. Sign in with it.")
    guest = Visitor(own.account)
    form = {"email": person.email or "", "password": OTHER, "form_token": await guest.token("/sign-in")}
    assert (await guest.post("/sign-in", form)).status_code == 303
    used = await guest.http.get(f"/password/{url.rpartition('/')[2]}", headers={"accept": "text/html"})
    assert used.status_code == 404
    assert 'href="/sign-in/forgotten"' in used.text
    # a reader makes no links
    token = await guest.token("/account")
    assert (await guest.post(f"/team/{own.account.user_id}/password-link", {"form_token": token})).status_code == 403
    await guest.http.aclose()


async def test_nobody_gets_a_link_for_themselves_or_for_another_company(
    own: Stage, inside: Visitor, stranger: Account
) -> None:
    form = {"form_token": await inside.token("/account")}
    for user_id in (own.account.user_id, stranger.user_id):
        answer = await inside.post(f"/team/{user_id}/password-link", form)
        assert answer.status_code == 303
        assert "/password/" not in answer.text


async def test_without_mail_the_page_says_who_makes_a_link(page: Page) -> None:
    await page.goto("/sign-in")
    await page.get_by_role("link", name="Forgotten the password?").click()
    await expect(page.get_by_text("This deployment sends no mail")).to_be_visible()
    await expect(page.get_by_text("farthing users password")).to_be_visible()


@pytest.mark.slow
async def test_a_second_factor_from_setting_up_to_losing_the_app(
    own: Stage, page: Page, browser: Browser, base_url: str
) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await sign_in(page, own)
    await page.goto("/account")
    await (
        page.locator("section", has=page.get_by_role("heading", name="Second factor"))
        .get_by_label("Password")
        .fill(PASSWORD)
    )
    await page.get_by_role("button", name="Set one up").click()
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()
    assert await serious_faults(page) == []
    await page.get_by_text("It cannot be scanned").click()
    app = pyotp.TOTP(await page.locator("code.secret").inner_text())
    wrong = f"{(int(app.now()) + 1) % 1_000_000:06}"
    await page.get_by_label("Code", exact=True).fill(wrong)
    await page.get_by_role("button", name="Turn it on").click()
    # the app that has the key goes on with it, and the key is not shown again
    await expect(page.locator("#wrong-code")).to_have_text("This code is not right")
    await expect(page.locator("code.secret")).to_have_count(0)
    assert await serious_faults(page) == []
    await page.get_by_role("textbox", name="Code").fill(app.now())
    await page.get_by_role("button", name="Turn it on").click()
    codes = await page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    assert await serious_faults(page) == []

    context = await browser.new_context(base_url=base_url)
    elsewhere = await context.new_page()
    await elsewhere.goto("/sign-in?next=/team")
    await elsewhere.get_by_label("E-mail").fill(own.email)
    await elsewhere.get_by_label("Password").fill(PASSWORD)
    await elsewhere.get_by_role("button", name="Sign in").click()
    await elsewhere.get_by_label("Code").fill("nonsense")
    await elsewhere.get_by_role("button", name="Sign in").click()
    await expect(elsewhere.get_by_role("alert")).to_have_text("This code is not right")
    assert await serious_faults(elsewhere) == []
    await elsewhere.get_by_label("Code").fill(codes[0])
    await elsewhere.get_by_role("button", name="Sign in").click()
    await expect(elsewhere.get_by_role("heading", name="Team")).to_be_visible()
    await context.close()

    page.on("dialog", lambda dialog: dialog.accept())
    await page.goto("/account")
    await expect(page.get_by_text("9 recovery codes are left")).to_be_visible()
    section = page.locator("section", has=page.get_by_role("heading", name="Second factor"))
    await section.get_by_label("Password").fill(PASSWORD)
    await section.get_by_role("button", name="Remove it").click()
    await expect(page.get_by_role("status")).to_have_text("The second factor is removed.")
    async with own.account.transaction() as session:
        assert (await session.scalars(select(SecondFactor))).all() == []
    assert [text for text in said if "Content Security Policy" in text] == []


async def test_the_password_alone_opens_nothing_where_a_code_is_needed(own: Stage, inside: Visitor) -> None:
    form = {"form_token": await inside.token("/account"), "password": PASSWORD}
    page = (await inside.post("/account/second-factor", form)).text
    secret = re.search(r'<code class="secret">(\w+)</code>', page)
    assert secret is not None
    code = pyotp.TOTP(secret[1]).now()
    await inside.post("/account/second-factor/confirm", {"form_token": await inside.token("/account"), "code": code})
    outside, thief = Visitor(own.account), Visitor(own.account)
    sent = {"email": own.email, "password": PASSWORD, "form_token": await outside.token("/sign-in")}
    answer = await outside.post("/sign-in", sent)
    assert answer.status_code == 200
    step = re.search(r'name="step" value="([^"]+)"', answer.text)
    assert step is not None
    assert not await is_inside(outside)
    # the step is bound to the browser that gave the password
    taken = {"form_token": await thief.token("/sign-in"), "step": step[1], "code": code}
    assert (await thief.post("/sign-in/code", taken)).status_code == 403
    again = {"form_token": await outside.token("/sign-in"), "step": step[1], "code": code}
    assert (await outside.post("/sign-in/code", again)).status_code == 403  # the code that confirmed it was used
    # whoever has lost the app and the codes is let in by somebody in charge
    chief = Visitor(own.account)
    entry = {"email": (await invited(own, "super_admin", PASSWORD)).email or "", "password": PASSWORD}
    assert (await chief.post("/sign-in", {**entry, "form_token": await chief.token("/sign-in")})).status_code == 303
    removal = {"form_token": await chief.token("/account")}
    assert (await chief.post(f"/team/{own.account.user_id}/second-factor/remove", removal)).status_code == 303
    sent["form_token"] = await outside.token("/sign-in")
    answer = await outside.post("/sign-in", sent)
    assert answer.status_code == 303, answer.text
    assert await is_inside(outside)
    for visitor in (outside, thief, chief):
        await visitor.http.aclose()


async def test_nobody_guesses_the_code_that_would_make_a_second_factor_count(own: Stage, inside: Visitor) -> None:
    form = {"form_token": await inside.token("/account"), "password": PASSWORD}
    page = (await inside.post("/account/second-factor", form)).text
    secret = re.search(r'<code class="secret">(\w+)</code>', page)
    assert secret is not None
    right = pyotp.TOTP(secret[1]).now()
    wrong = "000000" if right != "000000" else "000001"
    for _ in range(back_off.FREE_FAILURES + 1):
        assert (await inside.post("/account/second-factor/confirm", {**form, "code": wrong})).status_code == 400
    assert (await inside.post("/account/second-factor/confirm", {**form, "code": right})).status_code == 303
    assert "Too many attempts" in (await inside.http.get("/account")).text
    async with own.account.transaction() as session:
        assert await session.scalar(select(SecondFactor.confirmed_at)) is None


async def test_who_may_enter_some_environments_takes_nobodys_second_factor(
    own: Stage, database: Database, database_url: str
) -> None:
    colleague, now = await invited(own), datetime.now(UTC)
    async with own.account.transaction() as session:
        session.add(
            SecondFactor(
                id=new_id(Kind.SECOND_FACTOR),
                tenant_id=own.account.tenant_id,
                user_id=colleague.id,
                sealed_secret=b"",
                key_id="",
                created_at=now,
                confirmed_at=now,
            )
        )
    entered = {own.account.tenant_id: {own.account.user_id: [own.account.environment_id]}}
    settings = settings_for(database_url, environment_access=json.dumps(entered))
    async with running(settings, database) as url:
        listed = Visitor(own.account)
        listed.http.base_url = httpx.URL(url)
        await listed.sign_in(own)
        removal = {"form_token": await listed.token("/account")}
        await listed.post(f"/team/{colleague.id}/second-factor/remove", removal)
        assert "Only who may enter every environment" in (await listed.http.get("/team")).text
        await listed.http.aclose()
    async with own.account.transaction() as session:
        assert await session.scalar(select(SecondFactor.user_id)) == colleague.id


async def test_a_known_browser_gets_in_while_strangers_guess(own: Stage, inside: Visitor) -> None:
    device = inside.http.cookies["farthing_device"]
    async with own.account.database.transaction(SYSTEM) as session:
        until = datetime.now(UTC) + timedelta(days=10_000)
        key = back_off.account_key(own.email)
        session.add(SignInAttempts(id=key, failures=40, last_at=datetime.now(UTC), blocked_until=until))
    known, unknown = Visitor(own.account), Visitor(own.account)
    known.http.cookies.set("farthing_device", device)
    for visitor, expected in ((known, 303), (unknown, 429)):
        form = {"email": own.email, "password": PASSWORD, "form_token": await visitor.token("/sign-in")}
        answer = await visitor.post("/sign-in", form)
        assert answer.status_code == expected
        assert ("retry-after" in answer.headers) is (expected == 429)
        await visitor.http.aclose()


async def test_a_colleague_is_invited_with_a_role_sets_a_password_and_gets_another(page: Page, own: Stage) -> None:
    await sign_in(page, own)
    await page.goto("/team")
    await page.get_by_text("Invite", exact=True).click()
    await page.get_by_label("Name", exact=True).fill("Grace Hopper")
    email = f"grace.{own.account.tenant_id}@example.com".lower()
    await page.get_by_label("E-mail").fill(email)
    await page.locator(".panel select[name=role]").first.select_option("all_reader")
    await page.get_by_role("button", name="Invite them").click()
    link = await page.locator("code.secret").inner_text()
    assert "/password/" in link
    row = page.get_by_role("row").filter(has_text="Grace Hopper")
    await expect(row).to_contain_text("Reads everything")
    await row.locator("summary").click()
    await row.get_by_role("combobox").select_option("all_writer")
    await row.get_by_role("button", name="Change it").click()
    await expect(page.get_by_role("status")).to_contain_text("Grace Hopper is Writer now.")
