"""Requests that no honest client sends, to every route: refused in the one error body, and nothing is changed.

Every route and every field meets some of each family of bad values, every value meets fields of every type and a route
of every folder. A thorough run tries each value everywhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cache
from typing import Any

import httpx
import pytest

from tests.account import Account
from tests.api.books import Books
from tests.api.endpoints import ENDPOINTS, Endpoint, branches
from tests.api.tour.building import QUESTION
from tests.thorough import THOROUGH

LIMITED = {"login", "signUp"}
"""Refused after ten requests a minute, whatever they hold."""
ENOUGH = {"subscription_id": "nobody", "definition": QUESTION, "range": "this_year", "shape": "breakdown"}
ENOUGH |= {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-01T00:00:00Z"}
"""What the bodies of routes require that also take something in the query."""
TAKES_FILES = {"uploadTaskFile"}
"""Read as they arrive, with a cap of their own."""
WITH_BODY = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None and endpoint.id not in LIMITED]
JSON = {"content-type": "application/json"}
CAP = 4 * 2**20
DEEPEST = 3
"""How many levels of nested fields are tried."""

SAMPLES: dict[str, Any] = {"string": "x", "integer": 7, "number": 1.5, "boolean": True, "object": {}, "array": []}
"""One value of each JSON type."""


def check(answer: httpx.Response, expected: int = 400) -> dict[str, Any]:
    """The answer is the one error body.

    Rule: docs/rules/conventions.md#errors
    """
    assert answer.status_code == expected, f"{answer.request.method} {answer.request.url}: {answer.text[:500]}"
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"].startswith("application/json")
    assert set(body) - {"details"} == {"code", "message", "http_status_code", "success", "error"}
    assert body["http_status_code"] == expected
    assert body["success"] is False
    assert body["error"] == {"message": body["message"], "internal_error": ""}
    assert body["code"]
    assert body["message"]
    assert body.get("details", True), "details are left out when there are none"
    return body


@pytest.fixture
async def untouched(account: Account, caller: httpx.AsyncClient, sockets: str) -> AsyncIterator[None]:
    """Nothing that the account has may be different after the test."""
    await caller.get("/users/me")
    with Books(sockets, account) as books:
        before = books.state()
        yield
        assert books.state() == before


pytestmark = pytest.mark.usefixtures("untouched")


def json_types(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a field accepts, as documented; nothing for a field of any type."""
    found: set[str] = set()
    for part in branches(schema):
        if "const" in part or "enum" in part:
            found.add("string")
        elif "type" in part:
            found.add(part["type"])
        else:
            return set()
    if "number" in found:
        found |= {"integer", "string"}  # decimals travel either way
    return found


def decimal(schema: dict[str, Any]) -> bool:
    return any(part.get("format") == "decimal" for part in branches(schema))


def fields(schema: dict[str, Any], depth: int = 0) -> Iterator[tuple[list[str | int], dict[str, Any]]]:
    """Every field of a body, with where it is."""
    if depth == DEEPEST:
        return
    for part in branches(schema):
        for name, inner in part.get("properties", {}).items():
            yield [name], inner
            for path, deeper in fields(inner, depth + 1):
                yield [name, *path], deeper
        if part.get("type") == "array" and "items" in part:
            for path, deeper in fields(part["items"], depth):
                yield [0, *path], deeper


def planted(path: list[str | int], value: Any) -> Any:
    """The smallest body that has `value` at `path`."""
    for step in reversed(path):
        value = [value] if step == 0 else {step: value}
    return value


def named(path: list[str | int], details: dict[str, Any]) -> bool:
    """Whether the details of a refusal name the field at `path`, or, in a list of errors, its own name."""
    text = "".join("[0]" if step == 0 else f".{step}" for step in path).lstrip(".")
    return any(key == text or key.startswith((f"{text}.", f"{text}[")) for key in details) or (
        "errors" in details and any(error.get("field") == path[-1] for error in details["errors"])
    )


def folder(endpoint: Endpoint) -> str:
    return endpoint.path.split("/")[2]


def some_of(endpoints: Sequence[Endpoint], turn: int, of: int) -> Iterator[Endpoint]:
    """One route of each folder, and those whose turn it is among all: one in `of`, others at each `turn`."""
    folders: set[str] = set()
    for number, endpoint in enumerate(endpoints):
        if THOROUGH or folder(endpoint) not in folders or number % of == turn % of:
            folders.add(folder(endpoint))
            yield endpoint


