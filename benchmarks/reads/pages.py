"""Pages of the demo: what one costs the server, PostgreSQL and the browser, and when it is first painted.

A real Chromium looks at each page with style sheet and script in its cache. CPU is read from the processes themselves,
so that other work on the machine counts little; for times that mean something it has to do nothing else. Medians of
rounds in which pages take turns, and versions too: `BENCH_BESIDE=folder` names a checkout of another one, which
answers from the same database.

`BENCH_DEMO=folder` keeps the books between runs (to load them takes minutes); `BENCH_ROUNDS` (5) sets how often.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from playwright.async_api import Browser, Page, async_playwright

from benchmarks.harness import Report, Service, service
from benchmarks.reads.lists import cpu_seconds
from farthing.identity.bootstrap import OWNER_EMAIL

SECTION = "Pages"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
BUDGET = "painted < 200 ms"
PASSWORD = "a password of the demo"
CUSTOMER = "/customers/largest"
"""The page of the customer that sent most events."""
PAGES = (
    "/",
    "/customers",
    CUSTOMER,
    "/invoices",
    "/subscriptions",
    "/events",
    "/docs",
    "/docs/invoices",
    "/reports",
    "/reports/net_billing",
    "/reports/mrr",
    "/reports/usage_quantity",
    "/reports/event_count",
    "/reports/recognized_revenue",
    "/reports/revenue",
    "/reports/deferred",
)
_BROWSERS = [path for path in ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium") if Path(path).exists()]
_TIMES = """
() => new Promise(done => {
  const look = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const [navigation] = performance.getEntriesByType("navigation");
    if (paint && navigation.loadEventEnd) done([paint.startTime, navigation.responseStart, navigation.responseEnd]);
    else setTimeout(look, 10);
  };
  look();
})
"""


@dataclass(slots=True)
class Visits:
    """What each visit to a page took, in ms: CPU of server, PostgreSQL and browser; first paint, first, last byte."""

    taken: list[Sequence[float]] = field(default_factory=list)

    def __str__(self) -> str:
        server, database, browser, painted, began, ended = (
            statistics.median(column) for column in zip(*self.taken, strict=True)
        )
        cpu = f"CPU {server:.0f} + {database:.0f} + {browser:.0f} ms"
        best = min(visit[3] for visit in self.taken)
        return f"{cpu}, painted {best:.0f}, {painted:.0f} ms, answered from {began:.0f} to {ended:.0f} ms"


async def measure(report: Report) -> None:
    """Each page: CPU, the best and the median first paint, and when the answer began and was whole."""
    kept = os.environ.get("BENCH_DEMO")
    with ExitStack() as stack:
        folder = None if kept is None else Path(kept)
        this = stack.enter_context(service(folder, FARTHING_WORKER="false"))
        secret = (this.folder / "secret.key").read_text().strip()
        _load(this, secret)
        versions = {"": this}
        beside = os.environ.get("BENCH_BESIDE")
        if beside:
            before = service(
                checkout=Path(beside),
                FARTHING_WORKER="false",
                FARTHING_DATABASE_URL=this.database_url,
                FARTHING_SECRET_KEY=secret,
            )
            versions["before: "] = stack.enter_context(before)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=next(iter(_BROWSERS), None), args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
            visits = await _visit(browser, this, versions, {CUSTOMER: f"/customers/{_largest_customer(this)}"})
            await browser.close()
        for (name, path), of_page in visits.items():
            report.add(SECTION, f"{name}{path}", str(of_page), "" if name else BUDGET)


def _load(running: Service, secret: str) -> None:
    """Load what is not there of the demo, and give its owner a password."""
    variables = {**os.environ, "FARTHING_DATABASE_URL": running.database_url, "FARTHING_SECRET_KEY": secret}
    for command, given in ((["demo"], b""), (["users", "password", OWNER_EMAIL, "--stdin"], PASSWORD.encode())):
        subprocess.run(
            [sys.executable, "-m", "farthing", *command],
            env=variables,
            check=True,
            stdout=subprocess.DEVNULL,
            input=given,
        )


def _largest_customer(running: Service) -> str:
    """The id of the customer that sent most events."""
    with psycopg.connect(running.admin_url) as connection:
        found = connection.execute(
            "SELECT customer.id FROM customers customer JOIN events ON external_id = external_customer_id "
            "GROUP BY customer.id ORDER BY count(*) DESC, customer.id LIMIT 1"
        ).fetchone()
    assert found is not None, "the demo has customers with events"
    return str(found[0])


async def _visit(
    browser: Browser, owner: Service, versions: dict[str, Service], addresses: dict[str, str]
) -> dict[tuple[str, str], Visits]:
    """Visits to each page of each version; `addresses` are those of pages that are not called by their path."""
    pages = {name: await _signed_in(browser, running) for name, running in versions.items()}
    visits: dict[tuple[str, str], Visits] = {}
    for number in range(ROUNDS + 1):
        for path in PAGES:
            for name, running in versions.items():
                before = _cpu(running, owner)
                await pages[name].goto(addresses.get(path, path))
                times = await pages[name].evaluate(_TIMES)
                cpu = [(now - then) * 1000 for now, then in zip(_cpu(running, owner), before, strict=True)]
                if number:  # the first warms up
                    visits.setdefault((name, path), Visits()).taken.append([*cpu, *times])
    return visits


async def _signed_in(browser: Browser, running: Service) -> Page:
    context = await browser.new_context(
        base_url=running.url.removesuffix("/v1"), viewport={"width": 1280, "height": 900}
    )
    page = await context.new_page()
    await page.goto("/sign-in")
    await page.get_by_label("E-mail").fill(OWNER_EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/")
    return page


def _cpu(running: Service, owner: Service) -> tuple[float, float, float]:
    """Seconds of CPU so far: of the server, of the PostgreSQL that `owner` runs, and of the browser."""
    server, _ = cpu_seconds(running)
    _, database = cpu_seconds(owner)
    browser = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            times: Any = process.cpu_times()
            if "chrom" in process.name() or "headless" in process.name():
                browser += times.user + times.system
    return server, database, browser
