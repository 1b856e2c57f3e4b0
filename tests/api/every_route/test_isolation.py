"""What one tenant or environment has, no other sees, changes or even learns of. Over every route there is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import httpx
import psycopg
import pytest

from farthing.settings import Settings
from farthing.storage.postgres import Database
from tests.account import Account
from tests.api.books import Books
from tests.api.endpoints import BY_ID, ENDPOINTS, Endpoint
from tests.api.tour.building import build
from tests.api.tour.calls import Call, Made, OverHttp, Recorder, send
from tests.api.tour.changing import change, end
from tests.api.tour.reading import lists, read
from tests.api.untoured import UNTOURED, calls_of_untoured
from tests.thorough import THOROUGH

TENANT_WIDE = ("/v1/users", "/v1/environments", "/v1/tenants", "/v1/tenant/", "/v1/secrets", "/v1/rbac")
"""What a second environment of the same tenant shares."""
FIXED = {"getRbacRole", "getSetting", "updateSetting", "deleteSetting"}
"""Their path parameter names something everybody has."""
ULID = re.compile(r"_[0-9A-HJKMNP-TV-Z]{26}")
VARYING = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}|\d{4}-\d\d-\d\dT[0-9:.]+Z")
"""Ids of rows just made, request ids, times."""


def unknown(value: Any) -> Any:
    """`value` with every id and every name of the tour replaced by one of the same length that nobody has."""
    if isinstance(value, str):
        value = ULID.sub(lambda m: "_" + "0" * 25 + m[0][-1], value)
        for mark in ("tour-", "TOUR", "tou"):
            value = value.replace(mark, mark[::-1])
        return value
    if isinstance(value, Mapping):
        return {key: unknown(item) for key, item in value.items()}
    return [unknown(item) for item in value] if isinstance(value, list) else value


def as_if_about(text: str) -> str:
    """`text`, an answer about nobody, in the words of one about somebody."""
    for mark in ("tour-", "TOUR", "tou"):
        text = text.replace(mark[::-1], mark)
    return text


def of_nobody(call: Call) -> Call:
    return Call(call.operation, unknown(call.path), unknown(call.query), unknown(call.body))


@pytest.fixture(scope="module")
async def account(base_url: str, settings: Settings, database: Database) -> AsyncIterator[Account]:
    """One tenant for all tests here, as each proves that nothing of it has changed."""
    async with Account(base_url, settings, database) as account:
        yield account


@pytest.fixture(scope="module")
async def owner(account: Account) -> tuple[OverHttp, Made]:
    """A tenant with one of everything, and the calls that made it."""
    go = OverHttp(account)
    return go, await build(go)


@pytest.fixture(params=["another tenant", "another environment"])
async def outsider(request: pytest.FixtureRequest, account: Account, stranger: Account) -> httpx.AsyncClient:
    if request.param == "another tenant":
        return stranger.http
    return account.client(await account.new_key(["super_admin"], environment_id=await account.new_environment()))


def concerns(outsider: httpx.AsyncClient, account: Account, stranger: Account) -> Callable[[Endpoint], bool]:
    """Which routes the outsider is an outsider to."""
    return lambda endpoint: outsider is stranger.http or not endpoint.path.startswith(TENANT_WIDE)


def shape(answer: httpx.Response) -> str:
    """An answer without what differs between any two."""
    return VARYING.sub("?", answer.text)


async def test_a_foreign_id_answers_as_an_unknown_one_and_nothing_changes(
    account: Account, stranger: Account, owner: tuple[OverHttp, Made], outsider: httpx.AsyncClient, sockets: str
) -> None:
    _, made = owner
    ours = concerns(outsider, account, stranger)
    calls = Recorder()
    for step in (read, change, end):
        await step(calls, made)
    asked = [*calls.asked, *calls_of_untoured(made)]
    named = [call for call in asked if of_nobody(call) != call and call.operation not in FIXED]
    assert len(named) > 60
    with Books(sockets, account) as books:
        before = books.state(only_environment=outsider is not stranger.http)
        for call in named:
            if not ours(BY_ID[call.operation]):
                continue
            foreign, nobody = await send(outsider, call), await send(outsider, of_nobody(call))
            assert (foreign.status_code, shape(foreign)) == (nobody.status_code, as_if_about(shape(nobody))), call
            assert not leaks(foreign, call, made), call
        assert books.state(only_environment=outsider is not stranger.http) == before


def leaks(answer: httpx.Response, call: Call, made: Made) -> set[str]:
    """Ids of the owner's that an answer shows without having been told."""
    told = repr(call)
    return {id for id in made.values() if id in answer.text and id not in told}


