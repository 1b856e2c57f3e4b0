"""A small company's books to look at: believable, the same for the same seed, made by the code the API runs.

Owns the story that is told, and nothing else: every customer, invoice and payment goes through the functions behind
the public routes, on a clock that is set to when it happened. Loading is resumable: an invoice and all that became of
it is written in one transaction, or not at all, and one that is there is not written twice. Several customers are
written at a time; only ids and the order of numbers within a month differ from one load to the next.

`seller` is who sells; `company` says what happened, `books` writes it; `product` has what is sold (`catalogue`), used
(`usage`) and subscribed to (`subscriptions`); `notices` is what the company tells others. A load takes about two
minutes, which a running server spends answering.
"""

from __future__ import annotations

import asyncio
import secrets
import time

from rich.console import Console
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.origin import ChangeSource, acting_as, duty_actor
from farthing.demo.books import Ledger, key_of, load_bill, load_customer
from farthing.demo.catalogue import CatalogueOffer
from farthing.demo.checkouts import load_checkouts
from farthing.demo.company import customers
from farthing.demo.exports import load_export
from farthing.demo.notices import load_notices
from farthing.demo.product import load_product
from farthing.demo.progress import progress_of
from farthing.demo.seller import load_seller
from farthing.demo.subscriptions import billed_by_hand
from farthing.demo.usage import EVENTS
from farthing.demo.wallets import load_wallets
from farthing.identity.bootstrap import OWNER_EMAIL
from farthing.identity.sign_in.passwords import hashed
from farthing.identity.tables import Environment, User
from farthing.jobs.execution.exclusion import AlreadyRunning, exclusively
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope

CUSTOMERS = 200
LOOK_SECONDS = 0.5
"""How often is looked whether another process that loads has come to its end."""
WRITERS = 4
"""How many customers are written at a time: one computes while others wait for the database."""


async def first_password(database: Database) -> str | None:
    """The password that the owner gets, who had none; None where there is one, for it is not stored in clear."""
    async with database.transaction(SYSTEM) as session:
        owner = await session.get_one(User, (await _oldest(session)).user_id)
        if owner.password_hash is not None:
            return None
        password = secrets.token_urlsafe(9)
        owner.password_hash = await hashed(password)
        return password


async def ensure_demo(settings: Settings, database: Database, console: Console) -> bool:
    """Load what is missing of the demo into the first environment, one process at a time; whether anything was."""
    async with database.transaction(SYSTEM) as session:
        scope = await _oldest(session)
    while True:
        try:
            async with exclusively(database, "demo", None):
                return await _load(settings, database, scope, console, seed=1, events=EVENTS)
        except AlreadyRunning:  # a process that is about to end, or another server on the same database
            await asyncio.sleep(LOOK_SECONDS)


async def load_demo(
    settings: Settings, database: Database, console: Console, *, seed: int, events: int = EVENTS
) -> None:
    """Load the demo into the oldest environment, making it if there is none."""
    from farthing.identity.bootstrap import first_start

    first = await first_start(database, settings)
    if first is not None and not settings.bootstrap_api_key:
        console.print(f"API key: [bold]{first.api_key}[/bold]  (shown once; keep it)", markup=True)
    async with database.transaction(SYSTEM) as session:
        scope = await _oldest(session)
    await _load(settings, database, scope, console, seed=seed, events=events)


async def _oldest(session: AsyncSession) -> Scope:
    environment = (
        await session.scalars(
            select(Environment).where(Environment.status == Status.PUBLISHED).order_by(Environment.id).limit(1)
        )
    ).one()
    owner = (
        await session.scalars(
            select(User)
            .where(User.tenant_id == environment.tenant_id, User.email == OWNER_EMAIL)
            .order_by(User.id)
            .limit(1)
        )
    ).one()
    return Scope(environment.tenant_id, environment.id, owner.id)


async def _load(
    settings: Settings, database: Database, scope: Scope, console: Console, *, seed: int, events: int
) -> bool:
    """Whether anything was missing."""
    ledger = Ledger(settings, database, scope)
    with acting_as(duty_actor("demo"), ChangeSource.IMPORT):
        await load_seller(ledger)
        wrote = await load_books(settings, database, scope, console, seed=seed)
        await load_product(ledger, settings, console, count=CUSTOMERS, seed=seed, events=events)
        now = database.clock.now()
        story = customers(CUSTOMERS, seed, now)
        opened = await load_wallets(ledger, story, seed, now)
        checkouts = await load_checkouts(ledger, settings, story, now)
        await load_export(ledger, settings, now)
        await load_notices(ledger, settings, now)
    if opened:
        console.print(f"Demo: {opened} wallets with credits")
    if checkouts:
        console.print(f"Demo: {checkouts} checkouts, open and ended")
    return bool(wrote or opened or checkouts)


async def load_books(settings: Settings, database: Database, scope: Scope, console: Console, *, seed: int) -> bool:
    """Write the bills of the story that are not there yet, several customers at a time; whether there were any."""
    ledger = Ledger(settings, database, scope)
    now = database.clock.now()
    wanted = billed_by_hand(customers(CUSTOMERS, seed, now), CatalogueOffer(now, seed, events=0))
    ids, written = await ledger.present()
    missing = [
        (customer, [bill for bill in customer.bills if key_of(customer, bill) not in written]) for customer in wanted
    ]
    missing = [(customer, bills) for customer, bills in missing if bills or customer.external_id not in ids]
    if not missing:
        console.print(f"Demo: {len(wanted)} customers are there already")
        return False
    began = time.monotonic()
    with progress_of(console, "Demo: bills", sum(len(bills) for _, bills in missing)) as advance:
        waiting = iter(missing)

        async def write() -> None:
            for customer, bills in waiting:
                customer_id = ids.get(customer.external_id) or await load_customer(ledger, customer)
                for bill in bills:
                    await load_bill(ledger, customer_id, customer, bill)
                    advance(1)

        async with asyncio.TaskGroup() as writers:
            for _ in range(WRITERS):
                writers.create_task(write())
    console.print(
        f"Demo: {len(missing)} customers, {ledger.invoices} invoices and {ledger.payments} payments "
        f"in {time.monotonic() - began:.1f} s"
    )
    return True
