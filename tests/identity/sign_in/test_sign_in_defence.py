"""What protects signing in: back-off of accounts, sessions that end, links that work once, second factors."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyotp
import pytest
from sqlalchemy import delete, select, update

from farthing.core.clock import FixedClock
from farthing.core.enums import Status
from farthing.core.errors import NotFound, PermissionDenied, ServiceUnavailable, TooManyRequests
from farthing.identity.credentials.sealing import SealedBox
from farthing.identity.sign_in import back_off, operator, passwords, second_factor
from farthing.identity.sign_in.email_and_password import sign_in
from farthing.identity.sign_in.password_change import change_password, linked_person, make_link, redeem_link
from farthing.identity.sign_in.sessions import (
    MOST_PER_PERSON,
    SignInOrigin,
    end_session,
    listed,
    open_session,
    record_seen,
    valid_session,
)
from farthing.identity.sign_in.tables import PasswordLink, SessionKind, SignInAttempts, SignInSession
from farthing.identity.tables import User
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.identity.conftest import new_user
from tests.waiting import until_waited_for

Visitor = Callable[..., httpx.AsyncClient]
PASSWORD, OTHER = "correct horse battery", "another good password"
BASE = "https://billing.example.com"
LIFE = timedelta(hours=1)


@pytest.fixture
async def person(account: Account) -> User:
    """A person with an email and a password."""
    made = await new_user(account, ["super_admin"])
    async with account.database.transaction(SYSTEM) as session:
        user = await session.get_one(User, made.id)
        user.email = f"{uuid.uuid4().hex}@example.com"
        user.password_hash = await passwords.hashed(PASSWORD)
    return user


def at(database: Database, moment: datetime) -> Database:
    """The same database at another time."""
    return Database(database.url, database.ports, pool_size=2, clock=FixedClock(moment))


@pytest.fixture
async def still(database: Database) -> AsyncIterator[Database]:
    """The database at a time that stands still, so that a slow machine waits no back-off out."""
    stopped = at(database, datetime.now(UTC))
    yield stopped
    await stopped.close()


# back-off


def test_waits_grow_and_are_bounded() -> None:
    waits = [back_off.wait_after(failures).total_seconds() for failures in (1, 5, 6, 7, 10, 14, 15, 1000)]
    assert waits == [0, 0, 2, 4, 32, 512, 900, 900]


@pytest.mark.parametrize("known", [True, False], ids=["of an account", "of nobody"])
async def test_the_sixth_failure_has_to_wait_even_with_the_right_password(
    still: Database, person: User, known: bool
) -> None:
    email = person.email or "" if known else f"{uuid.uuid4().hex}@example.com"
    for _ in range(6):
        with pytest.raises(PermissionDenied, match="Invalid email or password"):
            await sign_in(still, email, "wrong")
    with pytest.raises(TooManyRequests, match="Too many attempts for this account") as caught:
        await sign_in(still, email.upper(), PASSWORD)
    assert caught.value.retry_after_seconds in (1, 2)


async def test_guesses_made_at_once_are_counted_before_they_are_checked(still: Database, person: User) -> None:
    attempts = (sign_in(still, person.email or "", f"guess {number}") for number in range(12))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(outcome, PermissionDenied) for outcome in outcomes) == 6
    assert sum(isinstance(outcome, TooManyRequests) for outcome in outcomes) == 6


async def test_an_attempt_that_waits_for_a_success_beside_it_starts_anew(database: Database) -> None:
    key = back_off.account_key(f"{uuid.uuid4().hex}@example.com")
    await back_off.begin_attempt(database, key)
    async with database.transaction(SYSTEM) as session:
        await session.execute(delete(SignInAttempts).where(SignInAttempts.id == key))  # as a success does
        beside = asyncio.create_task(back_off.begin_attempt(database, key))
        await until_waited_for(session)
    await beside
    async with database.transaction(SYSTEM) as session:
        assert (await session.get_one(SignInAttempts, key)).failures == 1


async def test_strangers_do_not_keep_a_known_browser_out(database: Database, person: User) -> None:
    email = person.email or ""
    async with database.transaction(SYSTEM) as session:
        later = datetime.now(UTC) + timedelta(minutes=10)
        key = back_off.account_key(email)
        session.add(SignInAttempts(id=key, failures=30, last_at=datetime.now(UTC), blocked_until=later))
    with pytest.raises(TooManyRequests):
        await sign_in(database, email, PASSWORD)
    assert (await sign_in(database, email, PASSWORD, device="a browser it signed in with")).id == person.id


async def test_a_right_password_and_a_day_start_again(database: Database, person: User) -> None:
    email, key = person.email or "", back_off.account_key(person.email or "")
    for _ in range(4):
        with pytest.raises(PermissionDenied):
            await sign_in(database, email, "wrong")
    await sign_in(database, email, PASSWORD)
    async with database.transaction(SYSTEM) as session:
        assert await session.get(SignInAttempts, key) is None
        old = datetime.now(UTC) - timedelta(days=2)
        session.add(SignInAttempts(id=key, failures=30, last_at=old, blocked_until=old))
    with pytest.raises(PermissionDenied):
        await sign_in(database, email, "wrong")
    async with database.transaction(SYSTEM) as session:
        assert (await session.get_one(SignInAttempts, key)).failures == 1


# turns at working out hashes


@pytest.fixture
async def strangers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """As many strangers as may wait for their turn, while a hash of one of them is worked out."""
    monkeypatch.setattr(passwords._turns, "_wait_seconds", 600)
    async with passwords.turn(passwords.STRANGERS):
        waiting = [asyncio.create_task(passwords._turns.acquire("")) for _ in range(passwords.MOST_WAITING)]
        await asyncio.sleep(0)
        yield
        for stranger in waiting:
            stranger.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.usefixtures("strangers")
async def test_one_stranger_too_many_is_sent_away_and_nothing_is_counted(database: Database, person: User) -> None:
    email = person.email or ""
    with pytest.raises(TooManyRequests, match="Too many passwords") as caught:
        await sign_in(database, email, PASSWORD)
    assert caught.value.retry_after_seconds
    async with database.transaction(SYSTEM) as session:
        assert await session.get(SignInAttempts, back_off.account_key(email)) is None


@pytest.mark.usefixtures("strangers")
async def test_who_is_known_does_not_wait_for_strangers(database: Database, person: User) -> None:
    """In a browser that signed in before, with a session, or with a link that was mailed."""
    async with asyncio.timeout(60):
        assert (await sign_in(database, person.email or "", PASSWORD, device="a known browser")).id == person.id
        await change_password(database, person.id, PASSWORD, OTHER, "")
        async with database.transaction(SYSTEM) as session:
            link = await make_link(session, person, BASE, LIFE, datetime.now(UTC))
        await redeem_link(database, link.url.rsplit("/", 1)[1], PASSWORD)


@pytest.mark.usefixtures("strangers")
async def test_a_sign_in_that_is_sent_away_is_told_when_to_come_back(visitor: Visitor) -> None:
    async with visitor() as http:
        attempt = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD}
        answers = [
            await http.post("/auth/login", json=attempt),
            await http.post("/auth/signup", json={**attempt, "tenant_name": "Late"}),
        ]
    assert [answer.status_code for answer in answers] == [429, 429]
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)


async def test_a_stranger_whose_turn_does_not_come_is_sent_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords._turns, "_wait_seconds", 0.02)
    async with passwords.turn(passwords.STRANGERS):
        with pytest.raises(ServiceUnavailable, match="Other passwords") as caught:
            await sign_in(database, f"{uuid.uuid4().hex}@example.com", PASSWORD)
    assert caught.value.retry_after_seconds


# sessions


async def test_a_token_ends_with_its_session(account: Account, person: User, visitor: Visitor) -> None:
    login = {"email": person.email, "password": PASSWORD}
    async with visitor() as http:
        token, other = [(await http.post("/auth/login", json=login)).json()["token"] for _ in range(2)]
        bearer, beside = ({"Authorization": f"Bearer {text}"} for text in (token, other))
        assert (await http.get("/users/me", headers=bearer)).status_code == 200
        async with account.transaction() as session:
            rows = await listed(session, person, datetime.now(UTC))
            assert [(row.kind.value, row.user_agent[:12]) for row in rows] == [("api", "python-httpx")] * 2
            assert all(row.address.startswith("127.1.") and row.token_hash not in token for row in rows)
            await end_session(session, person.id, rows[-1].id, datetime.now(UTC))
        statuses = [(await http.get("/users/me", headers=headers)).status_code for headers in (bearer, beside)]
        assert sorted(statuses) == [200, 401]
        await change_password(account.database, person.id, PASSWORD, OTHER, "")
        assert (await http.get("/users/me", headers=beside)).status_code == 401
        assert (await http.get("/users/me", headers=bearer)).status_code == 401


async def test_nobody_ends_another_persons_session(account: Account, person: User) -> None:
    async with account.transaction() as session:
        await open_session(session, person, SessionKind.DASHBOARD, LIFE, SignInOrigin(), datetime.now(UTC))
    async with account.transaction() as session:
        (row,) = await listed(session, person, datetime.now(UTC))
        with pytest.raises(NotFound):
            await end_session(session, account.user_id, row.id, datetime.now(UTC))


async def test_last_seen_is_written_once_a_minute(account: Account, person: User) -> None:
    now = datetime.now(UTC)
    async with account.transaction() as session:
        token = await open_session(session, person, SessionKind.DASHBOARD, LIFE, SignInOrigin(), now)
    async with account.transaction(read_only=True) as session:  # looking it up is a read
        found = await valid_session(session, token, SessionKind.DASHBOARD, person, now)
        assert await valid_session(session, token, SessionKind.API, person, now) is None
    assert found is not None
    for seconds, expected in ((59, now), (61, now + timedelta(seconds=61)), (90, now + timedelta(seconds=61))):
        later = at(account.database, now + timedelta(seconds=seconds))
        await record_seen(later, [found.id])
        await later.close()
        async with account.transaction() as session:
            assert (await session.get_one(SignInSession, found.id)).last_seen_at == expected


async def test_sessions_of_a_person_are_bounded_and_old_ones_are_forgotten(account: Account, person: User) -> None:
    now = datetime.now(UTC)
    async with account.transaction() as session:
        for number in range(MOST_PER_PERSON + 3):
            moment = now + timedelta(seconds=number)
            await open_session(session, person, SessionKind.API, LIFE, SignInOrigin(), moment)
        assert len(await listed(session, person, now)) == MOST_PER_PERSON
        await open_session(session, person, SessionKind.API, LIFE, SignInOrigin(), now + timedelta(hours=2))
        assert len((await session.scalars(select(SignInSession).where(SignInSession.user_id == person.id))).all()) == 1


# passwords


async def test_a_password_changes_only_with_the_old_one_and_ends_all_other_sessions(
    account: Account, person: User
) -> None:
    now = datetime.now(UTC)
    async with account.transaction() as session:
        mine, other = [
            await open_session(session, person, SessionKind.DASHBOARD, LIFE, SignInOrigin(), now) for _ in range(2)
        ]
        kept = await valid_session(session, mine, SessionKind.DASHBOARD, person, now)
    assert kept is not None
    with pytest.raises(PermissionDenied, match="old password is not right"):
        await change_password(account.database, person.id, "wrong", OTHER, kept.id)
    await change_password(account.database, person.id, PASSWORD, OTHER, kept.id)
    async with account.transaction() as session:
        user = await session.get_one(User, person.id)
        assert await valid_session(session, mine, SessionKind.DASHBOARD, user, now) is not None
        assert await valid_session(session, other, SessionKind.DASHBOARD, user, now) is None
    assert (await sign_in(account.database, person.email or "", OTHER)).id == person.id


async def test_a_link_sets_a_password_once_and_a_new_one_voids_it(account: Account, person: User) -> None:
    now = datetime.now(UTC)
    async with account.transaction() as session:
        first = await make_link(session, person, BASE, LIFE, now)
        second = await make_link(session, person, BASE, LIFE, now)
        (stored,) = (await session.scalars(select(PasswordLink).where(PasswordLink.user_id == person.id))).all()
    tokens = [link.url.removeprefix(f"{BASE}/password/") for link in (first, second)]
    assert stored.token_hash not in tokens
    with pytest.raises(NotFound):
        await redeem_link(account.database, tokens[0], OTHER)
    late = at(account.database, now + LIFE)
    with pytest.raises(NotFound):
        await redeem_link(late, tokens[1], OTHER)
    await late.close()
    twice = [redeem_link(account.database, tokens[1], f"{OTHER} {number}") for number in range(2)]
    outcomes = await asyncio.gather(*twice, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [NotFound]


async def _demote(account: Account, maker: User) -> None:
    async with account.database.transaction(SYSTEM) as session:
        await session.execute(update(User).where(User.id == maker.id).values(roles=["all_writer"]))


async def _remove(account: Account, maker: User) -> None:
    async with account.database.transaction(SYSTEM) as session:
        await session.execute(update(User).where(User.id == maker.id).values(status=Status.ARCHIVED))


async def _change_password(account: Account, maker: User) -> None:
    await operator.set_password_of(account.database, maker.email or "", OTHER)


@pytest.mark.parametrize("end", [_demote, _remove, _change_password])
async def test_what_somebody_handed_out_ends_with_being_in_charge_and_with_the_password(
    account: Account, person: User, end: Callable[[Account, User], Awaitable[None]]
) -> None:
    """Somebody else may have made it in their name, or they themselves before they were shown out."""
    colleague = await new_user(account, ["super_admin"])
    async with account.transaction() as session:
        link = await make_link(session, colleague, BASE, LIFE, datetime.now(UTC), made_by=person.id)
    token = link.url.rpartition("/")[2]
    async with account.transaction(read_only=True) as session:
        assert (await linked_person(session, token, datetime.now(UTC))).id == colleague.id
    await end(account, person)
    with pytest.raises(NotFound):
        await redeem_link(account.database, token, OTHER)


async def test_the_operator_makes_links_sets_passwords_and_signs_people_out(account: Account, person: User) -> None:
    settings, email = Settings(public_url=BASE), person.email or ""
    link = await operator.link_for(account.database, settings, email.upper())
    await redeem_link(account.database, link.url.rpartition("/")[2], OTHER)
    async with account.transaction() as session:
        user = await session.get_one(User, person.id)
        await open_session(session, user, SessionKind.API, LIFE, SignInOrigin(), datetime.now(UTC))
    assert email in [row[1] for row in await operator.list_people(account.database)]
    assert await operator.sign_out_everywhere(account.database, email) == 1
    await operator.set_password_of(account.database, email, PASSWORD)
    assert (await sign_in(account.database, email, PASSWORD)).id == person.id
    assert not await operator.remove_second_factor_of(account.database, email)
    with pytest.raises(NotFound, match="Nobody signs in with"):
        await operator.link_for(account.database, settings, "nobody@example.com")


# second factor


def box(account: Account) -> SealedBox:
    return SealedBox(account.settings.master_key(), second_factor.PURPOSE)


async def enrol(account: Account, person: User, now: datetime) -> tuple[pyotp.TOTP, list[str]]:
    """Set up an app for the person, and confirm it with a code of `now`."""
    async with account.transaction() as session:
        made = await second_factor.begin_enrolment(session, box(account), person, now)
        assert not await second_factor.is_required(session, person.id)
        app = pyotp.TOTP(made.secret)
        with pytest.raises(PermissionDenied):
            await second_factor.confirm_enrolment(session, box(account), person.id, "000000x", now)
        codes = await second_factor.confirm_enrolment(session, box(account), person.id, app.at(now), now)
        assert await second_factor.is_required(session, person.id)
    return app, codes


async def test_a_code_works_once_and_near_its_time(account: Account, person: User) -> None:
    now = datetime.now(UTC)
    app, _ = await enrol(account, person, now)
    later = now + timedelta(minutes=5)
    database = at(account.database, later)

    async def check(code: str) -> bool:
        try:
            await second_factor.check_code(database, box(account), person.id, code)
        except PermissionDenied:
            return False
        return True

    assert not await check(app.at(now))  # the code that confirmed it
    assert not await check(app.at(later + timedelta(minutes=2)))
    assert await check(app.at(later))
    assert not await check(app.at(later))
    assert not await check(app.at(later - timedelta(seconds=30)))
    ahead = app.at(later + timedelta(seconds=30))
    twice = await asyncio.gather(check(ahead), check(f"{ahead[:3]} {ahead[3:]}"))
    assert sorted(twice) == [False, True]
    await database.close()


async def test_recovery_codes_work_once_each_and_are_stored_as_hashes(account: Account, person: User) -> None:
    _, codes = await enrol(account, person, datetime.now(UTC))
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    async with account.transaction() as session:
        factor = await second_factor.of_person(session, person.id)
    assert factor is not None
    assert not set(codes) & set(factor.recovery_hashes)
    await second_factor.check_code(account.database, box(account), person.id, codes[0].upper())
    with pytest.raises(PermissionDenied):
        await second_factor.check_code(account.database, box(account), person.id, codes[0])


async def test_guessing_codes_is_slowed_down(account: Account, person: User, still: Database) -> None:
    await enrol(account, person, datetime.now(UTC))
    for _ in range(6):
        with pytest.raises(PermissionDenied):
            await second_factor.check_code(still, box(account), person.id, "nonsense")
    with pytest.raises(TooManyRequests):
        await second_factor.check_code(still, box(account), person.id, "nonsense")


async def test_the_api_asks_for_the_code_too(account: Account, person: User, visitor: Visitor) -> None:
    app, codes = await enrol(account, person, datetime.now(UTC) - timedelta(minutes=5))
    login: dict[str, Any] = {"email": person.email, "password": PASSWORD}
    async with visitor() as http:
        without = await http.post("/auth/login", json=login)
        assert (without.status_code, without.json()["details"]) == (403, {"code": "is required"})
        assert (await http.post("/auth/login", json={**login, "code": "nonsense"})).status_code == 403
        assert (await http.post("/auth/login", json={**login, "code": app.now()})).status_code == 200
        assert (await http.post("/auth/login", json={**login, "code": codes[3]})).status_code == 200
    assert await operator.remove_second_factor_of(account.database, person.email or "")
    async with visitor() as http:
        assert (await http.post("/auth/login", json=login)).status_code == 200


# keys


async def test_a_key_that_expires_makes_none_that_outlives_it_and_lets_nobody_in(account: Account) -> None:
    end = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    body = {"name": "short", "type": "private_key"}
    made = await account.post("/secrets/api/keys", {**body, "expires_at": end.isoformat()})
    async with account.client(made["api_key"]) as http:
        for later in ({}, {"expires_at": (end + timedelta(seconds=1)).isoformat()}):
            answer = await http.post("/secrets/api/keys", json={**body, **later})
            assert answer.status_code == 400, answer.text
            assert "expires_at" in answer.json()["details"]
        sooner = await http.post("/secrets/api/keys", json={**body, "expires_at": end.isoformat()})
        assert sooner.status_code == 201
        invited = await http.post("/users", json={"type": "user", "email": f"{uuid.uuid4().hex}@example.com"})
        assert invited.status_code == 403
        # nor does it give a colleague more rights; to take some away is nothing that lasts too long
        for before, after, status in (("all_reader", "super_admin", 403), ("all_writer", "all_reader", 200)):
            colleague = await new_user(account, [before])
            answer = await http.put(f"/users/{colleague.id}/roles", json={"roles": [after]})
            assert answer.status_code == status, answer.text


async def test_a_key_makes_none_with_more_roles_than_it_has(account: Account, database: Database) -> None:
    key = await account.new_key(["all_writer"])
    async with account.client(key) as http:
        me = (await http.get("/users/me")).json()["id"]
        async with database.transaction(SYSTEM) as session:  # promoted since
            await session.execute(update(User).where(User.id == me).values(roles=["super_admin", "all_writer"]))
        made = await http.post("/secrets/api/keys", json={"name": "more", "type": "private_key"})
    assert made.status_code == 201, made.text
    assert made.json()["secret"]["roles"] == ["all_writer"]
