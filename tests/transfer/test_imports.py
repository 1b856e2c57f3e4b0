"""Imports through the API: what comes in, what is refused and why, and going on after an interruption."""

from __future__ import annotations

import gzip
import json

import pytest

from farthing.transfer.imports.files import content, csv_rows
from tests.transfer.office import TransferOffice

pytestmark = pytest.mark.asyncio


async def test_customers_are_made_and_changed(office: TransferOffice) -> None:
    task = await office.imported(
        "CUSTOMERS", b"external_id,name,email,metadata.team\nacme,Acme,a@acme.com,red\nbolt,Bolt,,\n"
    )
    assert (task["task_status"], task["total_records"], task["successful_records"]) == ("COMPLETED", 2, 2)
    again = b"external_id,name,email,metadata.size\nacme,,,9\nbolt,Bolt Ltd,b@bolt.com,\n"
    assert (await office.imported("CUSTOMERS", again))["task_status"] == "COMPLETED"
    acme = await office.account.get("/customers/external/acme")
    assert (acme["name"], acme["email"], acme["metadata"]) == ("Acme", "a@acme.com", {"team": "red", "size": "9"})
    bolt = await office.account.get("/customers/external/bolt")
    assert (bolt["name"], bolt["email"]) == ("Bolt Ltd", "b@bolt.com")


async def test_events_count_once_whatever_is_repeated(office: TransferOffice) -> None:
    file = b"event_id,event_name,external_customer_id,timestamp,properties.tokens,properties\n" + b"".join(
        b'e%d,call,acme,2026-01-02T03:04:05Z,%d,"{""region"": ""eu""}"\n' % (number, number) for number in range(250)
    )
    for _ in range(2):
        task = await office.imported("EVENTS", gzip.compress(file))
        assert (task["task_status"], task["successful_records"]) == ("COMPLETED", 250)
    query = {"start_time": "2026-01-01T00:00:00Z", "page_size": 50}
    found = await office.account.post("/events/query", query, expect=200)
    assert found["total_count"] == 250
    assert {event["properties"]["region"] for event in found["events"]} == {"eu"}


async def test_features_and_prices(office: TransferOffice) -> None:
    features = (
        b"name,type,lookup_key,event_name,aggregation_type,aggregation_field,unit_singular,unit_plural\n"
        b"Tokens,metered,tokens,call,SUM,tokens,token,tokens\nSeats,boolean,,,,,,\n"
    )
    assert (await office.imported("FEATURES", features))["successful_records"] == 2
    renamed = await office.imported("FEATURES", b"name,lookup_key\nTokens used,tokens\n")
    assert renamed["task_status"] == "COMPLETED"
    found = await office.account.get("/features", lookup_key="tokens")
    assert [feature["name"] for feature in found["items"]] == ["Tokens used"]
    meter_id = found["items"][0]["meter_id"]
    plan = await office.account.post("/plans", {"name": "Pro", "lookup_key": "pro"})
    prices = (
        "entity_type,entity_id,type,currency,billing_model,billing_period,invoice_cadence,amount,meter_id,lookup_key,"
        "tier_mode,tiers,transform_quantity_divide_by\n"
        f"PLAN,{plan['id']},FIXED,usd,FLAT_FEE,MONTHLY,ADVANCE,10.50,,base,,,\n"
        f"PLAN,{plan['id']},USAGE,usd,TIERED,MONTHLY,ARREAR,,{meter_id},tiers,SLAB,"
        '"[{""up_to"": 10, ""unit_amount"": ""1""}, {""unit_amount"": 0.1}]",\n'
        f"PLAN,{plan['id']},USAGE,usd,PACKAGE,MONTHLY,ARREAR,3,{meter_id},pack,,,100\n"
        f"PLAN,{plan['id']},FIXED,usd,FLAT_FEE,MONTHLY,ADVANCE,ten,,bad,,,\n"
        f"PLAN,{plan['id']},FIXED,usd,FLAT_FEE,MONTHLY,ADVANCE,11,,base,,,\n"
    )
    for dry_run in (True, False):
        task = await office.imported("PRICES", prices.encode(), dry_run=dry_run)
        assert (task["task_status"], task["successful_records"], task["failed_records"]) == ("COMPLETED", 3, 2)
        problems = await office.problems(task["id"])
        assert [(row, column) for row, column, _ in problems] == [(4, "amount"), (5, "lookup_key")]
        expected = 0 if dry_run else 3
        assert len((await office.account.get("/prices", plan_ids=plan["id"]))["items"]) == expected


