"""Driving a real browser: how it is started, and how somebody signs in with it."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Page, expect

from tests.web.stage import PASSWORD, Stage

_BROWSERS = tuple(map(Path, ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium")))
"""Debian's Chromium: the one that was built to draw no windows opens a page for a third of the other's CPU time."""
LAUNCH: dict[str, Any] = {
    "executable_path": next((path for path in _BROWSERS if path.exists()), _BROWSERS[0]),
    "args": [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
}
_CONTRAST = "color-contrast"
"""By far the slowest rule. The width of a page hardly changes what it finds, and it finds the same wherever text looks
the same: it is asked of each look of text once."""
WIDTHS = 1280, 360
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_LOOKS = """() => {
    const drawn = (one, style) => [style.backgroundColor, style.backgroundImage, style.opacity, style.filter,
        style.mixBlendMode].join().replace("rgba(0, 0, 0, 0),none,1,none,normal", "");
    const all = [...document.querySelectorAll("body, body *")].filter(one =>
        one.checkVisibility({opacityProperty: true, visibilityProperty: true}));
    const styles = new Map(all.map(one => [one, getComputedStyle(one)]));
    const above = all.filter(one => styles.get(one).position !== "static")
        .map(one => [one, one.getBoundingClientRect()]);
    const grounds = new Map([[null, ""]]);
    const ground = one => {
        if (!grounds.has(one))
            grounds.set(one, ground(one.parentElement) + ">" + drawn(one, styles.get(one) ?? getComputedStyle(one)));
        return grounds.get(one);
    };
    const others = one => {
        const box = one.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
        return above.filter(([over, its]) => its.left <= x && x <= its.right && its.top <= y && y <= its.bottom
            && !over.contains(one) && !one.contains(over)).map(([over]) => ground(over)).join();
    };
    window.textsByLook = new Map();
    for (const one of all) {
        const says = [...one.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!says && !one.matches("input, select, textarea")) continue;
        const style = styles.get(one);
        const look = [one.tagName, one.className, one.matches(":disabled, [aria-disabled]"), style.color,
            style.fontSize, style.fontWeight, style.textShadow, ground(one), others(one)].join("|");
        window.textsByLook.set(look, [...(window.textsByLook.get(look) ?? []).slice(0, 1), one]);
    }
    return [...window.textsByLook.keys()];
}"""
"""The looks of the texts that are seen: all that contrast depends on. The first and the last of each are kept."""
_CONTRASTS = """async ([looks, rule]) => {
    const shaded = document.querySelectorAll(".scroll");
    for (const one of shaded) one.style.backgroundImage = "none";
    const report = await axe.run({include: looks.flatMap(look => window.textsByLook.get(look))},
        {runOnly: [rule], resultTypes: ["violations", "passes"], elementRef: true});
    for (const one of shaded) one.style.backgroundImage = "";
    const passed = new Set(report.passes.flatMap(rule => rule.nodes).map(node => node.element));
    return {
        violations: report.violations,
        passed: looks.filter(look => window.textsByLook.get(look).some(text => passed.has(text))),
    };
}"""
"""Without the shadows at the edges of tables that scroll: axe says nothing of what stands before a gradient."""

_ALSO = frozenset({"landmark-unique"})
"""Rules that axe calls moderate, and that hold as well: a region within one of the same name is announced twice."""


@cache
def _axe() -> str | None:
    package = importlib.util.find_spec("axe_playwright_python")
    folder = next(iter(package.submodule_search_locations or ()), None) if package else None
    return (Path(folder) / "axe.min.js").read_text() if folder else None


def has_axe() -> bool:
    """Whether pages can be looked at with axe."""
    return _axe() is not None


@cache
def _legible(_scheme: str) -> set[str]:
    """The looks of text that axe has found to be legible, on whatever page."""
    return set()


async def illegible_texts(page: Page, scheme: Literal["light", "dark"]) -> list[dict[str, Any]]:
    """What axe finds about the contrast of texts, on a page that it was loaded into."""
    looks = [look for look in await page.evaluate(_LOOKS) if look not in _legible(scheme)]
    if not looks:
        return []
    report = await page.evaluate(_CONTRASTS, [looks, _CONTRAST])
    _legible(scheme).update(report["passed"])
    violations: list[dict[str, Any]] = report["violations"]
    return violations


async def load_axe(page: Page) -> None:
    await page.evaluate(_axe() or "")


async def serious_findings(page: Page) -> list[tuple[str, int, str, list[str]]]:
    """What axe finds on the page that keeps somebody from using it: colours, width, rule, and where."""
    await load_axe(page)
    found: list[tuple[str, int, dict[str, Any]]] = []
    await page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    for scheme in _SCHEMES:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += [(scheme, WIDTHS[0], violation) for violation in await illegible_texts(page, scheme)]
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        report = await page.evaluate(
            "rule => axe.run(document, {resultTypes: ['violations'], rules: {[rule]: {enabled: false}}})", _CONTRAST
        )
        found += [("light", width, violation) for violation in report["violations"]]
    return [
        (scheme, width, violation["id"], [node["html"] for node in violation["nodes"]][:3])
        for scheme, width, violation in found
        if violation["impact"] in {"serious", "critical"} or violation["id"] in _ALSO
    ]


async def sign_in(page: Page, stage: Stage) -> None:
    """Sign in as the stage's person and stand on the overview."""
    await page.goto("/sign-in")
    await page.get_by_label("E-mail").fill(stage.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
