"""The letters of pictures are as large on a phone as on a desk; none stands on another, and none is cut."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from playwright.async_api import Page

from farthing.web.rendering.charts import Bar, columns, paired_columns
from farthing.web.rendering.words.wording import short_money
from tests.web.everywhere.places import Place

_WIDTHS = 360, 390, 430, 540, 640, 768, 832, 834, 900, 1024, 1200, 1280, 1440
_LEAST_PIXELS = 12
_LETTERS = """() => [...document.querySelectorAll(".chart text, .ticks text")].flatMap(text => {
    const box = text.getBoundingClientRect();
    if (!box.width) return [];
    const scale = Math.min(text.getScreenCTM().a, text.getScreenCTM().d);
    const picture = text.closest(".with-ticks") ?? text.closest(".chart");
    return [{
        text: text.textContent, pixels: parseFloat(getComputedStyle(text).fontSize) * scale,
        picture: [...document.querySelectorAll(".with-ticks, .chart")].indexOf(picture),
        left: box.left, right: box.right, top: box.top, bottom: box.bottom,
        within: text.closest("svg svg")?.getBoundingClientRect().toJSON(),
    }];
})"""
"""Every text of a picture that is seen: how large its letters are, and where it stands."""


async def _faults(page: Page) -> list[str]:
    """What is wrong with the texts of a page's pictures, in every width; there must be some."""
    faults = []
    for width in _WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        letters = await page.evaluate(_LETTERS)
        assert letters, "no picture has a text"
        for number, one in enumerate(letters):
            if one["pixels"] < _LEAST_PIXELS:
                faults.append(f"{width}: “{one['text']}” is {one['pixels']:.1f} pixels large")
            within = one["within"] or {"left": 0, "right": width}
            if one["left"] < within["left"] or one["right"] > within["right"]:
                faults.append(f"{width}: “{one['text']}” is cut")
            faults += [
                f"{width}: “{one['text']}” stands on “{other['text']}”"
                for other in letters[number + 1 :]
                if one["picture"] == other["picture"]
                and one["left"] < other["right"]
                and other["left"] < one["right"]
                and one["top"] < other["bottom"] - 2
                and other["top"] < one["bottom"] - 2
            ]
    return faults


@pytest.mark.parametrize(
    "name",
    ["overview", "report-revenue", "report-recurring", "subscription", "portal-usage-german"],
)
async def test_letters_of_pictures_can_be_read(looking: Page, everywhere: list[Place], name: str) -> None:
    (path,) = [place.path for place in everywhere if place.name == name]
    await looking.goto(path)
    assert await _faults(looking) == []


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(1, id="one day"),
        *(pytest.param(days, id=f"{days} days") for days in (2, 7, 12, 31, 366)),
    ],
)
@pytest.mark.parametrize("dates", ["%b", "%-d. %B"])
async def test_as_many_labels_stand_below_columns_as_there_is_room_for(looking: Page, count: int, dates: str) -> None:
    await looking.goto("/reports")
    bars = [
        Bar((date(2026, 9, 30) + timedelta(days=day)).strftime(dates), Decimal(day + 123_456_789), f"Day {day}")
        for day in range(count)
    ]
    drawn = [
        columns(bars, name="Days", tick=lambda amount: short_money(amount, "usd")),
        paired_columns([(bar, bar) for bar in bars], name="Pairs", tick=lambda amount: f"{amount:,}"),
    ]
    await looking.evaluate(
        "drawn => document.querySelector('main').innerHTML = drawn", f'<div class="picture">{"".join(drawn)}</div>'
    )
    assert await _faults(looking) == []
    last = looking.get_by_label("Days").locator("text").last
    assert await last.text_content() == bars[-1].label
    assert await last.is_visible()
