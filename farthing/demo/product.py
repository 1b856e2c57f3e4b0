"""The product side of the demo in the order in which it must come: what is sold, what is used, what is billed.

Usage comes before the subscriptions, whose whole year is billed as they are loaded, so that the invoices of the last
five months carry what was used in them.
"""

from __future__ import annotations

import time

from rich.console import Console

from farthing.demo.books import Ledger
from farthing.demo.catalogue import CatalogueOffer, load_catalogue
from farthing.demo.company import customers
from farthing.demo.progress import progress_of
from farthing.demo.subscriptions import deals, load_deals, missing
from farthing.demo.usage import load_events
from farthing.settings import Settings


async def load_product(
    ledger: Ledger, settings: Settings, console: Console, *, count: int, seed: int, events: int
) -> None:
    """Catalogue, usage and subscriptions of the first `count` customers, who are there; what is there is left alone.

    A story that was begun is finished as it was begun, whatever `seed` and `events` say now.
    """
    began = time.monotonic()
    now = ledger.database.clock.now()
    offers = await load_catalogue(ledger, CatalogueOffer(now.replace(microsecond=0), seed, events))
    story = offers.story
    subscribed = deals(customers(count, story.seed, story.until), story)
    to_come = await missing(ledger, subscribed)
    if not to_come:
        console.print(f"Demo: {len(subscribed)} subscriptions are there already")
        return
    before = ledger.invoices, ledger.payments
    with progress_of(console, "Demo: events", story.events) as advance:
        appended = await load_events(ledger, subscribed, story, advance)
    with progress_of(console, "Demo: subscriptions", len(to_come)) as advance:
        await load_deals(ledger, settings, offers, to_come, advance)
    console.print(
        f"Demo: {appended} events, {len(to_come)} subscriptions, {ledger.invoices - before[0]} invoices and "
        f"{ledger.payments - before[1]} payments in {time.monotonic() - began:.1f} s"
    )
