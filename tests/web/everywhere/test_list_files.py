"""A file of a list holds the rows that its pages show, in their order, with the same figures."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from farthing.web.rendering.words.wording import money
from tests.web.everywhere.figures_on_pages import shown_table
from tests.web.everywhere.places import Place
from tests.web.stage import Stage
from tests.web.visitor import Visitor

INVOICE = "number,customer-name,state,currency,subtotal,tax,total,paid,unpaid"


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(f"/invoices?columns={INVOICE}", id="invoices"),
        pytest.param(f"/invoices?columns={INVOICE}&standing=overdue&sort=unpaid&order=desc", id="what is overdue"),
        pytest.param("/customers?columns=name,owed-usd,owed-eur&sort=owed-usd&order=desc", id="what customers owe"),
        pytest.param("/subscriptions?columns=customer-name,plan,id", id="subscriptions"),
    ],
)
async def test_a_file_is_what_the_pages_show(stage: Stage, everywhere: list[Place], address: str) -> None:
    assert everywhere
    http = (await Visitor(stage.account).sign_in(stage)).http
    path, _, query = address.partition("?")
    head, *rows = csv.reader(io.StringIO((await http.get(f"{path}/export.csv?{query}")).text))
    shown: list[list[str]] = []
    for page in range(1, 100):
        table = shown_table((await http.get(f"{address}&page={page}")).text)
        if table is None:
            break
        assert list(table.heads) == head
        shown += map(list, table.rows)
    assert len(shown) == len(rows) > 0
    for cells, line in zip(shown, rows, strict=True):
        currency = line[head.index("Currency")] if "Currency" in head else ""
        for name, cell, plain in zip(head, cells, line, strict=True):
            assert _is_said(cell, plain, currency or name[-3:].lower()), (name, cell, plain)


def _is_said(cell: str, plain: str, currency: str) -> bool:
    """Whether a cell of a page says what stands in the file; where nothing is owed, it says nothing."""
    try:
        amount = Decimal(plain)
    except ArithmeticError:
        return cell.lower().startswith(plain.lower())
    return cell == money(amount, currency) or (not amount and cell in {"", "–"})