def what_decodes(schema: dict[str, Any]) -> str:
    """The type of a field, without what is said about it: fields of one type are read by the same decoder."""
    said = ("description", "example", "examples", "title", "default", "deprecated")
    return json.dumps([{key: part[key] for key in sorted(part) if key not in said} for part in branches(schema)])


Field = tuple[Endpoint, list[str | int], dict[str, Any], bool, int]


@cache
def all_fields() -> list[Field]:
    """Every field of every body, whether it is the first of its type, and its number."""
    types: set[str] = set()
    found: list[Field] = []
    for endpoint in WITH_BODY:
        assert endpoint.body is not None
        for path, schema in fields(endpoint.body):
            type = what_decodes(schema)
            found.append((endpoint, path, schema, type not in types, len(found)))
            types.add(type)
    return found


def some_values(values: Sequence[Any], field: Field, of: int) -> Sequence[Any]:
    """All values for the first field of a type; one in `of` of them for any other, never those of its neighbour."""
    *_, is_first, number = field
    return values if is_first or THOROUGH else values[number % min(of, len(values)) :: of]


@pytest.mark.parametrize("name", sorted({folder(endpoint) for endpoint in WITH_BODY}))
async def test_a_wrong_type_in_any_field_is_refused_by_its_name(caller: httpx.AsyncClient, name: str) -> None:
    for field in all_fields():
        endpoint, path, schema, *_ = field
        accepted = json_types(schema)
        if folder(endpoint) != name or not accepted:
            continue
        wrong = [
            value
            for kind, value in SAMPLES.items()
            if kind not in accepted
            and not (kind in {"integer", "number"} and decimal(schema))
            and not (kind == "integer" and "number" in accepted)
        ]
        for value in some_values(wrong, field, len(SAMPLES)):
            answer = await caller.request(endpoint.method, endpoint.url(), json=planted(path, value))
            assert named(path, check(answer).get("details", {})), f"{endpoint.name} {path} {value!r}: {answer.text}"


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


BROKEN = {
    "nothing": b"",
    "not JSON": b"{",
    "text": b"hello",
    "a number": b"12",
    "a string": b'"x"',
    "a list": b"[1]",
    "true": b"true",
    "trailing": b"{} {}",
    "not UTF-8": b'{"name": "\xff\xfe", "external_id": "\xff"}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "very deep": nested(100_000),
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "NaN": b'{"amount": NaN}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_body_that_is_not_an_object_of_json_is_refused(caller: httpx.AsyncClient, name: str) -> None:
    body = BROKEN[name]
    for endpoint in some_of(WITH_BODY, list(BROKEN).index(name), 5):
        if not body and (endpoint.body_optional or not _demands(endpoint)):
            continue
        answer = await caller.request(endpoint.method, endpoint.url(), content=body, headers=JSON)
        check(answer)


def _demands(endpoint: Endpoint) -> bool:
    """Whether a body has fields that must be there."""
    assert endpoint.body is not None
    return all(part.get("required") for part in branches(endpoint.body))


STRANGE_TEXTS = {
    "NUL": "a\\u0000b",
    "a lone high surrogate": "a\\ud800b",
    "a lone low surrogate": "\\udc00",
    "a pair the wrong way round": "\\udc00\\ud800",
}


async def test_text_that_cannot_be_stored_is_refused_in_every_field(caller: httpx.AsyncClient) -> None:
    for field in all_fields():
        endpoint, path, schema, *_ = field
        if not any(part.get("type") == "string" and "enum" not in part for part in branches(schema)):
            continue
        for text in some_values(list(STRANGE_TEXTS.values()), field, len(STRANGE_TEXTS)):
            body = json.dumps(planted(path, "@@")).replace("@@", text).encode()
            check(await caller.request(endpoint.method, endpoint.url(), content=body, headers=JSON))


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in STRANGE_TEXTS.items()])
async def test_text_that_cannot_be_stored_is_refused_as_a_key_too(caller: httpx.AsyncClient, text: str) -> None:
    for endpoint in WITH_BODY:
        assert endpoint.body is not None
        for path, schema in fields(endpoint.body):
            if path[-1] == "metadata" and "object" in json_types(schema):
                body = json.dumps(planted(path, {"@@": "x"})).replace("@@", text).encode()
                check(await caller.request(endpoint.method, endpoint.url(), content=body, headers=JSON))


