"""Files of euro reference rates: read, stored, and followed by market rates."""

from __future__ import annotations

import io
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from rich.console import Console

from farthing.catalogue.fx.commands import import_reference_rates
from farthing.catalogue.fx.reference_file import UnusableReferenceFile, cross_rate, read_reference_file
from farthing.jobs.duties.schedule import duties
from tests.account import Account
from tests.ports import free_port
from tests.subscriptions.shop import at

HISTORICAL = "Date,USD,INR,JPY,\n2026-11-27,1.0832,91.1205,N/A,\n2026-11-26,1.08,91,160.5,\n"
DAILY = "Date, USD, JPY, INR, \n27 November 2026, 1.0832, 160.11, 91.1205, \n"
XML = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
<gesmes:subject>Reference rates</gesmes:subject><Cube><Cube time='2026-11-27'><Cube currency='USD' rate='1.0832'/>
<Cube currency='INR' rate='91.1205'/></Cube></Cube></gesmes:Envelope>"""


@pytest.mark.parametrize("content", [HISTORICAL, DAILY, XML, "\ufeff" + HISTORICAL, HISTORICAL.replace("\n", "\r\n")])
def test_each_form_says_the_same(content: str) -> None:
    newest = read_reference_file(content)[-1]
    assert newest.day.isoformat() == "2026-11-27"
    assert (newest.units_per_euro["usd"], newest.units_per_euro["inr"]) == (Decimal("1.0832"), Decimal("91.1205"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("Date,USD\n", "no day", id="a heading alone"),
        pytest.param("Day,USD\n2026-11-27,1\n", "line 1", id="no date column"),
        pytest.param("Date,DOLLAR\n2026-11-27,1\n", "DOLLAR", id="a column that is no currency"),
        pytest.param("Date,USD,USD\n2026-11-27,1,2\n", "USD twice", id="a column twice"),
        pytest.param("Date,USD\n2026-11-27,1\n2026-11-27,2\n", "twice", id="a day twice"),
        pytest.param("Date,USD\n2026-13-27,1\n", "line 2", id="no date"),
        pytest.param("Date,USD\n2026-11-27,abc\n", "line 2, USD", id="no number"),
        pytest.param("Date,USD\n2026-11-27,-1\n", "line 2, USD", id="below nothing"),
        pytest.param("Date,USD\n2026-11-27,NaN\n", "line 2, USD", id="not a number"),
        pytest.param("Date,USD\n2026-11-27,1e-999999999\n", "line 2, USD", id="so small that it would fill the memory"),
        pytest.param("Date,USD,INR\n2026-11-27,1\n", "line 2", id="a cell missing"),
        pytest.param("Date,USD\n2026-11-27,1,2\n", "line 2", id="a cell too many"),
        pytest.param('Date,USD\n2026-11-27,"1\n', "CSV", id="a quote that is not closed"),
        pytest.param("<a><b></a>", "XML", id="broken XML"),
        pytest.param("<a/>", "no day", id="XML of something else"),
        pytest.param(XML.replace("1.0832", "x"), "USD", id="XML with no number"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a><Cube time="2026-11-27"><Cube currency="USD" '
            'rate="&e;"/></Cube></a>',
            "rate above 0|no day|no XML",
            id="XML that asks for a file",
        ),
    ],
)
def test_what_is_no_such_file_says_where(content: str, reason: str) -> None:
    with pytest.raises(UnusableReferenceFile, match=reason):
        read_reference_file(content)


@pytest.mark.parametrize(
    ("from_units", "to_units", "rate"),
    [
        pytest.param("1.0832", "91.1205", "84.121584194978", id="FX8: dollars to rupees, through the euro"),
        pytest.param("1.0832", "1", "0.923190546529", id="FX8: dollars to euros, inverse"),
        pytest.param("1", "1.0832", "1.0832", id="euros to dollars, direct"),
        pytest.param("3", "2", "0.666666666667", id="half away from zero"),
        pytest.param("91.1205", "1.0832", "0.011887555490", id="rupees to dollars"),
        pytest.param("1.5", "1.5", "1", id="two that are worth the same"),
    ],
)
def test_rates_through_the_euro(from_units: str, to_units: str, rate: str) -> None:
    assert cross_rate(Decimal(from_units), Decimal(to_units)) == Decimal(rate)


async def market(account: Account, to: str = "inr", expect: int = 201) -> dict[str, Any]:
    body = {"from_currency": "usd", "to_currency": to, "scope": "tenant", "source": "market"}
    made: dict[str, Any] = await account.post("/forex", body, expect=expect)
    return made


async def imported(account: Account, content: str, expect: int = 200) -> dict[str, Any]:
    answer: dict[str, Any] = await account.post("/forex/reference-rates", {"file": content}, expect=expect)
    return answer


async def test_market_rates_follow_the_newest_day(account: Account) -> None:
    assert await imported(account, HISTORICAL) == {"days": 2, "newest_day": "2026-11-27", "moved": [], "not_made": []}
    rupees, yen = await market(account), await market(account, "jpy")
    assert (rupees["rate"], rupees["market_day"]) == ("84.121584194978", "2026-11-27")
    assert (yen["rate"], yen["market_day"]) == ("148.611111111111", "2026-11-26"), "no yen on the newest day"
    await market(account, "sek", expect=400)
    await account.put(f"/forex/{rupees['id']}", {"rate": "1"}, expect=400)

    older = await imported(account, "Date,USD,INR\n2020-01-02,1.1,80\n")
    assert (older["moved"], older["not_made"]) == ([], [])
    newer = await imported(account, "Date,USD,INR\n2026-11-30,1,90\n")
    assert newer["moved"] == [rupees["id"]]
    moved = await account.get(f"/forex/{rupees['id']}")
    assert (moved["rate"], moved["market_day"]) == ("90", "2026-11-30")
    corrected = await imported(account, "Date,USD,INR\n2026-11-30,1,91\n")
    assert corrected["moved"] == [rupees["id"]]
    assert (await imported(account, "Date,USD,INR\n2026-11-30,1,91\n"))["moved"] == []


async def test_a_refused_file_names_its_line(account: Account) -> None:
    refused = await imported(account, "Date,USD\n2026-11-27,abc\n", expect=400)
    assert "line 2, USD" in refused["details"]["file"]


async def test_a_market_rate_that_is_too_old_converts_nothing(account: Account) -> None:
    await account.freeze(at("2026-11-28"))
    await imported(account, HISTORICAL)
    await market(account)
    customer = await account.post("/customers", {"external_id": "c", "name": "C", "billing_currency": "inr"})
    plan = await account.post("/plans", {"name": "Plan"})
    price = {"type": "FIXED", "billing_model": "FLAT_FEE", "price_unit_type": "FIAT", "billing_period": "MONTHLY",
             "invoice_cadence": "ADVANCE", "currency": "usd", "amount": "10", "start_date": "2020-01-01T00:00:00Z",
             "entity_type": "PLAN", "entity_id": plan["id"]}  # fmt: skip
    await account.post("/prices", price)
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    await account.post("/subscriptions", body)
    await account.freeze(at("2026-12-04 12:00"))
    await account.post("/subscriptions", body)
    await account.freeze(at("2026-12-05"))
    refused = await account.post("/subscriptions", body, expect=400)
    assert "2026-11-27, is too old" in refused["error"]["message"]
    await account.put("/settings/fx_config", {"value": {"market_rate_max_age_days": 8}})
    await account.post("/subscriptions", body)


async def test_the_command_imports_a_file(account: Account, tmp_path: Path) -> None:
    await imported(account, HISTORICAL)
    rupees = await market(account)
    file = tmp_path / "eurofxref.csv"
    file.write_text("Date,USD,INR\n2026-11-30,1,90\n")
    shown = io.StringIO()
    await import_reference_rates(account.database, Console(file=shown, width=200), str(file), account.environment_id)
    assert "1 market rate moved" in shown.getvalue()
    assert (await account.get(f"/forex/{rupees['id']}"))["rate"] == "90"


async def test_a_duty_fetches_the_file_where_the_deployment_says_so(account: Account) -> None:
    """An address on this machine serves it; nothing is fetched without one."""
    await imported(account, HISTORICAL)
    rupees = await market(account)

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(text="Date,USD,INR\n2026-12-01,1,92\n")

    application, port = web.Application(), free_port()
    application.router.add_get("/eurofxref.csv", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    settings = msgspec.structs.replace(account.settings, fx_url=f"http://127.0.0.1:{port}/eurofxref.csv")
    names = [duty.name for duty in duties(account.database, account.settings)]
    assert "reference_rates" not in names
    (duty,) = (duty for duty in duties(account.database, settings) if duty.name == "reference_rates")
    try:
        counts = await duty.run(account.database, account.database.clock.now())
    finally:
        await runner.cleanup()
    assert counts["succeeded"] >= 1
    assert (await account.get(f"/forex/{rupees['id']}"))["rate"] == "92"


@pytest.mark.slow
def test_the_command_line_reads_standard_input(tmp_path: Path) -> None:
    """The process of an operator, with a database of its own."""
    command = [sys.executable, "-m", "farthing", "fx", "import", "-", "--data-dir", str(tmp_path / "data")]
    broken = subprocess.run(command, input="Date,USD\n2026-11-27,x\n", text=True, capture_output=True, check=False)
    assert broken.returncode != 0
    assert "line 2, USD" in broken.stderr