async def test_a_dry_run_names_every_bad_row_and_changes_nothing(office: TransferOffice) -> None:
    file = (
        b"external_id,name,email,address_country\n,Nobody,,\nacme,Acme,not an address,\nbolt,Bolt,,ZZZ\ncube,Cube,,DE\n"
    )
    task = await office.imported("CUSTOMERS", file, dry_run=True)
    assert (task["dry_run"], task["processed_records"], task["failed_records"]) == (True, 4, 3)
    problems = await office.problems(task["id"])
    assert [(row, column) for row, column, _ in problems] == [(1, "external_id"), (2, "email"), (3, "address_country")]
    assert "row 2: email" in task["error_summary"]
    assert (await office.account.get("/customers"))["items"] == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param(b"\n", "is empty", id="an empty file"),
        pytest.param("external_id\n1\n".encode("utf-16"), "UTF-16", id="UTF-16"),
        pytest.param("external_id,näme\n".encode("latin-1"), "is not UTF-8 (byte 0xE4)", id="a header in Latin-1"),
        pytest.param(b"external_id,name,name\n", "more than one column named name", id="a column twice"),
        pytest.param(b"name\nAcme\n", "lacks the column external_id", id="a column is missing"),
        pytest.param(b"external_id,nmae\n", "nmae (is name meant?)", id="a column with a slip"),
        pytest.param(b"external_id,shoe\n", "shoe", id="a column that nobody knows"),
        pytest.param(b"external_id,,name\n", "no name for column 2", id="a column without a name"),
        pytest.param(b"PK\x03\x04...", "Excel workbook", id="a workbook"),
        pytest.param(gzip.compress(b"external_id\n1\n")[:-6], "not a whole gzip file", id="a gzip file cut off"),
        pytest.param(b"external_id,name\r1,2\r", "carriage return alone", id="lines that end with CR"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(office: TransferOffice, file: bytes, reason: str) -> None:
    task = await office.imported("CUSTOMERS", file)
    assert task["task_status"] == "FAILED"
    assert reason in task["error_summary"]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        pytest.param(b'bad,"open', "", "never closed", id="a quote is never closed"),
        pytest.param(b'bad,"Ac"me', "", "text follows a closing quote", id="text behind a closing quote"),
        pytest.param("\ufeffbad,Acme".encode(), "external_id", "byte-order mark", id="the mark of a file put behind"),
        pytest.param("bad,caf\xe9".encode("latin-1"), "name", "0xE9", id="a cell in Latin-1"),
        pytest.param(b"bad,a\x00b", "name", "NUL", id="a NUL"),
        pytest.param(b"bad," + b"x" * 300_000, "name", "longer than", id="a huge cell"),
        pytest.param(b"bad," + b"x" * 1_500_000, "", "longer than", id="a huge row"),
        pytest.param(b"bad,a,b,c", "", "4 cells", id="more cells than columns"),
        pytest.param(b"bad," + b"x" * 300, "name", "255", id="a name that is too long"),
    ],
)
async def test_a_bad_row_costs_itself_alone(office: TransferOffice, row: bytes, column: str, reason: str) -> None:
    file = b"\xef\xbb\xbfexternal_id,name\r\nfirst,=1+1\r\n" + row + b'\r\nlast,"two\r\nlines"\r\n'
    task = await office.imported("CUSTOMERS", file)
    assert (task["task_status"], task["successful_records"], task["failed_records"]) == ("COMPLETED", 2, 1)
    ((number, named, why),) = await office.problems(task["id"])
    assert (number, named) == (2, column)
    assert reason in why
    names = {customer["name"] for customer in (await office.account.get("/customers"))["items"]}
    assert names == {"=1+1", "two\r\nlines"}