async def test_a_stranger_may_refer_to_nothing(
    account: Account, stranger: Account, owner: tuple[OverHttp, Made], outsider: httpx.AsyncClient, sockets: str
) -> None:
    """The very requests that made everything, repeated by an outsider: what they refer to does not exist."""
    go, made = owner
    ours = concerns(outsider, account, stranger)
    with Books(sockets, account) as books:
        before = books.state(only_environment=outsider is not stranger.http)
        for call, _ in go.made:
            if not ours(BY_ID[call.operation]) or not ULID.search(repr(call.body)):
                continue
            nobody, foreign = await send(outsider, of_nobody(call)), await send(outsider, call)
            assert foreign.status_code == nobody.status_code, f"{call}: {foreign.text} {nobody.text}"
            if foreign.is_error:
                assert shape(foreign) == as_if_about(shape(nobody)), call
            assert not leaks(foreign, call, made), call
        assert books.state(only_environment=outsider is not stranger.http) == before


async def test_lists_and_searches_of_an_outsider_are_empty(
    account: Account, stranger: Account, owner: tuple[OverHttp, Made], outsider: httpx.AsyncClient
) -> None:
    _, made = owner
    ours = concerns(outsider, account, stranger)
    assert len(lists()) > 20
    for endpoint in lists():
        if not ours(endpoint):
            continue
        for query in ({}, {"status": "archived"}, {"expand": ""}):
            call = Call(endpoint.id, body=query) if endpoint.method == "POST" else Call(endpoint.id, query=query)
            answer = await send(outsider, call)
            if answer.status_code == 400 and query:
                continue
            assert answer.status_code == 200, f"{endpoint.name}: {answer.text}"
            assert not leaks(answer, call, made), endpoint.name
            items = answer.json().get("items") if isinstance(answer.json(), dict) else answer.json()
            if not endpoint.path.startswith(TENANT_WIDE):
                assert not items, f"{endpoint.name}: {answer.text}"


def _guesses(endpoint: Endpoint, go: OverHttp, made: Made) -> Iterator[str]:
    """Ids that a route could take: of what was made under its own folder, or, failing that, one of each kind."""
    folder = endpoint.path.partition("/{")[0].removeprefix("/v1")
    near = [str(answer["id"]) for call, answer in go.made if answer and call.url == folder and "id" in answer]
    if not near:
        yield from {kind_of(id): id for id in made.values()}.values()
    elif THOROUGH:
        yield from near
    else:  # two of them, others for each of the routes of a folder
        first = 2 * ENDPOINTS.index(endpoint)
        yield from {near[(first + number) % len(near)] for number in range(2)}


def kind_of(id: str) -> str:
    return ULID.sub("_", id)


@pytest.mark.slow
async def test_no_route_at_all_opens_to_a_foreign_id(
    account: Account, stranger: Account, owner: tuple[OverHttp, Made], outsider: httpx.AsyncClient, sockets: str
) -> None:
    """Also those that the tour does not visit: ids that may fit, in every path, with an empty body."""
    go, made = owner
    ours = concerns(outsider, account, stranger)
    with Books(sockets, account) as books:
        before = books.state(only_environment=outsider is not stranger.http)
        for endpoint in ENDPOINTS:
            if not endpoint.path_parameters or endpoint.public or endpoint.id in FIXED or not ours(endpoint):
                continue
            body: dict[str, Any] | None = {} if endpoint.body is not None else None
            answers_about_nobody: dict[str, httpx.Response] = {}
            for id in _guesses(endpoint, go, made):
                foreign = await outsider.request(endpoint.method, endpoint.url(id), json=body)
                if kind_of(id) not in answers_about_nobody:
                    answer = await outsider.request(endpoint.method, endpoint.url(unknown(id)), json=body)
                    answers_about_nobody[kind_of(id)] = answer
                nobody = answers_about_nobody[kind_of(id)]
                assert foreign.status_code == nobody.status_code, f"{endpoint.name} {id}: {foreign.text}"
                assert shape(foreign) == as_if_about(shape(nobody)), f"{endpoint.name} {id}"
        assert books.state(only_environment=outsider is not stranger.http) == before


@pytest.mark.slow
async def test_the_owner_meets_everything_the_outsider_was_refused(stranger: Account) -> None:
    """The same calls are answered with success to their owner, so the refusals above are not for another reason."""
    go = OverHttp(stranger)
    made = await build(go)
    for step in (read, change, end):
        await step(go, made)
    toured = {call.operation for call, _ in go.made}
    assert {endpoint.id for endpoint in ENDPOINTS if endpoint.operation} - toured == UNTOURED


def test_every_table_of_a_tenant_is_watched(database_url: str, sockets: str) -> None:
    """The comparison above is of no use if it looks at nothing."""
    with psycopg.connect(database_url.replace("farthing@", "postgres@")) as connection:
        watched = Books.tables(connection)
    assert {"customers", "invoices", "payments", "users", "secrets", "prices"} <= {name for name, _ in watched}
