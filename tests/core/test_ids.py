"""Ids: what they look like, and that they sort as they were made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from ulid import ULID

from farthing.core.ids import Kind, new_id, new_ids, new_ulid, stable_id


def test_a_ulid_tells_when_it_was_made() -> None:
    assert abs(ULID.from_str(new_ulid()).datetime - datetime.now(UTC)) < timedelta(minutes=1)
    assert new_id(Kind.INVOICE).startswith("inv_01")


def test_ids_sort_as_they_were_made_and_none_comes_twice() -> None:
    made = [new_ulid() for _ in range(5000)]
    assert made == sorted(set(made))


def test_threads_make_no_id_twice() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: new_ulid(), range(5000)))
    assert len(set(made)) == len(made)


def test_an_id_of_the_same_parts_stays_what_it_was() -> None:
    digest = sha256(b"a\0b").digest()
    assert stable_id(Kind.EVENT, "a", "b") == f"event_{ULID(digest[:16])}"


def test_ids_made_together_are_ulids_that_ascend_and_none_comes_twice() -> None:
    made = new_ids(Kind.EVENT, 5000)
    assert made == sorted(set(made))
    assert len(made) == 5000
    whens = {ULID.from_str(text.removeprefix("event_")).datetime for text in made}
    assert len(whens) == 1
    assert abs(whens.pop() - datetime.now(UTC)) < timedelta(minutes=1)
    assert {letter for text in made for letter in text[-16:]} == set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert new_ids(Kind.EVENT, 0) == []
