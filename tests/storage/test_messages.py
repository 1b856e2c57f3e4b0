"""Statements that are kept and sent together: what sessions see of them, and what undoes them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqlalchemy import bindparam, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.types import String

from farthing.core.ids import Kind, new_id
from farthing.customers.tables import Customer, TaxTreatment
from farthing.events.ingest.parameters import (
    array_of_quoted,
    number_array,
    quoted_runs,
    text_array,
    time_array,
)
from farthing.storage.connections.messages import Statement, send_together
from farthing.storage.postgres import ask_together, send_with_commit
from farthing.storage.queries.kept import answer_to, answers_to, kept
from farthing.storage.queries.rows import find, insert_if_new, lock_row
from farthing.storage.queries.writing import write_pending, write_together
from tests.account import Account

NAMED = kept(select(Customer.name).where(Customer.external_id == bindparam("external_id", type_=String)))


def customer(external_id: str, **more: Any) -> Customer:
    made = Customer(id=new_id(Kind.CUSTOMER), external_id=external_id, name="Acme", timezone="UTC", meta={})
    made.tax_treatment, made.contact_persons, made.former_external_ids = TaxTreatment.TAXABLE, [], []
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.fixture
async def known(account: Account) -> str:
    """The id of a customer that is stored."""
    made: dict[str, str] = await account.post("/customers", {"external_id": "known", "name": "Known"})
    return made["id"]


async def names(account: Account, external_id: str) -> list[str]:
    async with account.transaction(read_only=True) as session:
        return [name for (name,) in await answer_to(session, NAMED.asked(external_id=external_id))]


async def test_a_transaction_begins_with_its_first_message_and_in_its_scope(account: Account, known: str) -> None:
    async with account.transaction() as session:
        found, unknown = await answers_to(session, NAMED.asked(external_id="known"), NAMED.asked(external_id="unknown"))
        (((environment, limit),),) = await ask_together(session, [Statement(SCOPE)])
    assert ([name for (name,) in found], unknown) == (["Known"], [])
    assert (environment, limit != "0") == (account.scope.environment_id, True)


async def test_a_row_is_read_as_the_session_reads_it(account: Account, known: str) -> None:
    async with account.transaction() as session:
        row = await find(session, Customer, known)
    async with account.transaction() as session:
        other = (await session.scalars(select(Customer).where(Customer.id == known))).one()
        held = {name: value for name, value in row.__dict__.items() if not name.startswith("_")}
        assert held == {name: value for name, value in other.__dict__.items() if not name.startswith("_")}
        assert {name: type(value) for name, value in held.items()} == {
            name: type(getattr(other, name)) for name in held
        }


async def test_what_was_changed_is_written_before_a_kept_question(account: Account, known: str) -> None:
    async with account.transaction() as session:
        row = await find(session, Customer, known)
        row.name = "Renamed"
        assert [name for (name,) in await answer_to(session, NAMED.asked(external_id="known"))] == ["Renamed"]
        assert await find(session, Customer, known) is row


async def test_a_lock_reads_a_row_anew_and_a_question_leaves_it(account: Account, known: str) -> None:
    async with account.transaction() as session:
        row = await find(session, Customer, known)
        renamed = text("UPDATE customers SET name = 'Elsewhere' WHERE id = :id")
        await (await session.connection()).execute(renamed, {"id": known})
        assert (await find(session, Customer, known)).name == "Known"
        assert await lock_row(session, Customer, known) is row
        assert row.name == "Elsewhere"


async def test_a_savepoint_undoes_what_was_sent_in_it(account: Account, known: str) -> None:
    async with account.transaction() as session:
        nested = await session.begin_nested()
        assert await insert_if_new(session, customer("undone"))
        await nested.rollback()
        assert await insert_if_new(session, customer("stays"))
        nested = await session.begin_nested()
        with pytest.raises(DataError, match="division by zero"):
            await ask_together(session, [Statement("SELECT 1 / 0")])
        await nested.rollback()
    assert (await names(account, "undone"), await names(account, "stays")) == ([], ["Acme"])


async def test_a_savepoint_that_begins_a_transaction(account: Account, known: str) -> None:
    async with account.transaction() as session, session.begin_nested():
        assert (await find(session, Customer, known)).name == "Known"


async def test_rows_are_written_together_and_one_may_be_refused(account: Account, known: str) -> None:
    async with account.transaction() as session:
        row = await lock_row(session, Customer, known)
        row.name, new = "Renamed", customer("new", meta={"a": "b"})
        assert await write_together(session, [new], [row])
        assert new in session
        assert not session.dirty
    assert (await names(account, "known"), await names(account, "new")) == (["Renamed"], ["Acme"])
    async with account.transaction() as session:
        again = customer("new")
        assert not await insert_if_new(session, again)
        assert again not in session


async def test_what_waits_is_written_as_by_a_flush(account: Account, known: str) -> None:
    async with account.transaction() as session:
        (await lock_row(session, Customer, known)).name = "Renamed"
        session.add_all([customer("one"), customer("two")])
        await write_pending(session)
        assert not session.new
        assert not session.dirty
        session.add(customer("one"))
        with pytest.raises(IntegrityError):
            await write_pending(session)
        await session.rollback()
    assert await names(account, "one") == []
    async with account.transaction() as session:
        session.add_all([customer("one"), customer("two")])
        await write_pending(session)
    assert (await names(account, "one"), await names(account, "two")) == (["Acme"], ["Acme"])


async def test_a_last_statement_that_fails_undoes_the_transaction(account: Account, known: str) -> None:
    async with account.database.session(account.scope) as session:
        (await lock_row(session, Customer, known)).name = "Undone"
        await (await session.connection()).run_sync(send_with_commit, FAILING)
        with pytest.raises(DataError, match="division by zero"):
            await session.commit()
    assert await names(account, "known") == ["Known"]


async def test_a_commit_that_nobody_waits_for_any_more_leaves_nothing_behind(account: Account, known: str) -> None:
    async with account.database.session(account.scope) as session:
        (await lock_row(session, Customer, known)).name = "Undone"
        await (await session.connection()).run_sync(send_with_commit, Statement("SELECT pg_sleep(60)"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.commit(), 0.2)
    assert await names(account, "known") == ["Known"]
    async with account.transaction() as session:
        (await lock_row(session, Customer, known)).name = "Free"
    assert await names(account, "known") == ["Free"]


@pytest.mark.parametrize("begun", [False, True], ids=["first-message", "later"])
async def test_a_message_that_nobody_waits_for_any_more_leaves_nothing_behind(
    account: Account, known: str, begun: bool
) -> None:
    async with account.database.session(account.scope) as session:
        if begun:
            (await lock_row(session, Customer, known)).name = "Undone"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask_together(session, [Statement("SELECT pg_sleep(60)"), Statement(SCOPE)]), 0.2)
    async with account.transaction() as session:
        (await lock_row(session, Customer, known)).name = "Free"
    assert await names(account, "known") == ["Free"]


async def test_a_last_statement_of_what_was_undone_is_forgotten(account: Account, known: str) -> None:
    async with account.database.session(account.scope) as session:
        await (await session.connection()).run_sync(send_with_commit, FAILING)
        await session.rollback()
        (await lock_row(session, Customer, known)).name = "Renamed"
        await session.commit()
    assert await names(account, "known") == ["Renamed"]


async def test_what_a_rollback_makes_the_driver_forget_is_prepared_again(account: Account, known: str) -> None:
    async with account.database.session(account.scope) as session:
        for _ in range(2):
            assert await ask_together(session, [NAMED.with_values(external_id="known")]) == [[("Known",)]]
            with pytest.raises(DataError, match="division by zero"):
                await ask_together(session, [FAILING, Statement("SELECT 'never prepared'")])
            await session.rollback()
        assert await ask_together(session, [Statement("SELECT 'never prepared'")]) == [[("never prepared",)]]


async def test_a_connection_that_ends_in_the_middle_of_a_message(account: Account) -> None:
    ends = Statement("SELECT pg_terminate_backend(pg_backend_pid())")
    async with account.database.session(account.scope) as session:
        with pytest.raises(DBAPIError) as failure:
            await ask_together(session, [Statement("SELECT 1"), ends, Statement("SELECT 2")])
        assert failure.value.connection_invalidated
    async with account.transaction() as session:
        assert await ask_together(session, [Statement("SELECT 3")]) == [[(3,)]]


async def test_more_statements_than_a_connection_remembers(account: Account) -> None:
    async with account.transaction() as session:
        for first in (0, 70, 140, 0):
            numbers = range(first, first + 70)
            rows = await ask_together(session, [Statement(f"SELECT {number}") for number in numbers])
            assert rows == [[(number,)] for number in numbers]


async def test_a_message_larger_than_what_lies_between_us_and_the_database(account: Account) -> None:
    text = "x" * 2**20
    async with account.transaction() as session:
        answers = await ask_together(session, [Statement("SELECT $1::text", (text,)) for _ in range(24)])
    assert all(answer == [(text,)] for answer in answers)


async def test_arrays_written_by_hand_are_read_as_what_they_were(account: Account) -> None:
    texts = ["", "NULL", None, 'a"b', "c\\d\\", "{e,f}", " g ", "\n", "ü€😀", '{"k": "\\"v\\""}']
    numbers = [0, None, Decimal("-1.50"), Decimal("1E+5"), 2**62]
    moment = datetime(2026, 1, 31, 9, 30, 0, 123000, tzinfo=UTC)
    asked = Statement(
        "SELECT $1::text[], $2::numeric[], $3::timestamptz[]",
        (text_array(texts), number_array(numbers), time_array([moment])),
    )
    async with account.transaction() as session:
        ((row,),) = await ask_together(session, [asked])
    assert row == (texts, numbers, [moment])
    whole = [text for text in texts if text is not None] * 20_000
    several = [text_array(whole), text_array([""]), text_array([]), array_of_quoted(quoted_runs(whole))]
    asked = Statement("SELECT $1::text[], $2::text[], $3::text[], $4::text[]", several)
    async with account.transaction() as session:
        ((row,),) = await ask_together(session, [asked])
    assert row == (whole, [""], [], whole)


@pytest.mark.parametrize("texts", [["a", "b\0c"], ["\0", None], ["\0"]])
def test_an_array_does_not_take_a_nul_for_the_end_of_an_element(texts: list[str | None]) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        text_array(texts)


FAILING = Statement("SELECT 1 / 0")
SCOPE = "SELECT current_setting('farthing.environment_id'), current_setting('lock_timeout')"


async def test_a_message_without_begin_is_stored_whole_or_not_at_all(account: Account) -> None:
    """Also where it fails at its end, which is the failure of no statement."""
    add = Statement("INSERT INTO checked_at_the_end VALUES ($1::int)", ("1",))
    async with await psycopg.AsyncConnection.connect(account.database.url, autocommit=True) as connection:
        await connection.execute(
            "CREATE TEMP TABLE checked_at_the_end (number int, UNIQUE (number) DEFERRABLE INITIALLY DEFERRED)"
        )
        for _ in range(2):  # prepared by the message, and before it
            with pytest.raises(psycopg.errors.UniqueViolation):
                await send_together(connection, [add, add])
        with pytest.raises(psycopg.errors.DivisionByZero):
            await send_together(connection, [add, Statement("SELECT 1 / 0")])
        counting = Statement("SELECT count(*) FROM checked_at_the_end")
        assert await send_together(connection, [counting]) == [[(0,)]]
        await send_together(connection, [add])
        await connection.rollback()
        assert await send_together(connection, [counting]) == [[(1,)]]