async def test_json_lines_and_arrays(office: TransferOffice) -> None:
    lines = (
        b'{"external_id": "a", "metadata": {"x": "1"}}\n\nnonsense\n{"external_id": "b", "shoe": 1}\n{"name": "n"}\n'
    )
    task = await office.imported("CUSTOMERS", lines, "JSON")
    assert (task["successful_records"], task["failed_records"]) == (1, 3)
    assert [(row, column) for row, column, _ in await office.problems(task["id"])] == [
        (2, ""),
        (3, "shoe"),
        (4, "external_id"),
    ]
    events = [
        {"event_id": f"j{n}", "event_name": "call", "external_customer_id": "a", "properties": {"n": n, "f": 0.1}}
        for n in range(3)
    ]
    broken = json.dumps(events)[:-1].encode() + b", {]"
    task = await office.imported("EVENTS", broken, "JSON")
    assert (task["task_status"], task["successful_records"]) == ("FAILED", 3)
    assert "element 4" in task["error_summary"]


async def test_an_import_in_which_every_row_failed_has_failed(office: TransferOffice) -> None:
    task = await office.imported("CUSTOMERS", b"external_id,name\n,a\n,b\n")
    assert (task["task_status"], task["failed_records"]) == ("FAILED", 2)
    assert task["error_summary"].startswith("Every row failed")


async def test_an_import_stops_at_the_wrong_file_and_a_dry_run_does_not(office: TransferOffice) -> None:
    file = b"event_name,external_customer_id\n" + b",acme\n" * 7000
    assert (await office.imported("EVENTS", file))["processed_records"] == 5000
    assert (await office.imported("EVENTS", file, dry_run=True))["failed_records"] == 7000


async def test_a_header_alone_imports_nothing(office: TransferOffice) -> None:
    task = await office.imported("CUSTOMERS", b"external_id,name\n")
    assert (task["task_status"], task["total_records"], task["progress_percent"]) == ("COMPLETED", 0, 100)


async def test_separators_of_other_spreadsheets(office: TransferOffice) -> None:
    assert (await office.imported("CUSTOMERS", b'external_id;name\nx;"A;B"\n'))["successful_records"] == 1
    assert (await office.imported("CUSTOMERS", b"external_id\tname\ny\tC\n"))["successful_records"] == 1


async def test_a_task_is_cancelled_tried_again_and_set_by_hand(office: TransferOffice) -> None:
    account = office.account
    task_id = await office.begin_import("CUSTOMERS", b"external_id\nacme\n")
    assert (await account.post(f"/tasks/{task_id}/cancel", expect=200))["task_status"] == "FAILED"
    await office.work()
    assert (await office.task(task_id))["processed_records"] == 0
    await account.post(f"/tasks/{task_id}/cancel", expect=400)
    await account.post(f"/tasks/{task_id}/retry", expect=200)
    await office.work()
    task = await office.task(task_id)
    assert (task["task_status"], task["successful_records"]) == ("COMPLETED", 1)
    refused = await account.put(f"/tasks/{task_id}/status", {"task_status": "PROCESSING"}, expect=400)
    assert refused["code"] == "validation_error"
    result = await account.get("/tasks/result", workflow_id=task_id)
    assert result["workflow_id"] == task_id


async def test_what_a_request_must_say(office: TransferOffice) -> None:
    account = office.account
    body = {"task_type": "IMPORT", "entity_type": "CUSTOMERS", "file_type": "CSV"}
    for given, field in (
        ({}, "file_provider"),
        ({"file_provider": "dropbox", "upload_id": "x"}, "file_provider"),
        ({"file_provider": "farthing"}, "upload_id"),
        ({"file_provider": "farthing", "upload_id": "upload_x"}, "upload_id"),
        ({"file_url": "http://example.com/x.csv"}, "file_url"),
        ({"file_url": "https://127.0.0.1/x.csv"}, "file_url"),
        ({"file_url": "https://169.254.169.254/x"}, "file_url"),
        ({"file_url": "https://example.com/x", "upload_id": "u"}, "file_url"),
        ({"file_url": "https://example.com/x", "task_type": "EXPORT"}, "task_type"),
    ):
        refused = await account.post("/tasks", {**body, **given}, expect=400)
        assert field in refused["details"], (given, refused)
    upload_id = await office.upload(b"external_id\nacme\n")
    given = {**body, "file_provider": "farthing", "upload_id": upload_id}
    await account.post("/tasks", given, expect=200)
    assert "was used" in (await account.post("/tasks", given, expect=400))["details"]["upload_id"]


