"""Bodies: how much, how long, from whom, and compressed; and what one request may cost the others."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from farthing.api.transport import bodies
from farthing.api.transport.bodies import BodyReader, Kept, Memory, ReadTimes
from farthing.core.errors import FarthingError, RequestTimedOut, TooManyRequests, Unauthorized
from farthing.storage.connections import shares
from farthing.storage.connections.shares import TenantActivity
from tests.account import Account
from tests.waiting import PATIENCE_SECONDS

MIB = 2**20


def batch(size: int, count: int = 500) -> bytes:
    """A bulk body of about `size` bytes."""
    filling = "x" * (size // count)
    events = [
        {"event_name": "call", "external_customer_id": "c", "event_id": f"e{n}", "properties": {"text": filling}}
        for n in range(count)
    ]
    return json.dumps({"events": events}).encode()


async def test_a_bulk_body_may_have_what_is_promised(account: Account) -> None:
    body = batch(12_000_000)
    assert len(body) > 10_000_000
    answer = await account.http.post("/events/bulk", content=body)
    assert answer.status_code == 202, answer.text
    refused = await account.http.post("/events/bulk", content=b" " * (32 * MIB + 1))
    assert (refused.status_code, refused.json()["details"]) == (400, {"body": f"must be at most {32 * MIB} bytes"})


async def test_a_stranger_is_asked_who_he_is_before_his_body_is_kept(account: Account) -> None:
    async with account.client() as http:
        assert (await http.post("/events/bulk", content=b" " * MIB)).status_code == 401

        async def chunks() -> Any:
            for _ in range(32):
                yield b" " * 32_768

        assert (await http.post("/events/bulk", content=chunks())).status_code == 401


Piece = tuple[bytes, bool]


def arriving(*pieces: Piece, then_silence: bool = False) -> Callable[[], Awaitable[Any]]:
    """What a server hands on: pieces of a body, each with whether more is to come."""
    left = list(pieces)

    async def receive() -> Any:
        if not left and then_silence:
            await asyncio.Event().wait()
        body, more = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": more}

    return receive


async def known(_: Mapping[bytes, bytes]) -> str:
    return "tenant"


async def unknown(_: Mapping[bytes, bytes]) -> str:
    raise Unauthorized("Unauthorized")


async def test_what_strangers_send_is_never_kept_beyond_its_bound() -> None:
    reader = BodyReader(unknown, ReadTimes())
    kept = Kept()
    piece = b"x" * 65_536
    sent = arriving(*[(piece, True)] * 10, (b"", False))
    with pytest.raises(Unauthorized):
        await reader.read("/v1/events/bulk", {b"transfer-encoding": b"chunked"}, sent, kept)
    assert kept.size <= bodies.UNIDENTIFIED_BYTES
    reader.memory.let_go(kept)
    assert reader.memory == Memory()


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        pytest.param("/v1/events/bulk", False, id="that is kept"),
        pytest.param("/v1/customers", True, id="that is refused, and read only to be dropped"),
    ],
)
async def test_who_has_had_more_than_its_share_gives_way_while_a_large_body_comes(
    monkeypatch: pytest.MonkeyPatch, path: str, refused: bool
) -> None:
    monkeypatch.setattr(shares, "ABREAST_SECONDS", 600)
    monkeypatch.setattr(shares, "ACTIVE_SECONDS", 600)
    activity = TenantActivity()
    activity.begin_request("light")
    reader, kept = BodyReader(known, ReadTimes(), activity), Kept()
    piece = b"x" * MIB
    most_at_once = int(shares.LITTLE_SECONDS / bodies.SECONDS_OF_A_BYTE / MIB) + 1
    pieces = [(piece, True)] * (2 * most_at_once)
    monkeypatch.setattr(bodies, "EVENTS_BODY_BYTES", len(pieces) * MIB)
    monkeypatch.setattr(bodies, "MOST_KEPT_OF_TENANT", len(pieces) * MIB)
    monkeypatch.setattr(bodies, "DRAINED_BYTES", len(pieces) * MIB)
    left = len(pieces)

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": piece, "more_body": left > 0}

    headers = {b"content-length": str(len(pieces) * MIB).encode()}
    reading = asyncio.create_task(reader.read(path, headers, receive, kept))
    for _ in range(4 * len(pieces)):
        await asyncio.sleep(0)
    assert left == len(pieces) - most_at_once
    activity.end_request("light")
    async with asyncio.timeout(PATIENCE_SECONDS):
        if refused:
            assert "too large" in (await refusal(reading)).message
        else:
            assert len(await reading) == len(pieces) * MIB
    assert left == 0


@pytest.mark.parametrize("headers", [{}, {b"content-length": b"0"}])
async def test_a_body_that_no_header_announces_is_not_waited_for(headers: dict[bytes, bytes]) -> None:
    reader = BodyReader(unknown, ReadTimes(unidentified=0.01))
    assert await reader.read("/v1/customers/c", headers, arriving(then_silence=True), Kept()) == b""


async def test_all_bodies_together_are_bounded_by_owner_and_in_all() -> None:
    memory = Memory()
    first, second, third = Kept("a"), Kept("b"), Kept("c")
    memory.keep(first, bodies.MOST_KEPT_OF_TENANT)
    with pytest.raises(TooManyRequests):
        memory.keep(first, 1)
    memory.keep(second, bodies.MOST_KEPT_OF_TENANT)
    with pytest.raises(TooManyRequests):
        memory.keep(third, 1)
    memory.let_go(first)
    memory.keep(third, 1)
    strangers = Kept()
    with pytest.raises(TooManyRequests):
        memory.keep(strangers, bodies.MOST_KEPT_OF_STRANGERS + 1)
    for kept in (second, third, strangers):
        memory.let_go(kept)
    assert memory == Memory()


@pytest.mark.parametrize("identify", [known, unknown])
async def test_a_body_that_does_not_come_is_given_up(identify: bodies.Identify) -> None:
    reader = BodyReader(identify, ReadTimes(unidentified=0.01, identified=0.02))
    headers = {b"content-length": b"1000000"}
    with pytest.raises(RequestTimedOut):
        await reader.read("/v1/events/bulk", headers, arriving((b"{", True), then_silence=True), Kept())


EVENT = {"event_name": "call", "external_customer_id": "c", "event_id": "zipped"}


def bare_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare_deflate), ("GZIP", gzip.compress)],
)
async def test_events_come_compressed(account: Account, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(json.dumps({"events": [EVENT]}).encode())
    answer = await account.http.post("/events/bulk", content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 202, answer.text
    assert (await account.get("/events/zipped"))["event"]["event_name"] == "call"


@pytest.mark.parametrize(
    ("path", "encoding", "body", "status", "field"),
    [
        pytest.param("/events", "br", b"x", 415, "Content-Encoding", id="another encoding"),
        pytest.param("/events", "gzip, gzip", b"x", 415, "Content-Encoding", id="two at once"),
        pytest.param("/customers", "gzip", gzip.compress(b"{}"), 415, "Content-Encoding", id="where little is sent"),
        pytest.param("/events", "gzip", b"plain", 400, "body", id="not gzip"),
        pytest.param("/events", "gzip", gzip.compress(b"{}" * 500)[:-9], 400, "body", id="half a stream"),
        pytest.param("/events", "gzip", gzip.compress(b"{}") * 2, 400, "body", id="two streams"),
        pytest.param("/events", "gzip", gzip.compress(b" " * (33 * MIB)), 400, "body", id="a bomb"),
    ],
)
async def test_what_is_not_unpacked(
    account: Account, path: str, encoding: str, body: bytes, status: int, field: str
) -> None:
    answer = await account.http.post(path, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == "validation_error"
    assert field in answer.json()["details"]


async def test_nobody_unpacks_for_a_stranger(account: Account) -> None:
    async with account.client() as http:
        headers = {"Content-Encoding": "gzip"}
        assert (await http.post("/events", content=gzip.compress(b"{}"), headers=headers)).status_code == 401


async def refusal(reading: Awaitable[bytes]) -> FarthingError:
    with pytest.raises(FarthingError) as caught:
        await reading
    return caught.value


async def test_a_client_that_hangs_up_after_a_refusal_is_told_the_refusal() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    reader = BodyReader(known, ReadTimes())
    error = await refusal(reader.read("/v1/customers", {b"content-length": b"9999999"}, receive, Kept()))
    assert "too large" in error.message


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        pytest.param(
            "/customers/search",
            {
                "filters": [
                    {
                        "field": "external_id",
                        "operator": "in",
                        "data_type": "array",
                        "value": {"array": [f"{number}-{n}" for n in range(1000)]},
                    }
                    for number in range(6)
                ]
            },
            "filters",
            id="values of all conditions together",
        ),
        pytest.param("/customers/search", {"customer_ids": ["x"] * 1001}, "customer_ids", id="a long list"),
        pytest.param("/customers", {"external_id": "c", "name": "c", "metadata": {str(n): "" for n in range(1001)}},
                     "metadata", id="a large map"),
    ],
)  # fmt: skip
async def test_lists_of_requests_are_bounded(account: Account, path: str, body: Any, field: str) -> None:
    answer = await account.post(path, body, expect=400)
    assert re.search("at most|<= 1000", answer["details"][field])


@pytest.mark.parametrize(("levels", "status"), [(15, 201), (25, 400)])
async def test_how_deep_a_body_may_nest(account: Account, levels: int, status: int) -> None:
    nested = json.loads('{"a":' * levels + "1" + "}" * levels)
    body = {"name": "test", "provider_type": "stripe", "metadata": {"mode": "test", "nested": nested}}
    answer = await account.post("/connections", body, expect=status)
    if status == 400:
        assert "20 levels" in str(answer["details"])


async def test_properties_of_an_event_are_bounded_by_its_size_alone(account: Account) -> None:
    nested = json.loads('{"a":' * 25 + "1" + "}" * 25)
    properties = {"nested": nested, **{f"p{number}": 1 for number in range(1001)}}
    await account.post("/events", {**EVENT, "event_id": "deep", "properties": properties}, expect=202)


async def test_deep_nesting_is_refused(account: Account) -> None:
    answer = await account.http.post("/customers", content=b'{"metadata":' + b"[" * 100_000)
    assert answer.status_code == 400


async def test_a_large_batch_names_every_event_that_is_wrong(account: Account) -> None:
    good: dict[str, Any] = {"event_name": "call", "external_customer_id": "c", "properties": {"text": "x" * 100_000}}
    events = [{**good, "event_id": f"e{n}"} for n in range(20)]
    events[3] = {**good, "event_name": 7}
    events[11] = {**good, "properties": {"text": "x" * 300_000}}
    events[15] = {**good, "external_customer_id": " "}
    answer = await account.post("/events/bulk", {"events": events}, expect=400)
    wrong = [(error["index"], error["field"]) for error in answer["details"]["errors"]]
    assert wrong == [(3, "event_name"), (11, "event"), (15, "external_customer_id")]
    await account.get("/events/e0", expect=404)