CLAMPED = {"page_size"}
"""Read as the largest there is when it is larger.

Rule: docs/rules/metering.md#listing-of-raw-events
"""
NUMBERS = ["1e400", "-1e400", "1" + "0" * 30, "9" * 5000, "1e99999999999", "0." + "1" * 5000]
WORDS = ["NaN", "Infinity", "-Infinity", "sNaN", "1,000", "1 000", "0x10", "1e400", "ten", "1" * 5000]


@pytest.mark.parametrize("written", ["number", "text"])
async def test_a_number_beyond_limits_is_refused_in_every_field(caller: httpx.AsyncClient, written: str) -> None:
    texts = NUMBERS if written == "number" else [json.dumps(word) for word in WORDS]
    for field in all_fields():
        endpoint, path, schema, *_ = field
        if not decimal(schema) and not json_types(schema) & {"integer", "number"}:
            continue
        if path[-1] in CLAMPED:
            continue
        for text in some_values(texts, field, 5):
            body = json.dumps(planted(path, "@@")).replace('"@@"', text).encode()
            check(await caller.request(endpoint.method, endpoint.url(), content=body, headers=JSON))


NO_TIMES = [
    "2026-01-01T00:00:00",
    "2026-01-01",
    "yesterday",
    "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "99999-01-01T00:00:00Z",
    "",
]
"""Without a zone, a date, a word, no day of the calendar, before its first, after its last in UTC, too long, empty."""


async def test_a_time_that_is_none_is_refused_in_every_field(caller: httpx.AsyncClient) -> None:
    tried = 0
    for field in all_fields():
        endpoint, path, schema, *_ = field
        if not any(part.get("format") == "date-time" for part in branches(schema)):
            continue
        for text in some_values(NO_TIMES, field, 4):
            check(await caller.request(endpoint.method, endpoint.url(), json=planted(path, text)))
            tried += 1
    assert tried > 200


async def test_a_body_over_the_cap_is_refused_on_every_route(caller: httpx.AsyncClient) -> None:
    huge = b'{"name": "' + b"x" * CAP + b'"}'
    for endpoint in ENDPOINTS:
        if (
            endpoint.method in {"POST", "PUT"}
            and endpoint.id not in LIMITED | TAKES_FILES
            and not endpoint.path.startswith("/v1/events")
        ):
            body = check(await caller.request(endpoint.method, endpoint.url(), content=huge, headers=JSON))
            assert body["details"] == {"body": f"must be at most {CAP} bytes"}


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_events_have_a_cap_of_their_own(caller: httpx.AsyncClient, declared: bool) -> None:
    huge = b" " * (32 * 2**20 + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(huge), 2**20):
            yield huge[start : start + 2**20]

    content = huge if declared else pieces()
    body = check(await caller.post("/events/bulk", content=content, headers=JSON))
    assert "body" in body["details"]


KINDS = ["text/plain", "application/xml", "application/x-www-form-urlencoded", "", "multipart/form-data; boundary=x"]


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_its_declared_type_a_body_is_read_as_json_or_refused(
    caller: httpx.AsyncClient, kind: str
) -> None:
    for endpoint in some_of(WITH_BODY, KINDS.index(kind), len(KINDS)):
        answer = await caller.request(
            endpoint.method, endpoint.url(), content=b"name=x", headers={"content-type": kind}
        )
        check(answer)


DEMANDED = {"getEntityIntegrationMappings": "entity_type=customer&entity_id=x"}
QUERIES: dict[str, str] = {
    "a negative limit": "limit=-1",
    "a huge limit": "limit=1001",
    "a limit beyond 64 bits": "limit=" + "9" * 40,
    "a limit that is no number": "limit=many",
    "a limit that is a fraction": "limit=1.5",
    "a negative offset": "offset=-1",
    "an offset beyond 64 bits": "offset=" + "9" * 40,
    "an unknown status": "status=gone",
    "an unknown order": "order=sideways",
    "an unknown column to sort by": "sort=password",
    "a naive time": "start_time=2026-01-01T00:00:00",
    "an end before the start": "start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z",
    "NUL": "sort=%00",
    "what is not UTF-8": "sort=%ff%fe",
}


