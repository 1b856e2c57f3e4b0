"""How many statements a page or a list sends does not grow with the rows it shows: what belongs to several rows is read
together."""

from __future__ import annotations

from farthing.app import read_document
from tests.statements import statements_sent
from tests.web.everywhere.places import Place
from tests.web.stage import Stage
from tests.web.visitor import Visitor

MOST_OF_A_PAGE = 65
"""Statements of any page; the portal's usage sends most, because it previews the next invoice, then the customer's."""
MORE_FOR_MORE_ROWS = 3
"""What a list of many rows may send more than that of one: for kinds of rows of which the first is none."""


async def test_pages(stage: Stage, everywhere: list[Place]) -> None:
    visitor = await Visitor(stage.account).sign_in(stage)
    counts = {}
    for place in everywhere:
        with statements_sent(stage.account.database) as statements:
            await visitor.http.get(place.path)
        counts[place.name] = len(statements)
    assert sum(counts.values()) > len(counts), "the server's statements are the ones that are counted"
    assert {name: count for name, count in counts.items() if count > MOST_OF_A_PAGE} == {}


async def test_lists(stage: Stage) -> None:
    account, counts = stage.account, {}
    for path, item in read_document()["paths"].items():
        if "{" in path or "get" not in item:
            continue
        with statements_sent(account.database) as of_one:
            answer = await account.http.get(path.removeprefix("/v1"), params={"limit": 1})
        if answer.status_code != 200 or b'"pagination"' not in answer.content:
            continue  # it is no list, or one of a time that has to be given
        of_many = []
        for _ in range(2):  # what a duty sends meanwhile is counted, too, but hardly twice
            with statements_sent(account.database) as statements:
                await account.http.get(path.removeprefix("/v1"), params={"limit": 100})
            of_many.append(len(statements))
        counts[path] = len(of_one), min(of_many)
    assert len(counts) > 10, "lists say how they are paged"
    assert {path: both for path, both in counts.items() if both[1] > both[0] + MORE_FOR_MORE_ROWS} == {}