async def _problem_of(office: TransferOffice, entity: str, file: bytes, file_type: str = "CSV") -> tuple[int, str, str]:
    task = await office.imported(entity, file, file_type)
    ((row, column, reason),) = await office.problems(task["id"])
    return row, column, reason


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(b"external_id\n" + b"\n" * 50, id="lines of a CSV file"),
        pytest.param(b"external_id\r\n" + b"\r\n" * 50, id="lines that end with CRLF"),
    ],
)
async def test_a_file_of_blank_lines_is_not_read_to_its_end(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch, file: bytes
) -> None:
    monkeypatch.setattr(content, "MOST_ROWS", 10)
    task = await office.imported("CUSTOMERS", gzip.compress(file))
    assert (task["task_status"], task["error_summary"]) == ("FAILED", "The file has more than 10 blank lines")


async def test_an_array_of_blanks_is_not_read_to_its_end(office: TransferOffice) -> None:
    task = await office.imported("CUSTOMERS", gzip.compress(b"[" + b" " * 3_000_000 + b"]"), "JSON")
    assert task["task_status"] == "FAILED"
    assert "nothing but blanks" in task["error_summary"]


async def test_quotes_that_are_never_closed_are_not_looked_for_for_ever(
    office: TransferOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "MOST_UNCLOSED", 3)
    task = await office.imported("CUSTOMERS", b"external_id,name\n" + b'a,"open\n' * 9, dry_run=True)
    assert (task["task_status"], task["failed_records"]) == ("FAILED", 3)
    assert "quote that is never closed" in task["error_summary"]


@pytest.mark.parametrize(
    ("file", "column", "file_type"),
    [
        pytest.param(b'{"external_id": "a", "name": "A", "name": "B"}', "name", "JSON", id="a key of a line"),
        pytest.param(b'{"external_id": "a", "metadata": {"x": "1", "x": "2"}}', "x", "JSON", id="a key within"),
        pytest.param(b'[{"external_id": "a", "name": "A", "name": "B"}]', "name", "JSON", id="a key in an array"),
        pytest.param(b'external_id,metadata\na,"{""x"":""1"",""x"":""2""}"\n', "metadata", "CSV", id="in a cell"),
    ],
)
async def test_a_key_that_stands_twice(office: TransferOffice, file: bytes, column: str, file_type: str) -> None:
    row, named, reason = await _problem_of(office, "CUSTOMERS", file, file_type)
    assert (row, named) == (1, column)
    assert "stands twice" in reason
    assert (await office.account.get("/customers"))["items"] == []


@pytest.mark.parametrize("amount", ['"1,000.50"', "١٢٣", "５", "1_000", "NaN", "$5", "0x1"])
async def test_amounts_that_are_no_plain_numbers(office: TransferOffice, amount: str) -> None:
    plan = await office.account.post("/plans", {"name": "Pro", "lookup_key": "pro"})
    head = "entity_type,entity_id,type,currency,billing_model,billing_period,invoice_cadence,amount\n"
    file = f"{head}PLAN,{plan['id']},FIXED,usd,FLAT_FEE,MONTHLY,ADVANCE,{amount}\n"
    row, column, reason = await _problem_of(office, "PRICES", file.encode())
    assert (row, column) == (1, "amount")
    assert "must be a number such as 1250.5" in reason


async def test_problems_name_the_column_of_the_file(office: TransferOffice) -> None:
    head = b"entity_type,entity_id,type,currency,billing_model,billing_period,invoice_cadence,amount\n"
    price = b"PLAN,plan_nobodys,FIXED,usd,FLAT_FEE,MONTHLY,ADVANCE,5\n"
    row, column, reason = await _problem_of(office, "PRICES", head + price)
    assert (row, column) == (1, "entity_id")
    assert " " in reason
    feature = b"name,event_name,aggregation_type\nTokens,call,SUM\n"
    assert (await _problem_of(office, "FEATURES", feature))[1] == "aggregation_field"