@pytest.mark.parametrize("query", [pytest.param(query, id=name) for name, query in QUERIES.items()])
async def test_every_list_refuses_a_bad_query(caller: httpx.AsyncClient, query: str) -> None:
    names = {part.partition("=")[0] for part in query.split("&")}
    for endpoint in ENDPOINTS:
        if (
            endpoint.method == "GET"
            and names <= set(endpoint.query)
            and "status" in endpoint.query
            and not endpoint.path_parameters
        ):
            url = f"{endpoint.url()}?{query}&{DEMANDED.get(endpoint.id, '')}"
            details = check(await caller.get(url)).get("details", {})
            assert names & set(details) or set(details) & {"field", "url"}, f"{endpoint.name}: {details}"


async def test_a_wrong_value_in_any_query_parameter_is_refused_by_its_name(caller: httpx.AsyncClient) -> None:
    for endpoint in ENDPOINTS:
        for name, schema in endpoint.query.items():
            accepted = json_types(schema) - {"null"}
            parts = [part for part in branches(schema) if part.get("type") != "null"]
            closed = any("enum" in part for part in parts) or any(part.get("format") for part in parts)
            if accepted and (closed or not accepted & {"string", "array"}):
                # a body that lacks something is refused before the query is looked at
                body = None if endpoint.body is None else ENOUGH
                answer = await caller.request(endpoint.method, endpoint.url(), params={name: "@?"}, json=body)
                if endpoint.path_parameters and answer.status_code == 404:
                    continue  # what the list is about is looked for first
                assert name in check(answer).get("details", {}), f"{endpoint.name} {name}: {answer.text}"


ODD_QUERIES = {
    "repeated": "limit=1&limit=2&offset=0&offset=0",
    "many": "&".join(f"x{n}=%F0%9F%98%80" for n in range(2000)),
    "signs": "&&&===&%",
    "long": "a=" + "b" * 50_000,
}


@pytest.mark.parametrize("name", ODD_QUERIES)
async def test_an_unknown_or_repeated_query_parameter_never_breaks_a_route(
    caller: httpx.AsyncClient, name: str
) -> None:
    turn = list(ODD_QUERIES).index(name)
    asked = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET" and not endpoint.public]
    for endpoint in some_of(asked, turn, 1 if name == "repeated" else 3):
        answer = await caller.get(f"{endpoint.url()}?{ODD_QUERIES[name]}")
        assert answer.status_code < 500, f"{endpoint.name}: {answer.text}"


async def test_an_url_beyond_the_servers_limit_is_refused(account: Account) -> None:
    host, _, port = account.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/customers?a=" + b"b" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 414 ")
    writer.close()


STRANGE_IDS = [
    "%00",
    "%ff%fe",
    "%ED%A0%80",
    "..%2f..%2fetc",
    "x" * 5000,
    "%27%20OR%201=1--",
    "%F0%9F%98%80",
    "%20",
    "a%2Fb",
]


@pytest.mark.parametrize("id", STRANGE_IDS)
async def test_a_strange_id_is_refused_or_unknown_on_every_route(caller: httpx.AsyncClient, id: str) -> None:
    for endpoint in some_of([endpoint for endpoint in ENDPOINTS if endpoint.path_parameters], STRANGE_IDS.index(id), 3):
        body: dict[str, Any] | None = {} if endpoint.body is not None else None
        answer = await caller.request(endpoint.method, endpoint.url(id), json=body)
        assert 400 <= answer.status_code < 500 or not _named_rows(answer), f"{endpoint.name}: {answer.text}"
        if answer.is_error:
            check(answer, answer.status_code)


def _named_rows(answer: httpx.Response) -> bool:
    """Whether a success speaks of anything."""
    if answer.status_code >= 500:
        return True
    body = answer.json() if answer.content else {}
    return bool(body.get("items")) if isinstance(body, dict) else bool(body)


async def test_another_method_on_a_known_path_is_answered_405(caller: httpx.AsyncClient) -> None:
    known: dict[str, set[str]] = {}
    for endpoint in ENDPOINTS:
        known.setdefault(endpoint.path, set()).add(endpoint.method)
    for endpoint in ENDPOINTS:
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - known[endpoint.path]:
            answer = await caller.request(method, endpoint.url())
            if answer.status_code != 405:
                continue  # the same words may be another route's id
            assert check(answer, 405)["code"] == "invalid_operation"
    answer = await caller.patch("/customers")
    assert check(answer, 405)["code"] == "invalid_operation"
